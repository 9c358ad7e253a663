"""A folder of named voices."""

from __future__ import annotations

import sys
import unicodedata
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from neucodec_tts.errors import CodesError, PromptError
from neucodec_tts.voices import SpeakerPrompt, VoiceLibrary
from neucodec_tts.voices.library import check_name, default_folder


@pytest.fixture
def library(tmp_path: Path) -> VoiceLibrary:
    return VoiceLibrary(tmp_path / "deep" / "voices")


@pytest.fixture
def voice() -> SpeakerPrompt:
    return SpeakerPrompt(np.array([1, 2, 3]), "Hello there.")


def test_an_empty_library(library: VoiceLibrary):
    assert library.names() == []
    assert len(library) == 0
    with pytest.raises(PromptError, match=r"no voice 'dave'.*holds none yet; `neucodec-tts voice` makes one"):
        library.load("dave")
    with pytest.raises(PromptError, match="holds none yet"):
        library.remove("dave")
    assert not library.folder.exists()


def test_save_load_remove(library: VoiceLibrary, voice: SpeakerPrompt):
    path = library.save("Dave", voice)
    library.save("anna-2", voice)
    assert path == library.folder / "Dave.safetensors"
    assert library.names() == list(library) == ["anna-2", "Dave"]
    assert "Dave" in library
    assert library.load("Dave") == voice
    library.remove("Dave")
    assert library.names() == ["anna-2"]
    assert "1 voices" in repr(library)


def test_nothing_is_overwritten_by_mistake(library: VoiceLibrary, voice: SpeakerPrompt):
    other = SpeakerPrompt(np.array([9]), "Other.")
    library.save("dave", voice)
    with pytest.raises(PromptError, match=r"'dave' in .* already.*--overwrite"):
        library.save("dave", other)
    assert library.load("dave") == voice
    library.save("dave", other, overwrite=True)
    assert library.load("dave") == other
    # macOS and Windows would take it for the same file.
    with pytest.raises(PromptError, match=r"'dave' in .* already; take another name$"):
        library.save("DAVE", voice, overwrite=True)


@pytest.mark.parametrize(
    "name",
    [
        *("", ".", "..", "../evil", "/etc/passwd", "a/b", "a\\b", ".hidden", "-rf"),
        *("a.b", "x" * 65, "CON", "com1", "a\n", "a\0", None, 5),
        *(" a", "a ", "_a", "a/é", "é\u200b", "caf\udce9", "字" * 67, "\U00020000" * 64, "😀", "a;b", "50 %"),
    ],
)
def test_unsafe_names(library: VoiceLibrary, voice: SpeakerPrompt, name):
    for call in (
        lambda: library.save(name, voice),
        lambda: library.load(name),
        lambda: library.remove(name),
        lambda: library.path(name),
    ):
        with pytest.raises(PromptError, match="cannot be called"):
            call()
    assert name not in library
    assert not library.folder.exists()


@pytest.mark.parametrize("name", ["a", "Dave", "voice_1", "0-0", "x" * 64, "console"])
def test_safe_names(name: str):
    assert check_name(name) == name


@pytest.mark.parametrize("name", ["Ana María", "Зоя 2", "हिन्दी", "小明", "é" * 64])
def test_names_of_any_script(library: VoiceLibrary, voice: SpeakerPrompt, name: str):
    path = library.save(name, voice)
    assert path.name == f"{name}.safetensors"
    assert library.names() == [name]
    taken_apart = unicodedata.normalize("NFD", name)
    assert taken_apart in library
    assert library.load(taken_apart) == library.find(name) == voice
    with pytest.raises(PromptError, match="already; take another name"):
        library.save(taken_apart, voice)
    library.remove(taken_apart)
    assert library.names() == []


def test_unknown_voices_get_near_names(library: VoiceLibrary, voice: SpeakerPrompt):
    for name in ("Dave", "anna", "bert"):
        library.save(name, voice)
    with pytest.raises(PromptError, match="did you mean Dave"):
        library.load("dav")
    with pytest.raises(PromptError, match="did you mean Dave"):
        library.load("dave")  # another case is another name
    with pytest.raises(PromptError, match="there are anna, bert, Dave"):
        library.load("zzz")


