"""The page at /speech in a real browser, on a real HTTP server; in place of vLLM's engine stands a script."""

from __future__ import annotations

import asyncio
import json
from contextlib import ExitStack
from importlib.resources import files
from pathlib import Path

import httpx
import numpy as np
import pytest
import soundfile

pytest.importorskip("vllm", reason="vLLM is not installed; the server uses what comes with it")

from tests.adapters.neucodec_tts_vllm.listening import VOICES
from tests.adapters.neucodec_tts_vllm.scripted_server import listening, scripted_server, until
from tests.assets import DEMO
from tests.chromium import browsing
from tests.speech.scripted import Line, Stage

DONE = "document.getElementById('stop').disabled"
LOADED = "document.querySelectorAll('#cards li').length > 0"
CHECKED = "!['', 'Checking the recording …'].includes(document.getElementById('found').textContent)"
CHOSEN = "document.querySelector('#cards :checked').value"
FAKE_MICROPHONE = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]


@pytest.fixture(scope="module")
def stage(codec) -> Stage:
    return Stage.build(codec)


@pytest.fixture(scope="module")
def line(stage: Stage) -> Line:
    """The first two seconds of the recording that comes with the package."""
    return stage.line(stage.codec.encode(DEMO)[:100].numpy())


@pytest.fixture
def server(stage, line, tmp_path):
    with listening(scripted_server(stage, line, voices=str(tmp_path / "voices"))) as server:
        yield server


@pytest.fixture
def page(server):
    with browsing(f"{server.url}/speech") as page:
        page.until(LOADED)
        yield page
        assert not page.errors
        elsewhere = [url for url in page.requests if not url.startswith((server.url, "data:", "blob:"))]
        assert not elsewhere


def add_voice(server, name: str) -> None:
    with server.client() as client:
        answer = client.post(
            VOICES,
            files={"audio_sample": DEMO.read_bytes()},
            data={"name": name, "ref_text": "All representatives are busy."},
        )
    assert answer.status_code == 200, answer.text


def samples(seconds: float, level: float) -> np.ndarray:
    """The recording, looped or cut to a length, louder or quieter."""
    sound, rate = soundfile.read(DEMO)
    assert rate == 16_000
    return np.clip(np.resize(sound, round(seconds * rate)) * level, -1, 1)


def choose(page, path: Path) -> None:
    """Choose a file in the dialog, and wait for what is said of it."""
    document = page.send("DOM.getDocument")["root"]["nodeId"]
    node = page.send("DOM.querySelector", nodeId=document, selector="#sample")["nodeId"]
    page.send("DOM.setFileInputFiles", files=[str(path)], nodeId=node)
    page.until(CHECKED)


# -- speaking -----------------------------------------------------------------------------------------------


