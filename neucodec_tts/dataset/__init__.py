"""From a corpus of recordings to a data set of codes that a speech language model is trained on.

`prepare` makes one, `tokenize` adds training tokens to one, `describe` counts what is in one. On disk it is a folder:

``data/train-00000-of-00012.parquet`` ...
    The shards, one for each ``shard_items`` utterances of the corpus, in its order. Columns:

    =========== ================ ==================================================================================
    id          string           unique in the data set
    text        string           what is said, runs of white space folded; null if the corpus does not say
    codes       list<uint16>     the codec's, 50 a second
    duration    double           seconds of the audio that was encoded
    speaker     string           null if the corpus does not say
    input_ids   list<int32>      only with tokens: prompt and codes; null where the text makes no prompt
    labels      list<int32>      only with tokens: as long as ``input_ids``, -100 where no loss is computed
    =========== ================ ==================================================================================

    The key ``neucodec-tts`` of the schema's metadata holds JSON: ``codec_id``, ``codebook_size``, ``frame_rate``,
    and ``tokens``, the name of the tokens' settings or null. Equal rows are equal bytes (under one version of
    pyarrow).
``rejects.parquet``
    What was left out: ``id``, ``where`` (its place in the corpus), ``reason`` (one of a few), ``detail``.
``sources.arrow``
    What the corpus consisted of, one record batch a shard: by it a corpus that has changed is noticed.
``manifest.json``
    What the data set is (`manifest.DatasetManifest`): whether it is complete, the codec, the settings, counts,
    reasons, and of each shard its SHA-256, rows, frames, seconds and ``content``, a checksum of its rows that
    depends neither on their order nor on the division into shards. Nothing in it depends on when, where or by how
    many it was made.

``datasets.load_dataset(folder)`` reads the shards as the split "train" (by their names, so that it leaves
``rejects.parquet`` alone), ``load_dataset("parquet", data_files=f"{folder}/data/*.parquet")`` as well, and ``text``
and ``codes`` are the columns that NeuTTS' fine-tuning script reads.

While it is being made there is also ``.neucodec-tts/`` with the lock, half-written files, and a record of each
finished shard. A shard is finished when its record is there, which is written, like everything, under a temporary
name and renamed.

How it is made: `preparing` lists the corpus, divides it into units of work of which each becomes a shard, and holds the
lock. `pipeline.run_units` does units: `readers.Reader` reads in processes of its own, the codec encodes, a thread
writes. Whoever
does a unit, on this machine or another, writes the same bytes. `Preparation.finish` puts the records together::

    with preparing(source, out, CodecInfo.of(codec), settings) as preparation:
        with Reader(workers) as reader:
            for finished in run_units(preparation.job, preparation.pending, codec, reader):
                ...
        manifest = preparation.finish()
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from neucodec_tts.dataset.items import Item as Item
    from neucodec_tts.dataset.items import Reject as Reject
    from neucodec_tts.dataset.items import Source as Source
    from neucodec_tts.dataset.manifest import DatasetManifest as DatasetManifest
    from neucodec_tts.dataset.pipeline import FinishedUnit as FinishedUnit
    from neucodec_tts.dataset.pipeline import Job as Job
    from neucodec_tts.dataset.pipeline import Progress as Progress
    from neucodec_tts.dataset.pipeline import run_units as run_units
    from neucodec_tts.dataset.preparation import Preparation as Preparation
    from neucodec_tts.dataset.preparation import Prepared as Prepared
    from neucodec_tts.dataset.preparation import prepare as prepare
    from neucodec_tts.dataset.preparation import preparing as preparing
    from neucodec_tts.dataset.readers import Reader as Reader
    from neucodec_tts.dataset.retokenize import Tokenized as Tokenized
    from neucodec_tts.dataset.retokenize import tokenize as tokenize
    from neucodec_tts.dataset.settings import CodecInfo as CodecInfo
    from neucodec_tts.dataset.settings import PrepareSettings as PrepareSettings
    from neucodec_tts.dataset.sources import open_source as open_source
    from neucodec_tts.dataset.sources.columns import Columns as Columns
    from neucodec_tts.dataset.statistics import Statistics as Statistics
    from neucodec_tts.dataset.statistics import describe as describe
    from neucodec_tts.dataset.tokens import TokenSettings as TokenSettings

_EXPORTS = {
    "prepare": "preparation",
    "preparing": "preparation",
    "Preparation": "preparation",
    "Prepared": "preparation",
    "PrepareSettings": "settings",
    "CodecInfo": "settings",
    "tokenize": "retokenize",
    "Tokenized": "retokenize",
    "describe": "statistics",
    "Statistics": "statistics",
    "TokenSettings": "tokens",
    "Progress": "pipeline",
    "Job": "pipeline",
    "FinishedUnit": "pipeline",
    "run_units": "pipeline",
    "Reader": "readers",
    "Source": "items",
    "Item": "items",
    "Reject": "items",
    "Columns": "sources.columns",
    "open_source": "sources",
    "DatasetManifest": "manifest",
}

__all__ = list(_EXPORTS)


def __getattr__(name: str) -> object:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_EXPORTS[name]}"), name)
    globals()[name] = value
    return value
