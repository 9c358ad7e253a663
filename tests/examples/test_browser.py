"""The page that decodes in a browser, in a real one."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
import soundfile
import torch

from neucodec_tts import NeuCodec
from neucodec_tts.codec.onnx.export import export
from neucodec_tts.codec.storage import save_codes
from tests.assets import DEMO
from tests.chromium import Page, browsing
from tests.parity.comparisons import snr

BROWSER = Path(__file__).parents[2] / "examples" / "browser"
T = TypeVar("T")
STATUS = "document.getElementById('status').textContent"
ENDED = f"/^(done|error)/.test({STATUS})"


@pytest.fixture(scope="module")
def tiny() -> NeuCodec:
    return NeuCodec.from_pretrained("tiny")


class Handler(SimpleHTTPRequestHandler):
    """Serves the page, and codes as our server sends them."""

    sentences: list[np.ndarray]
    codec_id: str
    asked: list[dict[str, object]]

    def do_POST(self) -> None:
        self.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        self._event(type="speech.audio.start", format="codes", codec=self.codec_id)
        for index, codes in enumerate(self.sentences):
            for start in range(0, len(codes), 3):
                piece = base64.b64encode(codes[start : start + 3].astype("<u2").tobytes()).decode()
                self._event(type="speech.audio.delta", audio=piece, sentence_index=index)
        self._event(type="speech.audio.done")

    def _event(self, **values: object) -> None:
        # In two pieces, as a network may cut it.
        text = f"event: {values['type']}\ndata: {json.dumps(values)}\n\n".encode()
        for piece in (text[:20], text[20:]):
            self.wfile.write(piece)
            self.wfile.flush()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def site(
    tiny: NeuCodec, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, type[Handler], Path]]:
    """Its address, what it answers, and its folder."""
    runtime = BROWSER / "onnxruntime"
    fetched = subprocess.run(
        [sys.executable, BROWSER / "fetch_onnxruntime.py"], capture_output=True, text=True
    )
    if fetched.returncode:
        pytest.skip(f"the page is not tested: {fetched.stderr.strip()}")
    folder = tmp_path_factory.mktemp("site")
    for path in [*BROWSER.glob("*.js"), *BROWSER.glob("*.html")]:
        shutil.copy(path, folder)
    (folder / "onnxruntime").symlink_to(runtime)
    export(tiny, folder / "codec", half=True)

    class Answers(Handler):
        codec_id, sentences, asked = tiny.codec_id, [], []

        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments, directory=folder)  # type: ignore[arg-type]

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/index.html", Answers, folder
        server.shutdown()


def use(url: str, steps: Callable[[Page], T], before: str = "") -> T:
    with browsing(url, loaded=f"{STATUS} !== 'loading'", before=before) as page:
        return steps(page)


def heard(page: Page) -> tuple[str, torch.Tensor]:
    """The page's last words, and the samples that it played."""
    page.until(ENDED)
    said = str(page.run(STATUS))
    assert said.startswith("done"), said
    content = page.run(
        "fetch(document.getElementById('save').href).then((a) => a.arrayBuffer()).then((b) => "
        "{ let t = ''; for (const v of new Uint8Array(b)) t += String.fromCharCode(v); return btoa(t); })"
    )
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(content)), dtype="float32")
    assert rate == 24_000
    return said, torch.from_numpy(samples)


def streamed(codec: NeuCodec, codes: torch.Tensor) -> torch.Tensor:
    with codec.stream() as decoder:
        return torch.cat([decoder.push(codes), decoder.flush()])


