from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile

from neucodec_tts import cli
from neucodec_tts.codec.storage import read_codes


def test_encode_and_decode_a_file(call, recording):
    done = call("encode", recording, "-o", "codes.safetensors")
    assert done.code == 0
    assert "encoded speech.wav to codes.safetensors: 1.50 s of speech, 75 codes" in done.out
    assert "using the small built-in codec 'tiny'" in done.err
    assert "neuphonic/neucodec" in done.err
    stored = read_codes("codes.safetensors")
    assert stored.codes.shape == (75,)
    assert stored.codec_id is not None

    done = call("decode", "codes.safetensors", "-o", "again.flac", "--json")
    assert done.code == 0
    assert json.loads(done.out)["codes"] == 75
    samples, rate = soundfile.read("again.flac")
    assert (samples.size, rate) == (75 * 480, 24_000)


def test_a_folder_keeps_its_structure_and_a_bad_file_does_not_stop_the_rest(call, recording):
    Path("in/deep").mkdir(parents=True)
    recording.rename("in/deep/good.wav")
    Path("in/bad.wav").write_bytes(b"RIFF rubbish")
    done = call("encode", "in", "-o", "out", "--format", "npy", "--json", "-c", "tiny")
    assert done.code == 1
    found = json.loads(done.out)
    assert [Path(f["output"]) for f in found["files"]] == [Path("out/deep/good.npy")]
    assert "bad.wav" in found["failed"][0]["error"]
    assert "error: in/bad.wav" in done.err
    assert "1 of 2 files could not be encoded" in done.err
    assert np.load("out/deep/good.npy").dtype == np.uint16


def test_codes_of_another_codec_are_refused(call, recording, other_codec):
    assert call("encode", recording, "-o", "codes.safetensors", "-c", other_codec).code == 0
    done = call("decode", "codes.safetensors", "-o", "again.wav")
    assert done.code == 1
    assert "these codes were made by the codec neucodec-" in done.err
    assert not Path("again.wav").exists()


def test_roundtrip(call, recording):
    done = call("roundtrip", recording, "--plot", "picture.png", "--json")
    assert done.code == 0
    found = json.loads(done.out)
    assert 0.5 < found["stoi"] < 1
    assert found["bit_rate"] == 700
    assert found["codes"] == 75
    assert Path("speech-reconstructed.wav").exists()
    assert Path("picture.png").read_bytes().startswith(b"\x89PNG")
    done = call("roundtrip", recording, "-o", recording)
    assert done.code == 2
    assert "is the input, too" in done.err


