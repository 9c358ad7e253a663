"""Prometheus metrics, beside vLLM's own at ``/metrics``."""

from __future__ import annotations

import asyncio
import time
from functools import lru_cache

from prometheus_client import Counter, Gauge, Histogram

from neucodec_tts_vllm.decoding import DecodedBatch

_STALL_INTERVAL = 0.05


class Metrics:
    """The counters of this server. Use `metrics`: names can be registered only once in a process."""

    def __init__(self) -> None:
        seconds = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 30)
        self.first_audio = Histogram(
            "neucodec_tts:time_to_first_audio_seconds",
            "From the arrival of a request to its first audio.",
            buckets=seconds,
        )
        self.first_token = Histogram(
            "neucodec_tts:time_to_first_token_seconds",
            "From the arrival of a request to its first speech token.",
            buckets=seconds,
        )
        self.real_time_factor = Histogram(
            "neucodec_tts:real_time_factor",
            "Seconds of work per second of audio, of a whole request.",
            buckets=(0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 1, 1.5, 2, 5),
        )
        self.batch_streams = Histogram(
            "neucodec_tts:decode_batch_size",
            "Windows in a batch of the codec.",
            buckets=(1, 2, 4, 8, 16, 32, 64, 128),
        )
        self.batch_seconds = Histogram(
            "neucodec_tts:decode_batch_seconds",
            "Duration of a batch of the codec.",
            buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5),
        )
        self.waiting = Gauge(
            "neucodec_tts:decode_queue_streams",
            "Streams that were ready and did not fit into the last batch.",
            multiprocess_mode="livesum",
        )
        self.active = Gauge(
            "neucodec_tts:active_requests",
            "Requests for speech that are worked on or wait.",
            multiprocess_mode="livesum",
        )
        self.requests = Counter(
            "neucodec_tts:requests", "Requests for speech, by how they ended.", ["outcome"]
        )
        self.audio_seconds = Counter("neucodec_tts:audio_seconds", "Seconds of speech that were sent.")
        self.speech_tokens = Counter("neucodec_tts:speech_tokens", "Speech tokens that were generated.")
        self.worst_stall = Gauge(
            "neucodec_tts:event_loop_worst_stall_seconds",
            "Longest time that the server's event loop has not come round since the first request for speech.",
            multiprocess_mode="livemax",
        )

    def decoded(self, batch: DecodedBatch) -> None:
        """Count a batch of the codec."""
        self.batch_streams.observe(batch.streams)
        self.batch_seconds.observe(batch.seconds)
        self.waiting.set(batch.waiting)

    async def watch_event_loop(self) -> None:
        """Measure how late the event loop comes round, until cancelled."""
        worst = 0.0
        while True:
            start = time.perf_counter()
            await asyncio.sleep(_STALL_INTERVAL)
            late = time.perf_counter() - start - _STALL_INTERVAL
            if late > worst:
                worst = late
                self.worst_stall.set(worst)


@lru_cache
def metrics() -> Metrics:
    """The metrics of this process."""
    return Metrics()
