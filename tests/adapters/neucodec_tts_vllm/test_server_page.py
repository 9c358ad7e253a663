"""The page of a real server, in a real browser."""

from __future__ import annotations

import pytest

from tests.adapters.neucodec_tts_vllm.server_process import KEY

pytestmark = [pytest.mark.vllm, pytest.mark.slow]


def test_the_page_speaks(server):
    from tests.adapters.neucodec_tts_vllm.browser import speak_on_page

    status = speak_on_page(f"{server.url}/speech", KEY)
    assert "first sound after" in status
    assert "s of speech" in status
