"""A headless Chromium, spoken to by its own debugging protocol, so that no driver needs to be installed."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from websockets.sync.client import ClientConnection

_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
_SECONDS = 120
_STATUS = "document.getElementById('status')?.textContent"


@dataclass
class Page:
    """One page of the browser.

    Attributes:
        requests: addresses that it has asked for.
        errors: what its console has said that is wrong.
    """

    socket: ClientConnection
    requests: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    _sent: int = 0

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """Give the browser a command of its protocol."""
        self._sent += 1
        self.socket.send(json.dumps({"id": self._sent, "method": method, "params": params}))
        while True:
            message = json.loads(self.socket.recv(timeout=_SECONDS))
            if message.get("id") == self._sent:
                assert "error" not in message, message["error"]
                return message["result"]
            self._notice(message)

    def _notice(self, event: dict[str, Any]) -> None:
        if event["method"] == "Network.requestWillBeSent":
            self.requests.append(event["params"]["request"]["url"])
        elif event["method"] == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(event["params"]["exceptionDetails"])[:500])
        elif event["method"] == "Log.entryAdded" and event["params"]["entry"]["level"] == "error":
            text = event["params"]["entry"]["text"]
            if not text.startswith("Failed to load resource"):  # an answer that says what is wrong
                self.errors.append(text)

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression, awaited."""
        answer = self.send(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True, userGesture=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def until(self, condition: str) -> None:
        """Wait until an expression is true."""
        deadline = time.monotonic() + _SECONDS
        while not self.run(condition):
            assert time.monotonic() < deadline, f"{condition}: {self.run(_STATUS)!r} {self.errors}"
            time.sleep(0.05)

    def choose(self, selector: str, path: Path) -> None:
        """Choose a file in an input."""
        root = self.send("DOM.getDocument")["root"]["nodeId"]
        node = self.send("DOM.querySelector", nodeId=root, selector=selector)
        self.send("DOM.setFileInputFiles", files=[str(path)], nodeId=node["nodeId"])

    def text(self, id: str) -> str:
        """The text of an element."""
        return str(self.run(f"document.getElementById({id!r}).textContent"))

    def click(self, id: str) -> None:
        """Click an element, wherever it is."""
        self.run(f"document.getElementById({id!r}).click()")

    def fill(self, id: str, value: str) -> None:
        """Put a value into a field, as somebody who types and leaves it."""
        self.run(
            f"{{const f = document.getElementById({id!r}); f.value = {json.dumps(value)};"
            "for (const e of ['input', 'change']) f.dispatchEvent(new Event(e, {bubbles: true}))}"
        )

    def press(self, key: str, *, control: bool = False) -> None:
        """Press a key of the keyboard."""
        code = {"Tab": 9, "Enter": 13, "Escape": 27, " ": 32, "ArrowRight": 39, "ArrowDown": 40}[key]
        text = {"Enter": "\r", " ": " "}.get(key, "")
        common = {"key": key, "windowsVirtualKeyCode": code, "modifiers": 2 if control else 0}
        self.send("Input.dispatchKeyEvent", type="keyDown", text="" if control else text, **common)
        self.send("Input.dispatchKeyEvent", type="keyUp", **common)

    def focused(self) -> str:
        """The id of the element with the focus."""
        return str(self.run("document.activeElement.id"))

    def picture(self, path: Path) -> None:
        """Save a screenshot of the whole page."""
        shot = self.send("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))


@contextmanager
def browsing(url: str, *options: str, loaded: str = "true", before: str = "") -> Iterator[Page]:
    """Open a page, and wait until it is there; skips where there is no Chromium.

    Args:
        url: of the page.
        options: of Chromium.
        loaded: a JavaScript expression that is true once the page can be used.
        before: a script that runs before those of the page.
    """
    from websockets.sync.client import connect

    program = next(filter(None, map(shutil.which, _NAMES)), None)
    if program is None:
        pytest.skip("pages are not tested: no Chromium here; on Debian and Ubuntu: apt install chromium")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        command = [program, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        command += ["--autoplay-policy=no-user-gesture-required", "--remote-debugging-port=0"]
        command += ["--window-size=1000,1100", *options, f"--user-data-dir={folder}", "about:blank"]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as browser:
            try:
                with connect(_address(Path(folder)), max_size=None) as socket:
                    page = Page(socket)
                    for domain in ("Page", "Network", "Runtime", "Log"):
                        page.send(f"{domain}.enable")
                    if before:
                        page.send("Page.addScriptToEvaluateOnNewDocument", source=before)
                    page.send("Page.navigate", url=url)
                    page.until(
                        f"location.href === {json.dumps(url)} && document.readyState === 'complete' && ({loaded})"
                    )
                    yield page
            finally:
                browser.terminate()


def _address(folder: Path) -> str:
    """The debugging address of the browser's page."""
    import httpx

    port_file = folder / "DevToolsActivePort"
    deadline = time.monotonic() + _SECONDS
    while time.monotonic() < deadline:
        time.sleep(0.1)
        if not port_file.exists() or len(port_file.read_text().splitlines()) < 2:
            continue
        port = port_file.read_text().splitlines()[0]
        pages = httpx.get(f"http://127.0.0.1:{port}/json", timeout=60).json()
        found = [page for page in pages if page["type"] == "page"]
        if found:
            return str(found[0]["webSocketDebuggerUrl"])
    raise AssertionError("the browser does not start")
