"""From a corpus of recordings to a data set of codes that a speech language model is trained on.

`prepare` makes one, `tokenize` adds training tokens to it, `describe` counts its contents. On disk it is a folder:

``data/train-00000-of-00012.parquet`` ...
    The shards, one for each ``shard_items`` utterances of the corpus, in its order. Columns:

    =========== ================ ==================================================================================
    id          string           unique in the data set
    text        string           what is said, runs of white space folded; null if the corpus does not say
    codes       list<uint16>     the codec's, 50 a second
    duration    double           seconds of the audio that was encoded
    speaker     string           null if the corpus does not say
    start, end  double           only of recordings that were cut: seconds in them
    input_ids   list<int32>      only with tokens: prompt and codes; null where the text makes no prompt
    labels      list<int32>      only with tokens: as long as ``input_ids``, -100 where no loss is computed
    =========== ================ ==================================================================================

    The key ``neucodec-tts`` of the schema's metadata holds JSON: ``codec_id``, ``codebook_size``, ``frame_rate``,
    and ``tokens``, the name of the tokens' settings or null. Equal rows are equal bytes (under one version of
    pyarrow).
``rejects.parquet``
    The items that were left out: ``id``, ``where`` (its place in the corpus), ``reason`` (one of a few), ``detail``.
``sources.arrow``
    The listing of the corpus, one record batch a shard: by it a corpus that has changed is noticed.
``manifest.json``
    The description of the data set (`manifest.DatasetManifest`): ``complete``, the codec, the settings, counts,
    reasons, and of each shard its SHA-256, rows, frames, seconds and ``content``, a checksum of its rows that
    depends neither on their order nor on the division into shards. Nothing in it depends on when, where or by how
    many it was made.

``datasets.load_dataset(folder)`` reads the shards as the split "train" (by their names, so that it leaves
``rejects.parquet`` alone), ``load_dataset("parquet", data_files=f"{folder}/data/*.parquet")`` as well, and ``text``
and ``codes`` are the columns that NeuTTS' fine-tuning script reads.

While it is being made there is also ``.neucodec-tts/`` with the lock, half-written files, and a record of each
finished shard. A shard is finished when its record is there, which is written, like everything, under a temporary
name and renamed.

The files here, in the order of a run:

1. `preparation`: `prepare` does a run. `preparing` begins one: it locks the `folder` (`folder_lock`), completes the
   `settings`, lists the corpus, and compares with what the data set was begun with.
2. `sources` are the kinds of corpora, `pieces` cuts long recordings, and `items` is what a corpus consists of.
   `listing` writes the items to disk, divided into units of work. `places` are paths and URLs.
3. `units`: `run_units` does units. `reader_pool` reads ahead in processes of its own; `item_audio` and `filters` decide
   what is kept; the codec encodes; a thread adds `tokens` and writes `shards`. `progress` counts.
4. `Preparation.finish` puts the records of the units together into the `manifest`.
5. Afterwards: `retokenize` adds or replaces tokens, `statistics` counts. `engines` finds engines that do the units of 3
   elsewhere.

Whoever does a unit, on this machine or another, writes the same bytes::

    with preparing(source, out, CodecInfo.of(codec), settings) as preparation:
        with ReaderPool(workers) as readers:
            for finished in run_units(preparation.recipe, preparation.pending, codec, readers):
                ...
        prepared = preparation.finish()
"""

from neucodec_tts.dataset.items import Item, Reject, Source
from neucodec_tts.dataset.manifest import DatasetManifest
from neucodec_tts.dataset.preparation import Preparation, Prepared, prepare, preparing
from neucodec_tts.dataset.progress import Progress
from neucodec_tts.dataset.reader_pool import ReaderPool
from neucodec_tts.dataset.retokenize import Tokenized, tokenize
from neucodec_tts.dataset.settings import CodecInfo, PrepareSettings
from neucodec_tts.dataset.sources import open_source
from neucodec_tts.dataset.sources.columns import Columns
from neucodec_tts.dataset.statistics import Statistics, describe
from neucodec_tts.dataset.tokens import TokenSettings
from neucodec_tts.dataset.units import FinishedUnit, Recipe, run_units

__all__ = [
    "CodecInfo",
    "Columns",
    "DatasetManifest",
    "FinishedUnit",
    "Item",
    "Preparation",
    "PrepareSettings",
    "Prepared",
    "Progress",
    "ReaderPool",
    "Recipe",
    "Reject",
    "Source",
    "Statistics",
    "TokenSettings",
    "Tokenized",
    "describe",
    "open_source",
    "prepare",
    "preparing",
    "run_units",
    "tokenize",
]