def test_names_and_files(library: VoiceLibrary, voice: SpeakerPrompt, tmp_path: Path):
    library.save("dave", voice)
    voice.save(tmp_path / "else.safetensors")
    torch.save(torch.tensor([7, 8]), tmp_path / "neutts.pt")
    (tmp_path / "neutts.txt").write_text("From NeuTTS.")
    assert library.find("dave") == voice
    assert library.find(tmp_path / "else.safetensors") == voice
    assert library.find(str(tmp_path / "else.safetensors")) == voice
    assert library.find(str(tmp_path / "neutts.pt")).text == "From NeuTTS."
    with pytest.raises(PromptError, match="does not exist"):
        library.find("nowhere.pt")
    with pytest.raises(PromptError, match="no voice 'else'"):
        library.find("else")


@dataclass(frozen=True)
class SmallCodec:
    codec_id: str = "mine"

    def check_codes(self, codes: np.ndarray, name: str) -> None:
        if codes.max() > 9:
            raise CodesError(f"{name}: {codes.max()}")


def test_voices_of_a_model(library: VoiceLibrary, voice: SpeakerPrompt, tmp_path: Path):
    brought = VoiceLibrary(tmp_path / "model")
    other = SpeakerPrompt(np.array([9]), "Other.")
    brought.save("dave", other)
    brought.save("anna", other)
    library.save("dave", voice)
    assert library.find("dave", model_voices=brought) == voice  # the user's own comes first
    assert library.find("anna", model_voices=brought) == other
    with pytest.raises(
        PromptError, match=r"no voice 'bert' in .*there are dave; the model itself brings anna, dave"
    ):
        library.find("bert", model_voices=brought)
    assert library.find(voice, model_voices=brought) is voice


def test_voices_of_another_codec(library: VoiceLibrary, voice: SpeakerPrompt):
    library.save("dave", SpeakerPrompt(voice.codes, voice.text, codec_id="neucodec-0123"))
    assert library.find("dave").codec_id == "neucodec-0123"
    with pytest.raises(
        PromptError, match=r"'dave' was made with the codec 'neucodec-0123'.*'mine'; make it again"
    ):
        library.find("dave", codec=SmallCodec())
    assert library.find(voice, codec=SmallCodec()) is voice
    with pytest.raises(CodesError, match="the voice: 10"):
        library.find(SpeakerPrompt(np.array([10]), "Hi"), codec=SmallCodec())


def test_other_files_are_no_voices(library: VoiceLibrary, voice: SpeakerPrompt):
    library.save("dave", voice)
    (library.folder / "notes.txt").write_text("x")
    (library.folder / "has.dot.safetensors").write_text("x")
    (library.folder / "folder.safetensors").mkdir()
    assert library.names() == ["dave"]
    (library.folder / "broken.safetensors").write_text("x")
    with pytest.raises(PromptError, match=r"broken\.safetensors"):
        library.load("broken")


def test_other_things_are_no_voices(library: VoiceLibrary):
    with pytest.raises(PromptError, match="a voice is a SpeakerPrompt, a file or a name, not bytes"):
        library.find(b"RIFF")  # type: ignore[arg-type]


def test_a_file_in_the_way(tmp_path: Path, voice: SpeakerPrompt):
    (tmp_path / "voices").write_text("I am a file")
    with pytest.raises(PromptError, match="cannot be made"):
        VoiceLibrary(tmp_path / "voices").save("dave", voice)


def test_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("NEUCODEC_TTS_VOICES", str(tmp_path / "mine"))
    assert default_folder() == tmp_path / "mine"
    assert VoiceLibrary().folder == tmp_path / "mine"
    monkeypatch.delenv("NEUCODEC_TTS_VOICES")
    if sys.platform == "linux":
        monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
        assert default_folder() == tmp_path / "neucodec-tts" / "voices"
        monkeypatch.delenv("XDG_DATA_HOME")
        assert default_folder() == Path.home() / ".local" / "share" / "neucodec-tts" / "voices"