def test_it_speaks_draws_counts_and_downloads(page, tmp_path):
    page.click("go")
    page.until(DONE)
    assert page.text("status").startswith("Spoken: 2.0 s, first sound after ")
    assert page.text("length") == "2.0 s"
    assert page.text("first").endswith(" ms")
    assert float(page.text("factor")) > 0
    assert int(page.text("seed")) >= 0
    painted = """{
        const canvas = document.getElementById('picture'), pen = canvas.getContext('2d');
        const part = (top, height) => pen.getImageData(0, top * canvas.height, canvas.width, height * canvas.height)
            .data.filter((value, index) => index % 4 === 3 && value).length;
        [part(0.1, 0.18), part(0.7, 0.28)]
    }"""
    page.until(
        f"(() => {{ const [wave, codes] = eval({json.dumps(painted)}); return wave > 100 && codes > 1000 }})()"
    )

    page.send("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    page.click("save")
    until(lambda: (tmp_path / "speech.wav").exists())
    sound, rate = soundfile.read(tmp_path / "speech.wav")
    assert (rate, len(sound)) == (24_000, 48_000)
    assert np.abs(sound).max() > 0.05


def test_a_seed_is_kept_and_sent(page, server):
    page.click("go")
    page.until(DONE)
    seed = page.text("seed")
    page.click("keep")
    assert page.run("document.activeElement.name") == "seed"
    page.click("go")
    page.until(f"{DONE} && document.getElementById('status').textContent.startsWith('Spoken')")
    assert page.text("seed") == seed


@pytest.mark.parametrize(
    ("text", "told"), [("", "write a text"), (" \n ", "write a text"), ("...", "refuses: ")]
)
def test_a_text_with_nothing_to_speak(page, text, told):
    page.fill("text", text)
    page.click("go")
    page.until(f"{DONE} && document.getElementById('status').className === 'error'")
    assert told in page.text("status")


def test_a_text_that_is_too_long(page, server):
    page.fill("text", "All gone. " * 10_000)
    assert page.text("count").startswith("100,000 characters")
    page.click("go")
    page.until("document.getElementById('status').className === 'error'")
    assert "100,000 characters" in page.text("status")
    assert server.engine.asked == 0


def test_a_field_that_cannot_be_is_named(page, server):
    page.run("document.querySelector('[name=speed]').value = 9")
    page.click("go")
    page.until("document.getElementById('status').className === 'error'")
    assert page.text("status").startswith("Speed")
    assert page.run("document.activeElement.name") == "speed"
    assert server.engine.asked == 0


def test_stop_ends_the_request(stage, line, page, server):
    server.engine.may_go_on, server.engine.waits_at = asyncio.Event(), 60
    page.click("go")
    page.until("document.getElementById('length').textContent !== '–'")
    page.click("stop")
    page.until(DONE)
    assert page.text("status").startswith("Stopped after ")
    until(lambda: server.engine.closed == 1)
    assert page.focused() == "go"


def test_the_server_goes_away_in_the_middle(stage, line):
    server = scripted_server(stage, line)
    server.engine.may_go_on, server.engine.waits_at = asyncio.Event(), 60
    with ExitStack() as stack:
        there = stack.enter_context(listening(server))
        with browsing(f"{there.url}/speech") as page:
            page.until(LOADED)
            page.click("go")
            page.until("document.getElementById('length').textContent !== '–'")
            stack.close()
            page.until(DONE)
            assert "went away in the middle" in page.text("status")
            assert "can be played and downloaded" in page.text("status")
            assert not page.run("document.getElementById('save').disabled")
            page.click("go")
            page.until(f"{DONE} && document.getElementById('status').textContent.includes('does not answer')")


def test_a_hidden_tab_goes_on_and_draws_when_it_is_shown(page, server):
    server.engine.may_go_on, server.engine.waits_at = asyncio.Event(), 60
    page.click("go")
    page.until("document.getElementById('length').textContent !== '–'")
    other = page.send("Target.createTarget", url="about:blank")["targetId"]
    page.until("document.hidden")
    server.engine.may_go_on.set()
    page.until(DONE)
    assert page.text("status").startswith("Spoken: 2.0 s")
    page.send("Target.closeTarget", targetId=other)
    page.until("!document.hidden")
    page.run("new Promise(requestAnimationFrame)")


# -- voices -------------------------------------------------------------------------------------------------


def test_cards_speak_a_sample_once_and_choose_the_voice(server):
    add_voice(server, "dave")
    with browsing(f"{server.url}/speech") as page:
        page.until(LOADED)
        sample = "document.querySelector('[aria-label=\"Play a sample of dave\"]')"
        for _ in range(2):
            page.run(f"{sample}.click()")
            page.until(f"{sample}.textContent === '■' && {sample}.ariaBusy !== 'true'")
            page.run(f"{sample}.click()")
            page.until(f"{sample}.textContent === '▶'")
        assert server.engine.asked == 1
        assert page.run(CHOSEN) == ""
        page.run("document.querySelector('#cards [value=dave]').click()")
        page.click("go")
        page.until(DONE)
        assert page.text("status").startswith("Spoken")
        assert not page.errors


def test_a_voice_is_deleted_after_a_question(server):
    add_voice(server, "dave")
    with browsing(f"{server.url}/speech") as page:
        page.until("!!document.querySelector('[value=dave]')")
        for answer in ("false", "true"):
            page.run(f"window.confirm = () => {answer}")
            page.run("document.querySelector('[aria-label=\"Delete the voice dave\"]').click()")
        page.until("!document.querySelector('[value=dave]')")
    assert httpx.get(server.url + VOICES).json()["uploaded_voices"] == []


# -- recordings ---------------------------------------------------------------------------------------------


def test_the_microphone_is_judged_live_and_by_the_server_and_becomes_a_voice(server, tmp_path):
    soundfile.write(tmp_path / "speech.wav", samples(8.0, 1.0), 16_000)
    options = [*FAKE_MICROPHONE, f"--use-file-for-fake-audio-capture={tmp_path / 'speech.wav'}"]
    with browsing(f"{server.url}/speech", *options) as page:
        page.until(LOADED)
        page.click("add")
        page.click("record")
        page.until("parseFloat(document.getElementById('clock').textContent) > 4")
        assert page.text("verdict") == "A good level."
        page.click("record")
        page.until(CHECKED)
        assert "s of speech" in page.text("found")
        page.click("keep-voice")
        page.until("document.activeElement.id === 'name'")
        page.fill("name", "zoe")
        page.click("keep-voice")
        page.until("document.activeElement.id === 'consent'")
        assert "only if it is yours" in page.text("found")
        page.click("consent")
        page.click("keep-voice")
        page.until(f"!document.getElementById('recording').open && {CHOSEN} === 'zoe'")
        assert page.text("status").startswith("The voice zoe is there.")
        assert not page.errors


@pytest.mark.parametrize(
    ("seconds", "level", "told"),
    [
        (0.3, 1.0, "0.30 s long"),
        (4.0, 0.0, "holds no speech"),
        (40.0, 1.0, "longer than 30 s"),
        (8.0, 1.0, "s of speech"),
    ],
)
def test_recordings_that_are_refused_or_taken(page, tmp_path, seconds, level, told):
    soundfile.write(tmp_path / "given.wav", samples(seconds, level), 16_000)
    page.click("add")
    choose(page, tmp_path / "given.wav")
    assert told in page.text("found")
    refused = page.run("document.getElementById('found').className") == "error"
    assert refused == (told != "s of speech")
    assert page.run("document.getElementById('keep-voice').disabled") == refused


@pytest.mark.parametrize(
    ("seconds", "level", "told"), [(8.0, 20.0, "clipped"), (8.0, 0.02, "very quiet"), (1.5, 1.0, "only 1.")]
)
def test_advice_about_a_recording_is_shown(page, tmp_path, seconds, level, told):
    soundfile.write(tmp_path / "given.wav", samples(seconds, level), 16_000)
    page.click("add")
    choose(page, tmp_path / "given.wav")
    assert "could be better" in page.text("found")
    assert told in page.text("advice")
    assert not page.run("document.getElementById('keep-voice').disabled")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (
            ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream=deny"],
            "may not use the microphone",
        ),
        ([*FAKE_MICROPHONE[1:]], "There is no microphone"),
    ],
)
def test_without_a_microphone(server, options, told):
    with browsing(f"{server.url}/speech", *options) as page:
        page.until(LOADED)
        page.click("add")
        page.click("record")
        page.until("document.getElementById('found').className === 'error'")
        assert told in page.text("found")
        assert "choose a file" in page.text("found")
        assert page.text("record") == "Record"


