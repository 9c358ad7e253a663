"""speech_config.json: the description in a model's folder."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from neucodec_tts.errors import CheckpointError, PromptError, VocabularyError
from neucodec_tts.prompts import (
    KNOWN_MODELS,
    CustomFormat,
    LlasaFormat,
    NeuTTSFormat,
    PromptTemplate,
    SpeechConfig,
)
from neucodec_tts.prompts.lexicon import LexiconPhonemizer
from neucodec_tts.prompts.phonemes import NEUTTS_LANGUAGES, Phonemizer
from tests.prompts.conftest import Extended

TEMPLATE = PromptTemplate("{text}<|SPEECH_GENERATION_START|>{codes}", ("<|SPEECH_GENERATION_END|>",))


@pytest.mark.parametrize(
    "config",
    [
        SpeechConfig("neutts", language="de"),
        SpeechConfig("neutts-text", text_tokens=("<|HAPPY|>",)),
        SpeechConfig(
            "llasa", "my/codec", "neucodec-0123", "<|s_{}|>", 64, sampling={"temperature": 0.5, "top_k": 5}
        ),
        SpeechConfig("custom", template=TEMPLATE, context_length=100, utterance_frames=(0, 50)),
        *KNOWN_MODELS.values(),
    ],
)
def test_there_and_back(config: SpeechConfig, tmp_path: Path):
    path = config.save(tmp_path)
    assert path == tmp_path / "speech_config.json"
    assert SpeechConfig.from_pretrained(tmp_path) == config
    assert SpeechConfig.from_pretrained(str(tmp_path)) == config
    assert [file.name for file in tmp_path.iterdir()] == ["speech_config.json"]


def test_the_file_is_short_and_readable(tmp_path: Path):
    written = json.loads(SpeechConfig("neutts", language="en-us").save(tmp_path).read_text())
    assert written == {
        "prompt_format": "neutts",
        "codec": "neuphonic/neucodec",
        "token_pattern": "<|speech_{}|>",
        "codebook_size": None,
        "language": "en-us",
        "context_length": 2048,
    }


def test_known_models_need_no_network():
    languages = {name: KNOWN_MODELS[name].language for name in KNOWN_MODELS if "neutts-" in name}
    assert languages["neuphonic/neutts-air"] == "en-us"
    assert languages["neuphonic/neutts-nano-french"] == "fr-fr"
    assert {language for language in languages.values() if language} == set(NEUTTS_LANGUAGES)
    for name in ("HKUSTAudio/Llasa-1B", "HKUSTAudio/Llasa-3B", "HKUSTAudio/Llasa-8B"):
        config = SpeechConfig.from_pretrained(name)
        assert config.prompt_format == "llasa"
        assert config.token_pattern == "<|s_{}|>"
    assert SpeechConfig.from_pretrained("Neuphonic/NeuTTS-Air") == KNOWN_MODELS["neuphonic/neutts-air"]
    # The organisation's older name.
    assert SpeechConfig.from_pretrained("HKUST-Audio/Llasa-3B") == KNOWN_MODELS["HKUSTAudio/Llasa-3B"]


def test_gguf_repositories_speak_as_the_models_that_they_are_made_of():
    for name in ("neuphonic/neutts-nano-german", "neuphonic/neutts-air", "neuphonic/neutts-2e"):
        for ending in ("-q4-gguf", "-q8-gguf", "-gguf", "-q4-gguf/model-Q4_0.gguf"):
            assert SpeechConfig.from_pretrained(name + ending) == KNOWN_MODELS[name]
    audar = SpeechConfig.from_pretrained("audarai/Audar-TTS-V1-Flash/Audar-TTS-V1-Flash-Q4_K_M.gguf")
    assert audar.template is not None
    assert audar.template.stop == ("<|TARGET_CODES_END|>",)


def test_unknown_models(tmp_path: Path):
    with pytest.raises(CheckpointError, match=r"has no speech_config\.json.*SpeechConfig\(\.\.\.\)\.save"):
        SpeechConfig.from_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="there is no folder"):
        SpeechConfig.from_pretrained(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match="cannot get 'someone/model'"):
        SpeechConfig.from_pretrained("someone/model", local_files_only=True)


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        ("{", CheckpointError, "cannot be read as JSON"),
        ("[]", CheckpointError, "must hold a JSON object"),
        ("{}", PromptError, "prompt_format is missing"),
        ('{"prompt_format": "orpheus"}', PromptError, "unknown prompt format 'orpheus'; known are neutts"),
        ('{"prompt_format": "neutts"}', PromptError, "needs a language"),
        ('{"prompt_format": "llasa", "langauge": "de"}', PromptError, "did you mean 'language'"),
        ('{"prompt_format": "llasa", "token_pattern": "s"}', VocabularyError, "exactly once"),
        ('{"prompt_format": "custom"}', PromptError, "'custom' without a template"),
        ('{"prompt_format": "custom", "template": "x"}', PromptError, "must be an object"),
        ('{"prompt_format": "custom", "template": {"prompt": "{text}"}}', PromptError, "template lacks stop"),
        (
            '{"prompt_format": "llasa", "template": {"prompt": "{text}{codes}", "stop": ["a"]}}',
            PromptError,
            "'llasa' with a template",
        ),
        ('{"prompt_format": "llasa", "context_length": "2048"}', PromptError, "context_length is '2048'"),
        ('{"prompt_format": "llasa", "codebook_size": 0}', PromptError, "codebook_size is 0"),
        (
            '{"prompt_format": "llasa", "sampling": {"temp": 1}}',
            PromptError,
            "unknown sampling default 'temp'",
        ),
        ('{"prompt_format": "llasa", "sampling": {"top_k": "5"}}', PromptError, "top_k is '5'"),
        ('{"prompt_format": "llasa", "sampling": [1]}', PromptError, "wrong kind"),
        ('{"prompt_format": "llasa", "text_tokens": "<|A|>"}', PromptError, "list of names"),
        ('{"prompt_format": "llasa", "text_tokens": 5}', PromptError, "wrong kind"),
        ('{"prompt_format": "llasa", "token_pattern": 5}', PromptError, "wrong kind"),
    ],
)
def test_files_that_are_wrong(content: str, error: type[Exception], message: str, tmp_path: Path):
    (tmp_path / "speech_config.json").write_text(content)
    with pytest.raises(error, match=message) as caught:
        SpeechConfig.from_pretrained(tmp_path)
    if error is not VocabularyError:
        assert "speech_config.json" in str(caught.value)


def test_nothing_is_written_into_nowhere(tmp_path: Path):
    with pytest.raises(CheckpointError, match="does not exist"):
        SpeechConfig("llasa").save(tmp_path / "nowhere")


def test_formats_are_made(neutts: Extended, llasa: Extended):
    made = SpeechConfig("llasa", token_pattern="<|s_{}|>").make_format(llasa.tokenizer)
    assert isinstance(made, LlasaFormat)
    joined = SpeechConfig("llasa", token_pattern="<|s_{}|>", text_join=" ").make_format(llasa.tokenizer)
    assert joined.prompt_ids("Hello") == made.prompt_ids("Hello")
    assert isinstance(SpeechConfig("neutts-text").make_format(neutts.tokenizer), NeuTTSFormat)
    custom = SpeechConfig("custom", template=TEMPLATE).make_format(neutts.tokenizer, neutts.vocabulary)
    assert isinstance(custom, CustomFormat)
    with pytest.raises(VocabularyError, match="different codebooks"):
        SpeechConfig("neutts-text", codebook_size=64).make_format(neutts.tokenizer)
    with pytest.raises(VocabularyError, match="only 1,024 of 65,536"):
        SpeechConfig("neutts-text", codebook_size=65_536).make_format(neutts.tokenizer)


def test_formats_with_phones_are_made(neutts: Extended):
    pytest.importorskip("phonemizer", reason='needs pip install "neucodec-tts[phonemes]"')
    format = SpeechConfig("neutts", language="de").make_format(neutts.tokenizer)
    assert "ɡˈuːtən tˈɑːk" in neutts.tokenizer.decode(format.prompt_ids("Guten Tag"))
    phones = PromptTemplate("{text}{codes}", ("<|im_end|>",), phones=True)
    format = SpeechConfig("custom", language="de", template=phones).make_format(neutts.tokenizer)
    assert "tˈɑːk" in neutts.tokenizer.decode(format.prompt_ids("Guten Tag"))
    with pytest.raises(PromptError, match="knows no language 'deutsch'"):
        SpeechConfig("neutts", language="deutsch").make_format(neutts.tokenizer)


def test_the_default_voice_and_normalisation(tmp_path: Path):
    config = SpeechConfig("neutts", language="en-us", default_voice="michael", normalize=True)
    config.save(tmp_path)
    assert SpeechConfig.read(tmp_path / "speech_config.json") == config
    assert config.make_reader().normalize
    assert "normalize" not in SpeechConfig("neutts-text").to_dict()
    with pytest.raises(PromptError, match="normalize is 'yes'"):
        SpeechConfig("neutts-text", normalize="yes")  # type: ignore[arg-type]


def test_a_model_of_the_lexicons_phones_reads_them_wherever_it_runs(neutts):
    phones = PromptTemplate("{text}{codes}", ("<|im_end|>",), phones=True)
    config = SpeechConfig("custom", language="en-us", template=phones, lexicon=True)
    assert SpeechConfig.from_dict(config.to_dict()) == config
    found = neutts.tokenizer.decode(
        config.make_format(neutts.tokenizer).prompt_ids("It is 5 km to the mill.")
    )
    assert LexiconPhonemizer()("It is 5 km to the mill.") in found
    for wrong in ({"language": "de"}, {"template": replace(phones, phones=False)}):
        with pytest.raises(PromptError, match="lexicon is true, and goes with a template that reads phones"):
            replace(config, **wrong)
    with pytest.raises(PromptError, match="lexicon is 1;"):
        replace(config, lexicon=1)  # type: ignore[arg-type]


def test_words_in_another_language():
    pytest.importorskip("phonemizer", reason='needs pip install "neucodec-tts[phonemes]"')
    reader = SpeechConfig("neutts", language="en-us").make_reader()
    english = Phonemizer("en-us")
    read = reader.read('He said <lang xml:lang="fr-CA">bonjour</lang> <lang xml:lang="qq">x</lang>', "ssml")
    assert english(read.text) == f"{english('He said')} {Phonemizer('fr-fr')('bonjour')} {english('x.')}"
    assert "espeak-ng knows no language 'qq'" in read.warnings[0]
