"""A page in a headless Chromium, spoken to by its own debugging protocol, so that no driver needs to be installed."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


class Page:
    """An open page."""

    def __init__(self, socket: Any) -> None:
        self._socket = socket
        self._count = 0

    async def send(self, method: str, **parameters: object) -> dict[str, Any]:
        """Call a method of the protocol."""
        self._count += 1
        await self._socket.send(json.dumps({"id": self._count, "method": method, "params": parameters}))
        while True:
            answer = json.loads(await self._socket.recv())
            if answer.get("id") == self._count:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result

    async def run(self, script: str) -> Any:
        """Evaluate a script, and what it promises."""
        answer = await self.send(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True, userGesture=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    async def wait(self, condition: str) -> None:
        """Wait until a script is true."""
        while not await self.run(condition):
            await asyncio.sleep(0.1)

    async def choose(self, selector: str, path: Path) -> None:
        """Choose a file in an input."""
        root = (await self.send("DOM.getDocument"))["root"]["nodeId"]
        node = await self.send("DOM.querySelector", nodeId=root, selector=selector)
        await self.send("DOM.setFileInputFiles", files=[str(path)], nodeId=node["nodeId"])


@asynccontextmanager
async def open_page(url: str, before: str = "") -> AsyncIterator[Page]:
    """A page that has begun to load; skips where there is no Chromium.

    Args:
        url: of the page.
        before: a script that runs before those of the page.
    """
    import httpx
    from websockets.asyncio.client import connect

    program = next(filter(None, map(shutil.which, _NAMES)), None)
    if program is None:
        pytest.skip("pages are not tested: no Chromium here; on Debian and Ubuntu: apt install chromium")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        command = [program, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        command += ["--autoplay-policy=no-user-gesture-required", "--remote-debugging-port=0"]
        command += [f"--user-data-dir={folder}", "about:blank"]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as browser:
            try:
                port_file = Path(folder) / "DevToolsActivePort"
                while not port_file.exists() or len(port_file.read_text().splitlines()) < 2:
                    await asyncio.sleep(0.1)
                port = port_file.read_text().splitlines()[0]
                async with httpx.AsyncClient() as client:
                    pages: list[dict[str, str]] = []
                    while not pages:
                        found = (await client.get(f"http://127.0.0.1:{port}/json")).json()
                        pages = [page for page in found if page["type"] == "page"]
                async with connect(pages[0]["webSocketDebuggerUrl"], max_size=None) as socket:
                    page = Page(socket)
                    await page.send("Page.enable")
                    if before:
                        await page.send("Page.addScriptToEvaluateOnNewDocument", source=before)
                    await page.send("Page.navigate", url=url)
                    await page.wait(f"location.href === {url!r} && document.readyState === 'complete'")
                    yield page
            finally:
                browser.terminate()
