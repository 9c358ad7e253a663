"""The parts of the server that need no server: speed, limits, recordings, settings, the command that starts it."""

from __future__ import annotations

import io
import json
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

pytest.importorskip("vllm", reason="vLLM is not installed; the server's parts use what comes with it")

from neucodec_tts.errors import AudioError, CheckpointError, EngineError
from neucodec_tts_vllm.command import server_command
from neucodec_tts_vllm.server.answers import headers_of, refusal
from neucodec_tts_vllm.server.encoding import encode, make_encoder
from neucodec_tts_vllm.server.errors import ApiError, as_api_error
from neucodec_tts_vllm.server.fetching import fetch
from neucodec_tts_vllm.server.protocol import BatchRequest, SpeechRequest, parsed
from neucodec_tts_vllm.server.recordings import decode_recording
from neucodec_tts_vllm.server.settings import ServerSettings
from neucodec_tts_vllm.server.time_stretch import TimeStretch
from tests.adapters.neucodec_tts_vllm.reference_host import make_certificate, reference_host

RATE = 24_000


@pytest.mark.parametrize("speed", [0.25, 0.7, 1.0, 1.5, 4.0])
def test_another_speed_keeps_the_pitch_in_any_split(speed):
    tone = (0.5 * np.sin(2 * np.pi * 220 * np.arange(2 * RATE) / RATE)).astype(np.float32)

    def stretched(parts: int) -> np.ndarray:
        stretch = TimeStretch(speed, RATE)
        return np.concatenate([*map(stretch.push, np.array_split(tone, parts)), stretch.flush()])

    whole = stretched(1)
    assert np.array_equal(whole, stretched(23))
    assert len(whole) == round(len(tone) / speed)
    spectrum = np.abs(np.fft.rfft(whole * np.hanning(len(whole))))
    assert spectrum.argmax() * RATE / len(whole) == pytest.approx(220, abs=2)
    middle = whole[len(whole) // 4 : len(whole) // 2]
    assert np.sqrt(np.mean(middle**2)) == pytest.approx(0.5 / np.sqrt(2), rel=0.02)


@pytest.mark.parametrize("samples", [0, 1, 100, 1000])
def test_a_moment_of_sound_can_be_stretched(samples):
    stretch = TimeStretch(2.0, RATE)
    out = np.concatenate([stretch.push(np.ones(samples, np.float32)), stretch.flush()])
    assert len(out) == round(samples / 2)


@pytest.mark.parametrize("form", ["wav", "flac", "opus"])
def test_a_whole_answer_knows_its_length(form):
    sound = (0.1 * np.random.default_rng(0).standard_normal(RATE)).astype(np.float32)
    samples, rate = soundfile.read(io.BytesIO(encode(sound, form, RATE)), dtype="float32")
    assert (len(samples), rate) == (RATE, RATE)


@pytest.mark.parametrize("form", ["wav", "pcm", "flac", "mp3", "opus"])
def test_sound_of_44_khz_keeps_its_length_and_pitch(form):
    """Whole and in parts; Opus holds it at 48 kHz."""
    sound = (0.5 * np.sin(2 * np.pi * 440 * np.arange(44_100) / 44_100)).astype(np.float32)
    encoder = make_encoder(form, 44_100)
    parts = b"".join([*(encoder.push(part) for part in np.array_split(sound, 9)), encoder.finish()])
    encoder.close()
    # libsndfile reads FLAC and MP3 whose lengths were never filled in to no or another length; players do not.
    for data in ([] if form in ("flac", "mp3") else [parts]) + [encode(sound, form, 44_100)]:
        raw = (
            {"samplerate": 44_100, "channels": 1, "format": "RAW", "subtype": "PCM_16"}
            if form == "pcm"
            else {}
        )
        samples, rate = soundfile.read(io.BytesIO(data), frames=100_000, dtype="float32", **raw)
        assert rate == (48_000 if form == "opus" else 44_100)
        assert len(samples) / rate == pytest.approx(1, abs=0.06)
        assert np.abs(np.fft.rfft(samples, rate)).argmax() == pytest.approx(440, abs=1)


CLOSED_MEANWHILE = """
import sys, threading
import numpy as np
from neucodec_tts_vllm.server.encoding import make_encoder

for round in range(40):
    encoder = make_encoder(sys.argv[1], 24_000)
    begun = threading.Event()

    def push():
        for _ in range(20):
            begun.set()
            encoder.push(np.zeros(4_800, np.float32))

    thread = threading.Thread(target=push)
    thread.start()
    begun.wait()
    encoder.close()
    thread.join()
    encoder.close()
"""


@pytest.mark.parametrize("form", ["flac", "mp3", "opus"])
def test_an_encoder_may_be_closed_while_a_thread_encodes(form):
    """As when a client hangs up: it must not take the server along. In a process of its own, which it once did."""
    done = subprocess.run([sys.executable, "-c", CLOSED_MEANWHILE, form], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-500:]
    assert not done.stderr


@pytest.mark.parametrize("form", ["pcm", "wav", "mp3", "opus", "aac"])
def test_the_first_chunk_gives_bytes_with_sound_in_them(form):
    """A stream begins when its first chunk of speech is there, 0.1 s, and not when a second follows; AAC takes two."""
    if form == "aac" and shutil.which("ffmpeg") is None:
        pytest.skip("aac needs ffmpeg")
    encoder = make_encoder(form, RATE)
    try:
        chunk = 0.1 * np.random.default_rng(0).standard_normal(RATE // 10).astype(np.float32)
        first = b"".join(encoder.push(chunk) for _ in range(2 if form == "aac" else 1))
    finally:
        encoder.close()
    if form == "opus":  # two pages of headers, and one that says how many samples it holds
        last = first[first.rindex(b"OggS") :]
        assert struct.unpack("<q", last[6:14])[0] > 0
    else:
        assert len(first) > 300


def test_facts_as_headers():
    facts = {"voice": "Ana María 2", "model": "neuphonic/neutts-air", "seed": 5, "frame_rate": 50.0}
    facts |= {"watermarked": False, "unused": ["instructions", "speed"], "usage": {"output_tokens": 7}}
    headers = headers_of({**facts, "warnings": ["'привет' is not read\r\n"]})
    warnings = headers.pop("X-Warnings")
    assert warnings.isascii()
    assert warnings.isprintable()
    assert json.loads(warnings) == ["'привет' is not read\r\n"]
    assert headers == {
        "X-Voice": "Ana Mar%C3%ADa 2",
        "X-Model": "neuphonic/neutts-air",
        "X-Seed": "5",
        "X-Frame-Rate": "50",
        "X-Watermarked": "false",
        "X-Unused-Fields": "instructions, speed",
        "X-Usage-Output-Tokens": "7",
    }
    assert "X-Voice" not in headers_of({"voice": None})
    many = [f"the {number}th of very many warnings" for number in range(1000)]
    cut = headers_of({"warnings": many})["X-Warnings"]
    assert len(cut) <= 4000
    assert json.loads(cut) == many[: len(json.loads(cut))]
    assert len(json.loads(cut)) > 50


def test_nothing_is_a_recording_too():
    encoder = make_encoder("wav", RATE)
    assert encoder.finish()[:4] == b"RIFF"
    assert make_encoder("pcm", RATE).finish() == b""


def test_a_recording_is_bounded_before_it_is_decoded():
    memory = io.BytesIO()
    soundfile.write(memory, np.zeros((16_000, 2), np.int16), 16_000, format="WAV")
    samples, rate = decode_recording(memory.getvalue(), 2.0)
    assert (samples.shape, rate) == ((16_000,), 16_000)
    with pytest.raises(AudioError, match=r"longer than 0\.5 s"):
        decode_recording(memory.getvalue(), 0.5)
    with pytest.raises(AudioError, match="not a recording"):
        decode_recording(b"\x00" * 1000, 2.0)


@pytest.fixture
def sounds(tmp_path):
    """Writes half a second of sound by ffmpeg, as what the suffix says."""
    program = shutil.which("ffmpeg")
    if program is None:
        pytest.skip("there is no ffmpeg here")

    def write(name: str, *options: str) -> Path:
        tone = [str(program), "-v", "error", "-f", "lavfi", "-i", "sine=220:duration=0.5", "-ac", "1"]
        subprocess.run([*tone, *options, str(tmp_path / name)], check=True)
        return tmp_path / name

    return write


@pytest.mark.parametrize("name", ["a.m4a", "a.aac", "a.mka", "a.ts", "a.wv", "a.mp4"])
def test_recordings_that_need_ffmpeg(sounds, name):
    samples, rate = decode_recording(sounds(name).read_bytes(), 2.0)
    assert len(samples) / rate == pytest.approx(0.5, abs=0.1)


def test_no_play_list_makes_the_server_read_its_own_files(sounds):
    """Whoever may send a recording must not have one of this machine's spoken to them."""
    for secret in (sounds("secret.aac"), sounds("secret.ts")):
        assert decode_recording(secret.read_bytes(), 2.0)[0].size
        for path in (secret, f"file:{secret}", secret.name):
            for listed in (
                f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{path}\n#EXT-X-ENDLIST\n",
                f"ffconcat version 1.0\nfile {path}\n",
                f"[playlist]\nFile1={path}\n",
                f"<?xml version='1.0'?><MPD><BaseURL>{path}</BaseURL></MPD>",
            ):
                with pytest.raises(AudioError, match="not a recording"):
                    decode_recording(listed.encode(), 2.0)


def long_aac(sounds) -> bytes:
    return sounds("a.aac", "-ar", "8000", "-b:a", "8k").read_bytes() * 8000


def test_an_hour_in_half_a_second_is_not_decoded(sounds):
    """AAC, which ffmpeg reads: it stops where no more is wanted."""
    with pytest.raises(AudioError, match="longer than 2 s"):
        decode_recording(long_aac(sounds), 2.0)


def test_settings_come_from_the_environment_and_are_checked():
    assert ServerSettings.from_environment({}) == ServerSettings()
    settings = ServerSettings.from_environment(
        {"NEUCODEC_TTS_MAX_TEXT_CHARS": "7", "NEUCODEC_TTS_REF_AUDIO_HOSTS": "A.example, b.example,"}
    )
    assert (settings.max_text_chars, settings.ref_audio_hosts) == (7, ("a.example", "b.example"))
    assert ServerSettings().watermark is None
    assert ServerSettings.from_environment({"NEUCODEC_TTS_WATERMARK": "off"}).watermark is False
    assert ServerSettings.from_environment({"NEUCODEC_TTS_WATERMARK": "1"}).watermark is True
    with pytest.raises(EngineError, match="NEUCODEC_TTS_WATERMARK is 'perhaps'"):
        ServerSettings.from_environment({"NEUCODEC_TTS_WATERMARK": "perhaps"})
    for wrong in ("x", "-1", "0", "nan", "inf"):
        with pytest.raises(EngineError, match="NEUCODEC_TTS_MAX_VOICE_SECONDS"):
            ServerSettings.from_environment({"NEUCODEC_TTS_MAX_VOICE_SECONDS": wrong})


def test_items_of_a_batch_take_what_holds_for_all():
    batch = parsed(
        BatchRequest, b'{"voice": "a", "seed": 1, "items": [{"input": "x"}, {"input": "y", "voice": "b"}]}'
    )
    assert [(item.voice, item.seed, item.response_format) for item in batch.requests()] == [
        ("a", 1, "wav"),
        ("b", 1, "wav"),
    ]
    assert parsed(SpeechRequest, b'{"input": "x", "unknown": 1}').response_format == "mp3"


def test_fields_that_no_batch_has_do_not_reach_its_items():
    batch = parsed(
        BatchRequest, b'{"input": "x", "with_codes": "soon", "speeed": 2, "items": [{"input": "y"}]}'
    )
    (item,) = batch.requests()
    assert (item.input, item.with_codes, item.unused) == ("y", False, ["speeed"])
    with pytest.raises(ApiError, match="input"):
        parsed(BatchRequest, b'{"input": "x", "items": [{}]}').requests()


def test_a_strangers_words_do_not_reach_the_client():
    told = as_api_error(RuntimeError("/srv/secret: prompt was 'Hello'"))
    assert told.status == 500
    assert "secret" not in told.message
    assert as_api_error(ApiError(404, "gone")).status == 404


def test_vllms_own_errors_keep_their_status():
    from http import HTTPStatus

    from vllm import exceptions
    from vllm.v1.engine.exceptions import EngineDeadError

    full = exceptions.GracefulHTTPError("the queue is full", HTTPStatus.TOO_MANY_REQUESTS)
    assert (as_api_error(full).status, as_api_error(full).message) == (429, "the queue is full")
    assert as_api_error(exceptions.GenerationError("/srv/secret")).status == 503
    assert "secret" not in as_api_error(exceptions.GenerationError("/srv/secret")).message
    retry = getattr(exceptions, "RetryableRequestError", exceptions.GenerationError)  # since 0.32
    assert refusal(retry("later")).headers["retry-after"] == "1"
    assert as_api_error(EngineDeadError()).status == 503
    assert as_api_error(exceptions.VLLMValidationError("too long")).status == 400


def test_what_serve_runs(tmp_path, monkeypatch, codec):
    from neucodec_tts.prompts import SpeechConfig

    monkeypatch.delenv("VLLM_CPU_KVCACHE_SPACE", raising=False)
    monkeypatch.setenv("VLLM_PLUGINS", "other")
    monkeypatch.setenv("MALLOC_MMAP_THRESHOLD_", "65536")  # what somebody has chosen stays
    for name in ("MALLOC_TRIM_THRESHOLD_", "ONEDNN_PRIMITIVE_CACHE_CAPACITY"):
        monkeypatch.delenv(name, raising=False)
    SpeechConfig("neutts-text", codec="tiny", context_length=1234).save(tmp_path)
    environment, command = server_command(str(tmp_path), ["--seed", "5"], host="::1", port=9, on_cpu=True)
    assert environment.pop("MALLOC_TRIM_THRESHOLD_") == "134217728"
    assert environment.pop("ONEDNN_PRIMITIVE_CACHE_CAPACITY") == "128"
    assert environment == {"VLLM_PLUGINS": "other,neucodec_tts", "VLLM_CPU_KVCACHE_SPACE": "2"}
    assert command[1:3] == ["-m", "vllm.entrypoints.launchers.api_server.entry"]
    assert command[-2:] == ["--seed", "5"]
    assert command[command.index("--max-model-len") + 1] == "1234"
    assert "--no-enable-chunked-prefill" in command
    _, command = server_command(str(tmp_path), [], host="::1", port=9, on_cpu=False)
    assert "--no-enable-chunked-prefill" not in command
    _, command = server_command("tiny", [], host="::1", port=9, on_cpu=True)
    assert Path(command[command.index("--model") + 1], "speech_config.json").is_file()
    assert command[command.index("--served-model-name") + 1] == "tiny"
    with pytest.raises(CheckpointError):
        server_command(str(tmp_path / "nothing"), [], host="::1", port=9, on_cpu=True)


def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path, monkeypatch):
    certificate = make_certificate(tmp_path)
    with reference_host(certificate, b"sound") as host:
        url = host.url("/voice.flac?of=dave")
        monkeypatch.delenv("SSL_CERT_FILE", raising=False)
        with pytest.raises(AudioError, match="SSLCertVerificationError"):
            fetch(url, ["127.0.0.1"], 100)
        assert host.asked == []
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert fetch(url, ["127.0.0.1"], 100) == b"sound"
        with pytest.raises(AudioError, match="may not be fetched"):
            fetch(url, ["127.0.0.2", "localhost"], 100)
