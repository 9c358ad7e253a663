"""NeuTTS' prompts are, id for id, those that the package `neutts` builds."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neucodec_tts.prompts import NeuTTSFormat, Phonemizer
from neucodec_tts.prompts.phonemes import NEUTTS_ESPEAK_VERSION, NEUTTS_LANGUAGES
from tests.prompts import neutts_package
from tests.prompts.conftest import Extended, PlainVoice

pytest.importorskip("phonemizer", reason='needs pip install "neucodec-tts[phonemes]"')
pytestmark = pytest.mark.upstream

# None has a mark within a word (3:45, U.S.A., 5.3 at the end): there neutts puts it between the phones, or moves it.
SENTENCES = {
    "en-us": [
        "My name is Andy. I'm 25 and I just moved to London.",
        "So I'm live on radio. And I say, well, my dear friend James here clearly, and the whole room just froze.",
        "The variable is an idea of the area; we all agree on it, the idiot and I!",
        'Dr. Smith paid £5.50 (or $7) at noon — "cheap," he said…',
        "  Two   spaces\tand\na line break.  ",
        "naïve café, e-mail, co-operate, NASA, 3rd, 1999",
        "Hello 🙂 world, 你好, bonjour et merci beaucoup.",
        "‘Single’ and “double” quotes, ﬁne ligatures and ½.",
        "Yes",
        "?! Well...",
    ],
    "de": [
        "Guten Tag, ich heiße Jürgen und komme aus Köln.",
        "Am 3. Oktober kostete das Meeting 1.250,50 Euro!",
        "Die Übergröße der Straßenbahn-Haltestelle überraschte uns.",
    ],
    "fr-fr": [
        "Est-ce que vous êtes allés au marché aujourd'hui ?",
        "L'été dernier, j'ai rencontré quelqu'un d'extraordinaire.",
        "Peut-être qu'il y a vingt-deux personnes; c'est-à-dire beaucoup.",
    ],
    "es": [
        "¿Dónde está la biblioteca? ¡Qué sorpresa!",
        "El niño comió 23 manzanas, según su madre.",
        "Hablo español y un poco de English también.",
    ],
}


@pytest.fixture(scope="module")
def espeak_of_neutts() -> Path:
    return neutts_package.fetch() / "neutts" / "libespeak-ng.so"


@dataclass(frozen=True)
class Theirs:
    """Results of the package for `cases`."""

    prompts: list[list[int]]
    text_prompts: list[list[int]]
    phones: list[str]


@pytest.fixture(scope="module")
def theirs(neutts: Extended, tmp_path_factory: pytest.TempPathFactory) -> Theirs:
    folder = str(tmp_path_factory.mktemp("tokenizer"))
    neutts.tokenizer.save_pretrained(folder)
    jobs: list[dict[str, Any]] = [
        {"cases": cases(), "tokenizer": folder},
        {"cases": cases(), "tokenizer": folder, "input_format": "BPE"},
        {"cases": cases()},
    ]
    return Theirs(*neutts_package.run(jobs))


def cases() -> list[tuple[str, str, str, list[int]]]:
    """Every sentence with the next one as the voice's transcript and random codes."""
    source = random.Random(0)
    made = []
    for language, sentences in SENTENCES.items():
        for number, text in enumerate(sentences):
            voice_text = sentences[(number + 1) % len(sentences)]
            made.append(
                (language, text, voice_text, source.choices(range(1024), k=source.choice([1, 30, 500])))
            )
    return made


def test_the_languages_are_those_of_neutts():
    assert set(SENTENCES) == set(NEUTTS_LANGUAGES)


def test_prompts_are_identical(
    neutts: Extended, theirs: Theirs, espeak_of_neutts: Path, monkeypatch: pytest.MonkeyPatch
):
    """With the same espeak-ng; which one is a choice, see `find_espeak`."""
    monkeypatch.setenv("PHONEMIZER_ESPEAK_LIBRARY", str(espeak_of_neutts))
    formats = {
        language: NeuTTSFormat(neutts.tokenizer, neutts.vocabulary, Phonemizer(language))
        for language in SENTENCES
    }
    ours = [
        formats[language].prompt_ids(text, PlainVoice(np.array(codes, np.uint16), voice_text))
        for language, text, voice_text, codes in cases()
    ]
    assert len(theirs.prompts) == sum(map(len, SENTENCES.values()))
    assert ours == theirs.prompts


def test_prompts_of_text_are_identical(neutts: Extended, theirs: Theirs):
    """NeuTTS-2E reads text instead of phones."""
    format = NeuTTSFormat(neutts.tokenizer, neutts.vocabulary, to_phones=None)
    ours = [
        format.prompt_ids(text, PlainVoice(np.array(codes, np.uint16), voice_text))
        for _, text, voice_text, codes in cases()
    ]
    assert ours == theirs.text_prompts


def test_an_installed_neutts_lends_its_espeak(
    theirs: Theirs, espeak_of_neutts: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("PHONEMIZER_ESPEAK_LIBRARY", raising=False)
    monkeypatch.syspath_prepend(str(neutts_package.fetch()))
    phonemizers = {language: Phonemizer(language) for language in SENTENCES}
    phonemizer = phonemizers["en-us"]
    assert phonemizer.espeak.source == "neutts"
    assert phonemizer.espeak.library == espeak_of_neutts
    assert phonemizer.espeak_version == NEUTTS_ESPEAK_VERSION
    assert [phonemizers[language](text) for language, text, _, _ in cases()] == theirs.phones


def test_other_builds_of_espeak_differ(theirs: Theirs, monkeypatch: pytest.MonkeyPatch):
    """Which is why the user is told; if this fails, the warning can go."""
    pytest.importorskip("espeakng_loader")
    monkeypatch.delenv("PHONEMIZER_ESPEAK_LIBRARY", raising=False)
    phonemizers = {language: Phonemizer(language) for language in SENTENCES}
    version = phonemizers["en-us"].espeak_version
    if version == NEUTTS_ESPEAK_VERSION:
        pytest.skip("this espeak-ng is NeuTTS' own version")
    ours = [phonemizers[language](text) for language, text, _, _ in cases()]
    differing = sum(phones != other for phones, other in zip(ours, theirs.phones, strict=True))
    print(f"\n{differing} of {len(ours)} texts have other phones in espeak-ng {version}")
    assert 0 < differing < len(ours)
