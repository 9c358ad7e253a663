"""A headless Chromium, spoken to by its own debugging protocol, so that no driver needs to be installed."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


def speak_on_page(url: str, key: str) -> str:
    """Type the key, press Speak, and return what the page says in the end; skips where there is no Chromium."""
    program = next(filter(None, map(shutil.which, _NAMES)), None)
    if program is None:
        pytest.skip(
            "the server's page is not tested: no Chromium here; on Debian and Ubuntu: apt install chromium"
        )
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        command = [program, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        command += ["--autoplay-policy=no-user-gesture-required", "--remote-debugging-port=0"]
        command += [f"--user-data-dir={folder}", url]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as browser:
            try:
                return asyncio.run(asyncio.wait_for(_use(Path(folder), url, key), 240))
            finally:
                browser.terminate()


async def _use(folder: Path, url: str, key: str) -> str:
    import httpx
    from websockets.asyncio.client import connect

    port_file = folder / "DevToolsActivePort"
    while not port_file.exists() or len(port_file.read_text().splitlines()) < 2:
        await asyncio.sleep(0.1)
    port = port_file.read_text().splitlines()[0]
    async with httpx.AsyncClient() as client:
        while True:
            pages = (await client.get(f"http://127.0.0.1:{port}/json")).json()
            found = [page for page in pages if page["type"] == "page" and page["url"] == url]
            if found:
                break
            await asyncio.sleep(0.1)
    async with connect(found[0]["webSocketDebuggerUrl"], max_size=None) as socket:

        async def run(script: str) -> object:
            await socket.send(
                json.dumps(
                    {
                        "id": 1,
                        "method": "Runtime.evaluate",
                        "params": {"expression": script, "awaitPromise": True, "returnByValue": True},
                    }
                )
            )
            while True:
                answer = json.loads(await socket.recv())
                if answer.get("id") == 1:
                    return answer["result"]["result"].get("value")

        # Before the page there is an empty one, which is complete, too.
        while not await run("document.readyState === 'complete' && !!document.getElementById('go')"):
            await asyncio.sleep(0.1)
        await run(f"document.getElementById('key').value = {json.dumps(key)}")
        await run("voices()")
        await run("document.getElementById('go').click()")
        while await run("document.getElementById('go').disabled"):
            await asyncio.sleep(0.1)
        return str(await run("document.getElementById('status').textContent"))
