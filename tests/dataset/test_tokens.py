"""Training tokens: at once, or added later, the same; and which utterances are left out for their text."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from neucodec_tts import SpeechVocabulary
from neucodec_tts.dataset import TokenSettings, describe, prepare, tokenize
from neucodec_tts.dataset.filters import clean_text, text_reason
from neucodec_tts.dataset.shards import read_shard
from neucodec_tts.errors import CheckpointError, DatasetError
from neucodec_tts.prompts import SpeechConfig
from neucodec_tts.prompts.custom import PromptTemplate
from tests.dataset.conftest import SMALL, files_of
from tests.tokens.small_tokenizers import llama_like, qwen_like

SPEAKABLE = replace(SMALL, text_rule="speakable")


def save(
    folder: Path, tokenizer, family: str, codes: int = 16_384, config: SpeechConfig | None = None
) -> str:
    """Save the part of a model folder that tokens are made with: the tokenizer, and perhaps speech_config.json."""
    vocabulary = SpeechVocabulary.extend(tokenizer, codebook_size=codes, format=family)
    folder.mkdir()
    vocabulary.save_tokenizer(tokenizer, folder, "vocab")
    if config is not None:
        config.save(folder)
    return str(folder)


@pytest.fixture(scope="module")
def neutts(tmp_path_factory) -> str:
    config = SpeechConfig("neutts-text", codec="tiny", codebook_size=16_384)
    return save(tmp_path_factory.mktemp("models") / "neutts", qwen_like(), "neutts", config=config)


@pytest.fixture(scope="module")
def llasa(tmp_path_factory) -> str:
    return save(tmp_path_factory.mktemp("models") / "llasa", llama_like(), "llasa")


@pytest.fixture
def mixed(tmp_path, write_clip) -> Path:
    """Utterances with and without text, in two shards."""
    texts = [
        "One sentence.",
        None,
        "Another one!",
        "...",
        "With <|SPEECH_GENERATION_END|> in it.",
        "The last",
    ]
    for number, _ in enumerate(texts):
        write_clip(tmp_path / "mixed" / f"{number}.wav", number)
    lines = [json.dumps({"audio": f"{number}.wav", "text": text}) for number, text in enumerate(texts)]
    (tmp_path / "mixed" / "all.jsonl").write_text("\n".join(lines))
    return tmp_path / "mixed" / "all.jsonl"


def test_rows_are_training_examples(mixed, tmp_path, codec, neutts):
    result = prepare(mixed, tmp_path / "out", codec, SMALL, tokens=TokenSettings(neutts), workers=0)
    assert result.manifest.settings["text_rule"] == "speakable"
    assert result.manifest.tokens is not None
    assert result.manifest.tokens["prompt_format"] == "neutts-text"
    assert dict(result.manifest.rejects) == {"no text": 1, "text: nothing to pronounce": 1}
    prompt_format = TokenSettings(neutts).resolved().make_format()
    rows = [row for shard in result.manifest.shards for row in read_shard(tmp_path / "out" / shard.file)[0]]
    assert [row.id for row in rows] == ["0", "2", "4", "5"]
    for row in rows:
        assert row.text is not None
        expected = prompt_format.training_example(row.text, row.codes)
        assert (row.input_ids, row.labels) == (expected.input_ids, expected.labels)
        assert sum(label != -100 for label in row.labels or []) == row.codes.size + 2
    stop = prompt_format.stop_ids[0]
    assert [(row.input_ids or []).count(stop) for row in rows] == [1] * 4
    assert pq.read_schema(tmp_path / "out" / result.manifest.shards[0].file).names[-2:] == [
        "input_ids",
        "labels",
    ]
    assert describe(tmp_path / "out").tokens == sum(len(row.input_ids or []) for row in rows)


def test_the_built_in_model(mixed, tmp_path, codec):
    """It is found by its name, as by everything else, and the data set does not say where it lies."""
    done = prepare(mixed, tmp_path / "out", codec, SMALL, tokens=TokenSettings("tiny"), workers=0)
    assert done.manifest.tokens is not None
    assert done.manifest.tokens["model"] == "tiny"
    rows = read_shard(tmp_path / "out" / done.manifest.shards[0].file)[0]
    assert all(len(row.input_ids or []) > row.codes.size for row in rows)


def test_added_later_they_are_the_same(mixed, tmp_path, codec, neutts, llasa):
    tokens = TokenSettings(neutts)
    prepare(mixed, tmp_path / "at once", codec, SPEAKABLE, tokens=tokens, workers=0)
    prepare(mixed, tmp_path / "later", codec, SPEAKABLE, workers=0)
    (mixed.parent / "0.wav").unlink()  # no audio is touched
    done = tokenize(tmp_path / "later", tokens)
    assert (done.shards_before, done.untokenized) == (0, 0)
    assert files_of(tmp_path / "later") == files_of(tmp_path / "at once")
    assert tokenize(tmp_path / "later", tokens).shards_before == 2
    codes = read_shard(tmp_path / "later" / done.manifest.shards[0].file)[0][0].codes
    other = tokenize(tmp_path / "later", TokenSettings(llasa, "llasa"))
    row = read_shard(tmp_path / "later" / other.manifest.shards[0].file)[0][0]
    assert row.codes.tolist() == codes.tolist()
    assert len(row.input_ids or []) == len(row.labels or []) > codes.size + 20  # a chat template around it
    assert other.manifest.content == done.manifest.content
    tokenize(tmp_path / "later", tokens)
    assert files_of(tmp_path / "later") == files_of(tmp_path / "at once")


def test_adding_them_goes_on_where_it_was_killed(mixed, tmp_path, codec, neutts):
    prepare(mixed, tmp_path / "out", codec, SPEAKABLE, workers=0)

    class Killed(Exception):
        pass

    def kill(done: int, total: int) -> None:
        raise Killed

    with pytest.raises(Killed):
        tokenize(tmp_path / "out", TokenSettings(neutts), kill)
    assert [len(pq.read_schema(path).names) for path in sorted((tmp_path / "out" / "data").iterdir())] == [
        7,
        5,
    ]
    (mixed.parent / "0.wav").touch()
    with pytest.raises(DatasetError, match="have changed"):
        prepare(mixed, tmp_path / "out", codec, SPEAKABLE, workers=0)
    first = tmp_path / "out" / "data" / "train-00000-of-00002.parquet"
    before = first.stat().st_mtime_ns
    done = tokenize(tmp_path / "out", TokenSettings(neutts))
    assert done.shards_before == 1
    assert first.stat().st_mtime_ns == before
    for shard in done.manifest.shards:
        path = tmp_path / "out" / shard.file
        assert (shard.bytes, shard.untokenized) == (path.stat().st_size, 0)


def test_utterances_without_text_keep_their_codes(mixed, tmp_path, codec, neutts):
    before = prepare(mixed, tmp_path / "out", codec, SMALL, workers=0)
    done = tokenize(tmp_path / "out", TokenSettings(neutts))
    assert done.untokenized == 2
    assert done.manifest.rows == before.manifest.rows == 6
    rows = [row for shard in done.manifest.shards for row in read_shard(tmp_path / "out" / shard.file)[0]]
    assert [row.id for row in rows if row.input_ids is None] == ["1", "3"]
    everything = replace(SMALL, text_rule="any")
    prepare(mixed, tmp_path / "at once", codec, everything, tokens=TokenSettings(neutts), workers=0)
    assert files_of(tmp_path / "at once") == files_of(tmp_path / "out")


def test_phones(mixed, tmp_path, codec, neutts):
    """Llama's and NeuTTS' formats are told apart by what was asked for, not by the folder alone."""
    settings = TokenSettings(neutts, "neutts", "en-us").resolved()
    assert (settings.prompt_format, settings.language) == ("neutts", "en-us")
    row = settings.make_format().training_example("One sentence.", [1, 2, 3])
    assert (
        row.input_ids
        != TokenSettings(neutts).resolved().make_format().training_example("One sentence.", [1]).input_ids
    )


def test_a_template_of_ones_own(mixed, tmp_path, codec):
    """Examples follow the model's template, and another template is not taken for the same tokens."""

    def model(prompt: str) -> None:
        template = PromptTemplate(prompt, ("<|SPEECH_GENERATION_END|>",))
        SpeechConfig("custom", codec="tiny", codebook_size=16_384, template=template).save(folder)

    folder = Path(save(tmp_path / "own", qwen_like(), "neutts"))
    model("Say: {text}<|SPEECH_GENERATION_START|>{codes}")
    settings = TokenSettings(str(folder))
    prepare(mixed, tmp_path / "out", codec, SMALL, tokens=settings, workers=0)
    made = settings.resolved()
    assert made.prompt_format == "custom"
    rows = [row for shard in sorted((tmp_path / "out/data").iterdir()) for row in read_shard(shard)[0]]
    prompt_format = made.make_format()
    for row in rows:
        assert row.text is not None
        assert row.input_ids == prompt_format.training_example(row.text, row.codes).input_ids
    model("Read: {text}<|SPEECH_GENERATION_START|>{codes}")
    with pytest.raises(DatasetError, match=r"the prompts of .* have changed"):
        made.make_format()
    with pytest.raises(DatasetError, match="with other settings"):
        prepare(mixed, tmp_path / "out", codec, SMALL, tokens=settings, workers=0)
    model_without = save(tmp_path / "without", qwen_like(), "neutts")
    with pytest.raises(DatasetError, match="no template"):
        TokenSettings(model_without, prompt_format="custom").resolved()


