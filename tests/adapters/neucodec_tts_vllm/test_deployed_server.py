"""A real server as one deploys it: its health check, its spans, and its end."""

from __future__ import annotations

import signal
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

pytest.importorskip("vllm", reason="vLLM is not installed")
pytest.importorskip("opentelemetry.proto", reason="OpenTelemetry's exporter is not installed")

from prometheus_client.parser import text_string_to_metric_families

from tests.adapters.neucodec_tts_vllm.listening import SPEECH, alike, pcm, until
from tests.adapters.neucodec_tts_vllm.server_process import serving, wait_until_healthy
from tests.adapters.neucodec_tts_vllm.trace_collector import collecting
from tests.test_deploy import dashboard_metrics

pytestmark = [pytest.mark.vllm, pytest.mark.slow]

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture(scope="module")
def collector():
    with collecting() as collector:
        yield collector


@pytest.fixture(scope="module")
def server(collector, tmp_path_factory):
    """A server of its own, with tracing on."""
    environment = {
        "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
        "OTEL_BSP_SCHEDULE_DELAY": "200",
        "NEUCODEC_TTS_WATERMARK": "0",
    }
    options = ["--otlp-traces-endpoint", collector.url, "--shutdown-timeout", "300"]
    with serving(["--model", "tiny"], options, environment, tmp_path_factory.mktemp("server")) as server:
        wait_until_healthy(server)
        yield server


def test_it_is_ready(server):
    assert httpx.get(f"{server.url}/speech/ready", timeout=60).json() == {"status": "ready"}


def test_a_request_is_a_tree_of_spans_below_its_callers(server, collector):
    body = {"input": "They are all gone. I am here.", "voice": "heart", "seed": 1, "response_format": "pcm"}
    for stream in (False, True):
        answer = httpx.post(
            server.url + SPEECH, json={**body, "stream": stream}, headers={"traceparent": CALLER}, timeout=120
        )
        assert answer.status_code == 200, answer.text
    until(
        lambda: len(collector.named("speech")) == 2 and len(collector.named("llm_request")) == 4, "no spans"
    )
    for request in collector.named("speech"):
        assert request.trace_id.hex() == CALLER.split("-")[1]
        assert request.parent_span_id.hex() == CALLER.split("-")[2]
        figures = {each.key: each.value for each in request.attributes}
        assert figures["speech.outcome"].string_value == "completed"
        assert figures["speech.audio_seconds"].double_value == pytest.approx(
            len(answer.content) / 48_000, abs=0.5
        )
        parts = [span for span in collector.spans if span.parent_span_id == request.span_id]
        assert sorted(span.name for span in parts) == [
            *["speech.decode"] * 2,
            "speech.first_sound",
            *["speech.generate"] * 2,
        ]
        for span in parts:
            assert request.start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano
            assert span.end_time_unix_nano <= request.end_time_unix_nano
        generations = {span.span_id for span in parts if span.name == "speech.generate"}
        assert {span.parent_span_id for span in collector.named("llm_request")} & generations == generations
    assert "gone" not in str(collector.spans)


def test_the_dashboard_asks_for_nothing_that_is_not_there(server):
    text = httpx.get(f"{server.url}/metrics", timeout=60).text
    there = {sample.name for family in text_string_to_metric_families(text) for sample in family.samples}
    assert dashboard_metrics() <= there


def test_on_sigterm_speech_ends_whole_and_nothing_new_is_taken(server):
    """The last one: the server is gone afterwards."""
    body = {"input": "They are all gone. I am still here. " * 6, "voice": "heart", "seed": 1}
    body |= {"response_format": "pcm", "stream": True}
    with server.client() as client, ThreadPoolExecutor(1) as pool:
        expected = client.post(SPEECH, json=body).content
        running = pool.submit(lambda: client.post(SPEECH, json=body))
        until(lambda: server.metric("neucodec_tts:active_requests") == 1, "it does not begin")
        server.process.send_signal(signal.SIGTERM)
        until(
            lambda: httpx.get(f"{server.url}/speech/ready", timeout=60).status_code == 503,
            "it does not go down",
        )
        refused = httpx.post(server.url + SPEECH, json={"input": "Hello."}, timeout=60)
        assert refused.status_code == 503
        assert int(refused.headers["Retry-After"]) > 0
        assert alike(pcm(running.result(400).content), pcm(expected))
    assert server.process.wait(60) == 0