# -- for everybody ------------------------------------------------------------------------------------------


def test_the_keyboard_is_enough(server):
    add_voice(server, "dave")
    with browsing(f"{server.url}/speech") as page:
        page.until(LOADED)
        page.run("document.getElementById('text').focus()")
        page.press("Tab")
        assert page.run("document.activeElement.name") == "voice"
        page.press("ArrowDown")
        assert page.run(CHOSEN) == "dave"
        page.press("Tab")
        assert page.run("document.activeElement.ariaLabel") == "Play a sample of dave"
        page.press("Tab")
        page.press("Tab")
        assert page.focused() == "add"
        page.press("Enter")
        page.until("document.getElementById('recording').open")
        page.press("Escape")
        page.until("!document.getElementById('recording').open")
        assert page.focused() == "add"
        page.run("document.getElementById('text').focus()")
        page.press("Enter", control=True)
        page.until(f"{DONE} && document.getElementById('status').textContent.startsWith('Spoken')")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_to_mend(server, scheme):
    axe = pytest.importorskip("axe_core_python", reason="axe-core, which judges pages, is not installed")
    source = (files(axe) / "axe.min.js").read_text(encoding="utf-8")
    add_voice(server, "dave")
    with browsing(f"{server.url}/speech") as page:
        page.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        page.until(LOADED)
        page.click("go")
        page.until(DONE)
        page.run("for (const each of document.querySelectorAll('details')) each.open = true")
        page.run(source + "; true")
        for place in ("page", "dialog"):
            if place == "dialog":
                page.click("add")
            found = page.run(
                "axe.run().then(found => found.violations.map(one => `${one.id}: ${one.nodes[0].html}`))"
            )
            assert found == [], place


def test_light_and_dark_follow_the_system_and_the_button(page):
    colour = "getComputedStyle(document.documentElement).backgroundColor"
    seen = {}
    for scheme in ("light", "dark"):
        page.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        seen[scheme] = page.run(colour)
    assert seen["light"] != seen["dark"]
    for other in ("light", "dark"):
        page.until(f"document.getElementById('theme').textContent === 'Switch to {other}'")
        page.click("theme")
        assert page.run(colour) == seen[other]