@pytest.mark.slow
def test_files_sound_as_in_python(site, tiny, tmp_path):
    codes = tiny.encode(DEMO)
    save_codes(tmp_path / "codes.safetensors", codes, tiny)
    save_codes(tmp_path / "few.npy", codes[:30], tiny)

    def steps(page: Page) -> list[tuple[str, torch.Tensor]]:
        found = []
        for name in ("codes.safetensors", "few.npy"):
            page.run(f"{STATUS} = ''")
            page.choose("#file", tmp_path / name)
            found.append(heard(page))
        return found

    (said, all_of_them), (_, few) = use(site[0], steps)
    assert snr(streamed(tiny, codes), all_of_them) >= 80
    assert snr(streamed(tiny, codes[:30]), few) >= 80
    assert re.match(
        r"done: \d+\.\d\d s of speech, first sound after \d+\.\d\d s, real-time factor \d\.\d{3}", said
    )


@pytest.mark.slow
def test_a_servers_codes_sound_while_they_come(site, tiny):
    url, answers, _ = site
    codes = tiny.encode(DEMO)
    answers.sentences = [codes[:97].numpy(), codes[97:130].numpy()]

    def steps(page: Page) -> tuple[str, torch.Tensor]:
        page.run("document.querySelector('[name=text]').value = 'Hello. Again.'")
        page.run("document.querySelector('[name=voice]').value = 'heart'")
        page.run("document.querySelector('[name=server]').value = location.origin")
        page.run("document.getElementById('speak').click()")
        return heard(page)

    _, samples = use(url, steps)
    assert answers.asked == [
        {"input": "Hello. Again.", "voice": "heart", "response_format": "codes", "stream_format": "sse"}
    ]
    parts = [streamed(tiny, torch.as_tensor(each)) for each in answers.sentences]
    pause = torch.zeros(round(0.35 * 24_000))
    assert snr(torch.cat([parts[0], pause, parts[1]]), samples) >= 80


@pytest.mark.slow
def test_what_the_page_refuses(site, tiny, codec_of_another_codebook, tmp_path):
    codes = tiny.encode(DEMO)[:20]
    save_codes(tmp_path / "other.safetensors", codes, codec_of_another_codebook)
    np.save(tmp_path / "beyond.npy", np.array([1, 50_000], np.uint16))
    (tmp_path / "broken.safetensors").write_bytes(b"abc")
    np.save(tmp_path / "floats.npy", np.zeros(3))

    def steps(page: Page) -> list[str]:
        said = []
        for name in ("other.safetensors", "beyond.npy", "broken.safetensors", "floats.npy"):
            page.run(f"{STATUS} = ''")
            page.choose("#file", tmp_path / name)
            page.until(ENDED)
            said.append(page.run(STATUS))
        page.run("document.querySelector('[name=text]').value = 'Hello.'")
        page.run("document.querySelector('[name=server]').value = 'http://127.0.0.1:9'")
        page.run(f"{STATUS} = ''")
        page.run("document.getElementById('speak').click()")
        page.until(ENDED)
        return [*said, page.run(STATUS)]

    other, beyond, broken, floats, unreachable = use(site[0], steps)
    assert f"and this page decodes those of {tiny.codec_id}" in other
    assert beyond == "error: 50000 is no code of this codec, which has 16384"
    assert broken == "error: broken.safetensors: this is no file of codes, or it is damaged"
    assert floats == "error: floats.npy: codes are integers (frames,)"
    assert unreachable == "error: http://127.0.0.1:9 cannot be reached"


@pytest.mark.slow
def test_a_browser_without_simd_and_a_page_without_its_parts(site):
    url, _, folder = site

    def status(page: Page) -> str:
        return str(page.run(STATUS))

    assert "no WebAssembly SIMD" in use(url, status, "WebAssembly.validate = () => false")
    (folder / "onnxruntime").rename(folder / "away")
    try:
        assert use(url, status) == "error: ONNX Runtime is missing; run: python fetch_onnxruntime.py"
    finally:
        (folder / "away").rename(folder / "onnxruntime")
    (folder / "codec").rename(folder / "away")
    try:
        assert "neucodec-tts export CODEC -o codec" in use(url, status)
    finally:
        (folder / "away").rename(folder / "codec")


@pytest.fixture
def codec_of_another_codebook() -> NeuCodec:
    codec = NeuCodec.from_pretrained("tiny")
    codec._codec_id = "neucodec-other"
    return codec
