"""The page of a real server, in a real browser."""

from __future__ import annotations

import pytest

from tests.adapters.neucodec_tts_vllm.server_process import KEY

pytestmark = [pytest.mark.vllm, pytest.mark.slow]


def test_the_page_wants_the_key_and_speaks(server, dave):
    from tests.chromium import browsing

    with browsing(f"{server.url}/speech") as page:
        page.until("document.activeElement.id === 'key'")
        assert "wants its API key" in page.text("status")
        page.fill("key", KEY)
        page.until(f"!!document.querySelector('#cards [value={dave['name']}]')")
        page.click("go")
        page.until("document.getElementById('stop').disabled")
        assert "first sound after" in page.text("status")
        assert float(page.text("factor")) > 0
