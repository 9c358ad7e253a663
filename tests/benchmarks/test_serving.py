"""The measurement of a server: what it counts and what the command says, against a small real server over HTTP."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import replace

import pytest

import serve
from neucodec_tts import TextToSpeech
from neucodec_tts.errors import EngineError
from random_models import BABBLE_FRAMES, DEMO_VOICE, save_babbling_model
from serving.client import SpeechClient
from serving.load import LoadSettings
from serving.measure import measure_serving
from serving.own_server import own_server
from serving.processes import processor_time, resident_bytes
from serving.report import Judged, Spread, summarize
from serving.requests import make_calls
from serving.throughput import ProcessorTime, Throughput, Turn
from tests.benchmarks.scripts import invoke


def test_spread():
    assert Spread.of([]) is None
    assert Spread.of([3.0, 1.0, 2.0]) == Spread(2.0, 3.0, 3.0)
    assert Spread.of(list(range(100))) == Spread(49.5, 95, 99)


def test_what_sound_costs_is_taken_turn_by_turn():
    def turns(*numbers: tuple[float, float, float]) -> list[Turn]:
        return [Turn(rate, ProcessorTime(total, front)) for rate, total, front in numbers]

    silent = turns((100, 0.01, 0.001), (400, 0.008, 0.001), (10, 0.02, 0.002))
    speaking = turns((50, 0.02, 0.005), (300, 0.01, 0.003), (8, 0.04, 0.007))
    found = Throughput(speaking, silent, turns((90, 0.01, 0.002), (400, 0.01, 0.002), (9, 0.025, 0.006)))
    assert found.loss == pytest.approx(0.25)
    assert found.whole_loss == pytest.approx(0.1)
    assert found.processor_loss == pytest.approx(0.5)
    assert found.processor_loss_whole == pytest.approx(0.2)
    assert found.model_streams == pytest.approx(2)  # 0.01 s a token, 50 tokens a second
    assert found.speech_streams == pytest.approx(5)
    unknown = Throughput([Turn(50)], [Turn(100)])
    assert unknown.loss == pytest.approx(0.5)
    assert (unknown.processor_loss, unknown.whole_loss, unknown.model_streams) == (None, None, None)


def test_who_runs_dry_although_speech_comes_fast_is_counted_apart():
    def judged(speed: float | None, underruns: int) -> Judged:
        return Judged(2.0, 1.0, 3.0, underruns, 0.1 * underruns, speed, None, None)

    heard = [judged(2.0, 0), judged(1.3, 1), judged(1.1, 2), judged(0.7, 3), judged(None, 0)]
    phase = summarize(heard, at_a_time=3, seconds=4)
    assert (phase.dry_listeners, phase.fast, phase.dry_fast) == (3, 3, 2)
    assert (phase.promised, phase.dry_promised) == (2, 1)
    assert phase.generation_speed == pytest.approx(1.2)


def test_requests_differ():
    calls = make_calls(200, model="m")
    assert len({call.text for call in calls}) == 200
    assert len({call.seed for call in calls}) == 200


# Whole measurements


def measured(server, settings, **options):
    async def run():
        async with SpeechClient(server.url, timeout=60) as client:
            return await measure_serving(client, settings, **options)

    return asyncio.run(run())


SMALL = LoadSettings(streams=3, requests=6, turns=2, burst=9, distinct=3)


def test_a_server_without_faults(server, described):
    server.root = str(described)
    begun: list[str] = []
    report = measured(server, SMALL, advance=begun.append)
    assert report.whole
    assert report.repeatable
    assert (report.alone.requests, report.streams.requests, report.burst.requests) == (3, 12, 9)
    assert report.alone.at_a_time == 1
    assert report.soak is None
    assert report.streams.diverged == report.burst.diverged == 0
    assert report.streams.audio == pytest.approx(12 * 0.4)
    assert report.first.decode == pytest.approx(0.005)
    throughput = report.throughput
    assert len(throughput.speaking) == len(throughput.silent) == len(throughput.whole) == 2
    assert throughput.processor_loss is None  # nobody knows whose processes they are
    assert report.throughput.windows == 3.0
    assert report.throughput.codec_share > 0
    assert report.server_stall == 0.25
    assert report.left_out == []
    assert report.memory_before == report.memory_after == 1e8
    assert (report.prefix.new_texts, report.prefix.same_texts) == (0.25, 0.9)
    assert 0 < report.prefix.in_common < 0.5
    with_sound = [body for path, body in server.bodies if path.endswith("speech")]
    without = [body for path, body in server.bodies if path.endswith("completions")]
    assert len([body for body in without if not body["stream"]]) == 12
    assert len(with_sound) == 1 + 3 + 1 + 2 * 9 + 2 * 4 + 12 + 12 + 9
    # In the second turn the order is the other way round.
    ways = [what.split(" requests ")[1].split(",")[0] for what in begun if "at a time" in what]
    once = ["without sound", "with sound as it comes", "with sound as a whole"]
    assert ways == [*once, *reversed(once)]


def test_steady_load_is_kept_up_and_memory_watched(server):
    server.root = "/nowhere/at/all"
    sizes = iter(range(100, 10_000))
    settings = replace(SMALL, turns=1, burst=0, minutes=1e-6)
    report = measured(server, settings, memory=lambda: float(next(sizes)))
    assert report.soak.requests == 12
    assert report.burst is None
    assert len(report.memory) == 1
    before, after = report.memory_before, report.memory_after
    assert before is not None
    assert after is not None
    assert before < report.memory[0][1] < after
    assert report.throughput is None
    assert report.prefix.in_common is None
    assert "/nowhere/at/all" in report.left_out[0]


def test_an_answer_as_a_whole_that_does_not_come_is_lost(server, described):
    server.root = str(described)
    right = server.speech
    server.answer = lambda body, before: right(body, before) if body.get("stream") else (503, "too tired")
    report = measured(server, replace(SMALL, turns=1, burst=0, first_chunk=7))
    assert (report.lost_as_a_whole, report.whole, report.throughput) == (6, False, None)
    assert report.streams.whole
    assert report.left_out == ["sound as a whole: status 503: too tired"]
    spoken = [body for path, body in server.bodies if path.endswith("speech")]
    assert {body.get("initial_codec_chunk_frames") for body in spoken} == {7}


@pytest.mark.parametrize("fault", ["mixed", "lost", "short", "different"])
def test_each_fault_is_found_by_the_command(server, fault, monkeypatch):
    """The third time that seed 1 is asked for, something goes wrong."""
    monkeypatch.delenv("VLLM_API_KEY", raising=False)
    right = server.speech

    def answer(body, before):
        if body["seed"] != 1 or before != 2:
            return right(body, before)
        first = make_calls(2, model="noise")[0]
        return {
            "mixed": lambda: iter([server.sound(first.text, 0).tobytes()]),
            "lost": lambda: (500, "out of sorts"),
            "short": lambda: iter([server.sound(body["input"], 1).tobytes()[:-960]]),
            "different": lambda: iter([server.sound("something else", 1).tobytes()]),
        }[fault]()

    server.answer = answer
    server.root = "/nowhere/at/all"
    arguments = [
        server.url,
        "--distinct",
        "2",
        "--streams",
        "2",
        "--turns",
        "1",
        "--burst",
        "4",
    ]
    result = invoke(serve.main, *arguments, "--json", "--quiet")
    assert result.exit_code == 1, result.output
    found = json.loads(result.stdout)
    counts = {name: found["streams"][name] + found["burst"][name] for name in ("lost", "mixed", "different")}
    expected = {"lost": 0, "mixed": 0, "different": 0, ("lost" if fault == "short" else fault): 1}
    assert counts == expected
    assert found["whole"] is False
    if fault == "lost":
        assert found["streams"]["errors"] == {"status 500: out of sorts": 1}


def test_the_command_tells_people(server, described, monkeypatch):
    monkeypatch.setenv("VLLM_API_KEY", "secret")
    server.key = "secret"
    server.root = str(described)
    arguments = [server.url + "/v1", "--distinct", "2", "--streams", "2", "--burst", "4"]
    result = invoke(serve.main, *arguments, "--minutes", "0.00001")
    assert result.exit_code == 0, result.output
    for words in (
        "2 at a time",
        "all at once",
        "for minutes",
        "sound costs",
        "/health took",
        "MiB",
        "one decode",
        "25 % of a new text's",
        "90 % of a text's",
    ):
        assert words in result.output


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://192.0.2.7:8000", "192.0.2.7 is not this machine"),
        ("speech.example:8000", "speech.example is not this machine"),
        ("http://", "no address of a server"),
        ("ftp://127.0.0.1", "no address of a server"),
        ("http://[::1", "no address of a server"),
        ("http://127.0.0.1:99999", "no address of a server"),
    ],
)
def test_only_a_server_of_ones_own_is_loaded(url, message):
    result = invoke(serve.main, url)
    assert result.exit_code == 1
    assert message in " ".join(result.output.split())
    assert "Traceback" not in result.output


@pytest.mark.parametrize("other", [["http://127.0.0.1:9"], ["--model", "somebody/else"]])
def test_layers_are_those_of_the_model_of_random_weights(other):
    result = invoke(serve.main, *other, "--layers", "30")
    assert result.exit_code == 1
    assert "--layers is of the model with random weights" in " ".join(result.output.split())


def test_a_server_that_refuses_is_quoted(server):
    server.answer = lambda body, before: (400, "this model speaks in riddles")
    result = invoke(serve.main, server.url, "--quiet")
    assert result.exit_code == 1
    assert "does not speak: status 400: this model speaks in riddles" in result.output


def test_without_httpx_the_mend_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "httpx", None)
    result = invoke(serve.main)
    assert result.exit_code == 1
    assert "pip install 'neucodec-tts[benchmarks]'" in result.output


@pytest.mark.parametrize(
    "numbers", [{"streams": 0}, {"burst": -1}, {"distinct": 10_001}, {"minutes": float("nan")}]
)
def test_loads_that_are_none(numbers):
    with pytest.raises(EngineError, match="it must be"):
        LoadSettings(**numbers)


def test_a_server_that_does_not_start_says_why(tmp_path):
    with (
        pytest.raises(EngineError, match="ended before it had started"),
        own_server(str(tmp_path / "nothing")),
    ):
        pytest.fail("it cannot have started")


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_memory_and_processor_time_of_a_process_and_its_children():
    import os
    import subprocess

    before, size = processor_time(os.getpid()), resident_bytes(os.getpid())
    spin = "import time\nwhile time.process_time() < 0.3: pass\nprint('spun', flush=True)\ninput()"
    with subprocess.Popen([sys.executable, "-c", spin], stdin=-1, stdout=-1) as child:
        assert child.stdout is not None
        child.stdout.readline()
        during = processor_time(os.getpid())
        assert (resident_bytes(os.getpid()) or 0) > (size or 0) > 2**20
        child.communicate(b"\n")
    assert before is not None
    assert during is not None
    used = during - before
    assert used.total - used.front >= 0.25
    assert (resident_bytes(2**30), processor_time(2**30)) == (None, None)


def test_the_model_for_want_of_another_babbles_as_long_as_it_is_told(tmp_path):
    save_babbling_model(tmp_path, layers=2)
    assert json.loads((tmp_path / "config.json").read_text())["num_hidden_layers"] == 2
    tts = TextToSpeech.from_pretrained(str(tmp_path), watermark=False)
    spoken = [tts.speak("Whatever you say.", voice, seed=1, retries=0) for voice in (None, DEMO_VOICE)]
    assert [each.speech_tokens for each in spoken] == [BABBLE_FRAMES] * 2
    assert spoken[0].codes.tolist() != spoken[1].codes.tolist()