def test_llasa_examples_do_not_depend_on_the_day(llasa):
    row = TokenSettings(llasa, "llasa").resolved().make_format().training_example("Hello there.", [1, 2, 3])
    from transformers import AutoTokenizer

    assert "Today Date: 26 Jul 2024" in AutoTokenizer.from_pretrained(llasa).decode(row.input_ids)


def test_models_that_do_not_go_with_it(mixed, tmp_path, codec, llasa, neutts):
    small = save(tmp_path / "small", qwen_like(), "neutts", 1024)
    with pytest.raises(DatasetError, match="has tokens for 1024 codes, and the codec has 16384"):
        prepare(mixed, tmp_path / "out", codec, tokens=TokenSettings(small, "neutts-text"), workers=0)
    with pytest.raises(DatasetError, match=r"or say what its prompts look like \(--format neutts"):
        prepare(mixed, tmp_path / "out", codec, tokens=TokenSettings(llasa), workers=0)
    with pytest.raises(CheckpointError, match=r"there is no folder .*nowhere"):
        prepare(
            mixed,
            tmp_path / "out",
            codec,
            tokens=TokenSettings(str(tmp_path / "nowhere"), "llasa"),
            workers=0,
        )
    with pytest.raises(DatasetError, match="unknown prompt format 'bark'"):
        TokenSettings(neutts, "bark").resolved()
    assert not (tmp_path / "out").exists()


