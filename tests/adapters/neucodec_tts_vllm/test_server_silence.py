"""A session is silenced, whenever the cancellation comes."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

pytest.importorskip("vllm", reason="vLLM is not installed; the server's parts use what comes with it")

from neucodec_tts_vllm.server.sessions import _Session


def test_a_cancellation_that_comes_when_a_frame_is_out_is_obeyed():
    async def run() -> None:
        out = asyncio.get_running_loop().create_future()

        async def send_bytes(data: bytes) -> None:
            await out

        service = SimpleNamespace(settings=SimpleNamespace(idle_seconds=60))
        session = _Session(SimpleNamespace(send_bytes=send_bytes), service)  # type: ignore[arg-type]
        sending = asyncio.create_task(session._send(b"\0\0"))
        for _ in range(5):
            await asyncio.sleep(0)
        out.set_result(None)
        await asyncio.sleep(0)  # the frame is out, and the sending task does not know it yet
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending

    asyncio.run(run())