def test_demo(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = call("demo", "They said no.", "--no-play")
    assert done.code == 0
    assert {p.name for p in Path("outputs/demo").iterdir()} == {
        *("emma.wav", "george.wav", "heart.wav", "michael.wav", "voices.png"),
        *("original.flac", "reconstruction.wav", "codes.safetensors"),
    }
    assert Path("outputs/demo/voices.png").read_bytes().startswith(b"\x89PNG")
    assert '"They said no."' in done.out
    assert "trained by examples/train_codec" in done.out
    assert "STOI" in done.out
    assert len(done.out.partition("Next:\n")[2].splitlines()) == 3


def test_demo_for_machines_and_with_two_sentences(call, tmp_path):
    done = call("demo", "They said no. So I went home.", "-o", tmp_path, "--no-play", "--json")
    assert done.code == 0
    found = json.loads(done.out)
    assert set(found["voices"]) == {"emma", "george", "heart", "michael"}
    for name, voice in found["voices"].items():
        assert set(voice["finish_reasons"]) == {"stop"}
        assert soundfile.info(tmp_path / f"{name}.wav").duration == pytest.approx(voice["audio_seconds"])
    assert 0.5 < found["roundtrip"]["stoi"] < 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["..."], "nothing to pronounce"),
        (["<|speech_1|>", "--play"], "sounddevice"),
        (["Hi.", "-o", "file/demo"], "cannot make the folder file/demo"),
    ],
)
def test_demo_that_cannot_be_given(call, tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    Path("file").touch()
    done = call("demo", *arguments)
    assert done.code == 1
    assert said in done.err
    assert sorted(os.listdir()) == ["file"]


def test_info(call):
    done = call("info", "--json")
    assert done.code == 0
    found = json.loads(done.out)
    assert found["codebook_size"] == 16_384
    assert found["frame_rate"] == 50
    assert call("info", "--quiet").out == ""


def test_a_distilled_model(call, recording, tmp_path):
    from tests.parity.ours import random_codec
    from tests.parity.sizes import small_distilled_config

    random_codec(small_distilled_config()).save_pretrained(tmp_path / "distilled")
    said = call("info", "distilled")
    assert said.code == 0, said.err
    assert "2 layers of 192, 3 heads (HuBERT)" in said.out
    assert call("encode", recording, "-o", "codes.npy", "--codec", "distilled").code == 0
    assert len(np.load("codes.npy")) == 24_000 * 16_000 // soundfile.info(recording).samplerate // 320 + 1
    assert call("decode", "codes.npy", "-o", "again.wav", "--codec", "distilled").code == 0


def test_bench(call):
    done = call("bench", "--codec", "tiny", "--seconds", "1", "--repeats", "1", "--json")
    assert done.code == 0, done.err
    encode, decode, stream = json.loads(done.out)["results"]
    assert (encode["work"], decode["work"], stream["work"]) == ("encode", "decode", "stream")
    assert len(encode["ours"]) == len(encode["theirs"]) == 1
    assert decode["ratio"] == pytest.approx(decode["theirs"][0] / decode["ours"][0])
    assert encode["agreement"] > 0.99
    assert decode["agreement"] > 80
    for part in (encode, decode):
        assert part["share_of_limit"] == pytest.approx(part["operations"] / part["ours"][0] / part["limit"])
    assert min(encode["operations"], decode["operations"]) > 1e8
    assert stream["ratio"] is stream["share_of_limit"] is None
    assert 0 < stream["first_sound"][0] < stream["ours"][0] == stream["real_time_factor"]

    told = call("bench", "stream", "--codec", "tiny", "--seconds", "1", "--repeats", "1", "-q", "--quiet")
    assert (told.code, told.out) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["encode", "missing.wav", "-o", "a.npy"], 1, "error: missing.wav: no such file"),
        (["encode", "empty.wav", "-o", "a.npy"], 1, "error: empty.wav: the file is empty (0 bytes)"),
        (["encode", "text.wav", "-o", "a.npy"], 1, "error: text.wav: text ("),
        (["encode", "speech.wav", "-o", "a.txt"], 2, "a file must end in .safetensors or .npy"),
        (["encode", "speech.wav", "-o", "none/a.npy"], 1, "none does not exist; make it first"),
        (["encode", "speech.wav"], 2, "--output"),
        (["encode", "nothing", "-o", "out"], 2, "there are no recordings in the folder nothing"),
        (["decode", "speech.wav", "-o", "a.wav"], 1, "speech.wav"),
        (["decode", "bad.npy", "-o", "a.wav"], 1, "error: bad.npy"),
        (["decode", "float.npy", "-o", "a.wav"], 1, "codes are stored as integers"),
        (["encode", "speech.wav", "-o", "empty.wav/a.npy"], 1, "a file lies where a folder is needed"),
        (["encode", "speech.wav", "-o", "empty.wav/none/"], 1, "a file lies where a folder is needed"),
        (["roundtrip", "speech.wav", "--plot", "none/a.png"], 1, "none does not exist; make it first"),
        (["roundtrip", "speech.wav", "-o", "a.doc"], 1, "cannot write .doc"),
        (["roundtrip", "short.wav"], 1, "shorter than one frame"),
        (["roundtrip", "speech.wav", "-c", "no/such/folder"], 1, "there is no folder"),
        (["roundtrip", "speech.wav", "--device", "cuda:9"], 1, "there is no device 'cuda:9' here"),
        (["info", "neuphonic/neucodec"], 1, "offline mode is on"),
        (["bench", "nonsense"], 2, "'nonsense' is not one of 'encode', 'decode', 'stream'"),
        (["nonsense"], 2, "No such command 'nonsense'"),
        (["encode", "speech.wav", "-o", "a.npy", "--wrong"], 2, "No such option"),
    ],
)
def test_what_goes_wrong_is_said_in_one_line(call, recording, arguments, code, says):
    Path("empty.wav").touch()
    Path("text.wav").write_text("this is no recording")
    Path("nothing").mkdir()
    soundfile.write("short.wav", np.zeros(100), 16_000)
    Path("bad.npy").write_bytes(b"rubbish")
    np.save("float.npy", np.zeros(3))
    before = set(os.listdir())
    done = call(*arguments)
    assert done.code == code
    said = " ".join((done.err + done.out).replace("│", " ").split())
    assert says in said
    assert "Traceback" not in said
    assert set(os.listdir()) == before


@pytest.mark.skipif(os.name == "nt", reason="a shell of Unix closes them")
@pytest.mark.parametrize(("closed", "code"), [("<&-", 1), (">&-", 1), ("2>&-", 1)])
def test_standard_streams_that_are_closed(tmp_path, closed, code):
    command = f"echo | {sys.executable} -m neucodec_tts say -o a.wav {closed}"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert done.stderr == (
        "" if closed == "2>&-" else "error: the text is empty; give at least a word to speak\n"
    )


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has it")
@pytest.mark.parametrize("option", [[], ["--json"]])
def test_a_full_standard_output(tmp_path, option):
    command = [sys.executable, "-m", "neucodec_tts", "info", *option]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: standard output cannot be written (No space left")


def test_ctrl_c_before_there_is_a_command(monkeypatch):
    class Interrupted(ModuleType):
        def __getattr__(self, name: str) -> object:
            raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "neucodec_tts.cli.app", Interrupted("neucodec_tts.cli.app"))
    with pytest.raises(SystemExit) as ended:
        cli.main(["info"])
    assert ended.value.code == 130


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C is a signal")
def test_ctrl_c_leaves_nothing_half_written(recording):
    samples, rate = soundfile.read(recording)
    Path("in").mkdir()
    for i in range(400):
        soundfile.write(f"in/{i:03d}.wav", samples, rate)
    command = [sys.executable, "-m", "neucodec_tts", "encode", "in", "-o", "out"]
    # A new session: the signal is for it alone.
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    # Once a file is finished; one that is being written has a name with a dot in front.
    while process.poll() is None and not list(Path().glob("out/[!.]*")):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 130, err
    assert "interrupted" in err
    written = list(Path("out").iterdir())
    assert 0 < len(written) < 400
    assert all(read_codes(file).codes.shape == (75,) for file in written)