def test_other_tokens_are_refused_with_the_difference(mixed, tmp_path, codec, neutts, llasa):
    prepare(mixed, tmp_path / "out", codec, SPEAKABLE, tokens=TokenSettings(neutts), workers=0)
    with pytest.raises(DatasetError, match=r"tokens: model was .*neutts and is now .*llasa"):
        prepare(mixed, tmp_path / "out", codec, SPEAKABLE, tokens=TokenSettings(llasa, "llasa"), workers=0)
    assert prepare(mixed, tmp_path / "out", codec, SPEAKABLE, workers=0).was_complete


def test_only_data_sets_get_tokens(tmp_path, neutts):
    with pytest.raises(DatasetError, match="holds no data set"):
        tokenize(tmp_path, TokenSettings(neutts))
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(DatasetError, match="holds no data set"):
        tokenize(tmp_path / "none", TokenSettings(neutts))
    assert not (tmp_path / "none").exists()


# What `data_filter` of NeuTTS' examples/finetune.py says of each, tried with the script itself.
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Hello there.", None),
        ("Is it? Yes!", None),
        ("I am I, said he,", None),
        ("", "no text"),
        ("It is 5 o'clock.", "text: digits"),
        ("The U.S. is big.", "text: acronym"),
        ("NASA flies.", "text: acronym"),
        ("No full stop", "text: no punctuation at its end"),
        ("She said: “Yes.”", "text: no punctuation at its end"),
        ("It costs a £ or two.", "text: currency sign"),
        ("It costs a $ or two.", "text: currency sign"),
        ("Vier Euro €.", None),
        ("٣ of them.", "text: digits"),
    ],
)
def test_the_filter_of_neutts(text, reason):
    assert text_reason(clean_text(text), "neutts") == reason


def test_the_filter_of_neutts_in_a_run(tmp_path, codec, write_clip):
    texts = ["Fine.", "7 of 9.", "The BBC.", "Fine, too!"]
    for number, text in enumerate(texts):
        write_clip(tmp_path / "corpus" / f"{number}.wav", number).with_suffix(".txt").write_text(text + "\n")
    result = prepare(
        tmp_path / "corpus", tmp_path / "out", codec, replace(SMALL, text_rule="neutts"), workers=0
    )
    assert result.manifest.rows == 2
    assert dict(result.manifest.rejects) == {"text: acronym": 1, "text: digits": 1}
