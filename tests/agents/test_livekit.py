"""LiveKit's side: its own classes on servers that do well, and on servers that do not."""

from __future__ import annotations

import asyncio
from http import HTTPStatus

import pytest

pytest.importorskip(
    "livekit.agents", reason="LiveKit is not installed here; `make agents` makes .venv-agents"
)

from livekit.agents import APIConnectionError, APIError, APIStatusError, APITimeoutError
from livekit.agents.metrics import TTSMetrics
from livekit.agents.tts import FallbackAdapter
from livekit.agents.types import APIConnectOptions

from neucodec_tts_client import SpeechUrlError
from neucodec_tts_livekit import TTS
from tests.agents.faulty_server import RATE, SOUND, faulty_server, well_behaved

ONCE = APIConnectOptions(max_retry=0, timeout=1.0)
TWICE = APIConnectOptions(max_retry=1, timeout=1.0)


async def spoken(voice, *pieces: str, options: APIConnectOptions = ONCE) -> bytes:
    """The samples of a text that comes in pieces."""
    async with voice.stream(conn_options=options) as stream:
        for piece in pieces:
            stream.push_text(piece)
            await asyncio.sleep(0)
        stream.end_input()
        return samples([event async for event in stream])


def samples(events) -> bytes:
    """Their sound, without the 10 ms of silence that LiveKit may add to mark the end."""
    sound = b"".join(event.frame.data.tobytes() for event in events)
    return sound.removesuffix(bytes(2 * RATE // 100))


def test_text_goes_in_as_it_is_written_and_sentences_come_out():
    async def speak_early(visit) -> None:
        await visit.until("input.text")
        await visit.say("Hello.")
        await visit.until("input.done")
        await visit.say("And so on.")
        await visit.done()

    async def run() -> None:
        figures: list[TTSMetrics] = []
        async with faulty_server(speak_early) as server, TTS(base_url=server.url) as voice:
            voice.on("metrics_collected", figures.append)
            async with voice.stream(conn_options=ONCE) as stream:
                stream.push_text("Hello. And")
                sound = await anext(stream)  # before the text is complete
                assert sound.frame.sample_rate == RATE
                stream.push_text(" so on.")
                stream.end_input()
                rest = [event async for event in stream]
            assert samples([sound, *rest]) == SOUND * 2
            assert rest[-1].is_final
            assert server.texts() == "Hello. And so on."
        assert len(figures) == 1
        assert 0 < figures[0].ttfb < figures[0].duration
        assert (figures[0].input_tokens, figures[0].output_tokens) == (6, 10)
        assert (figures[0].audio_duration, figures[0].characters_count) == (pytest.approx(0.2, abs=0.011), 17)

    asyncio.run(run())


def test_a_complete_text_is_spoken():
    async def run() -> None:
        figures: list[TTSMetrics] = []
        async with faulty_server(well_behaved) as server, TTS(base_url=server.url, voice="dave") as voice:
            voice.on("metrics_collected", figures.append)
            frame = await voice.synthesize("Grüße, 你好!", conn_options=ONCE).collect()
            assert frame.data.tobytes() == SOUND
            assert server.texts() == "Grüße, 你好!"
            assert server.configs()[0]["voice"] == "dave"
            empty = voice.synthesize("", conn_options=ONCE)
            assert [event async for event in empty] == []
        assert figures[0].ttfb > 0

    asyncio.run(run())


def test_the_connection_is_used_again_and_takes_new_settings():
    async def run() -> None:
        async with faulty_server(well_behaved) as server, TTS(base_url=server.url) as voice:
            voice.prewarm()
            assert await spoken(voice, "One.") == SOUND
            assert await spoken(voice, "Two.") == SOUND
            voice.update_options(voice="dave", seed=3)
            assert await spoken(voice, "Three.") == SOUND
            assert server.visits == 1
            assert [(each.get("voice"), each.get("seed")) for each in server.configs()] == [
                (None, None),
                ("dave", 3),
            ]

    asyncio.run(run())


@pytest.mark.parametrize("pieces", [(), ("",), ("  ", "\n")])
def test_no_text_is_no_sound_and_no_error(pieces):
    async def run() -> None:
        async def nothing_to_say(visit) -> None:
            await visit.until("input.done")
            await visit.done()

        async with faulty_server(nothing_to_say) as server, TTS(base_url=server.url) as voice:
            assert len(await spoken(voice, *pieces)) <= len(SOUND) // 5

    asyncio.run(run())


def test_what_cannot_be_spoken_is_left_out_with_a_warning(caplog):
    async def nothing_to_say(visit) -> None:
        await visit.until("input.done")
        await visit.done()

    async def run() -> None:
        async with faulty_server(nothing_to_say) as server, TTS(base_url=server.url) as voice:
            assert not any(await spoken(voice, "👍"))
            assert server.visits == 1

    asyncio.run(run())
    assert "nothing that can be spoken" in caplog.text


@pytest.mark.parametrize("moment", ["before the first sound", "within a sentence", "between sentences"])
def test_an_interruption_silences_the_server_and_the_next_text_starts_clean(moment):
    silenced = asyncio.Event()

    async def interrupted(visit) -> None:
        await visit.until("input.text")
        if moment != "before the first sound":
            await (visit.start() if moment == "within a sentence" else visit.say())
            await visit.sound() if moment == "within a sentence" else None
        await visit.until("input.cancel")
        silenced.set()
        await visit.sound(b"\x02\x00" * 1000)  # was on its way
        await visit.done(cancelled=True)
        await well_behaved(visit)

    async def run() -> None:
        async with faulty_server(interrupted) as server, TTS(base_url=server.url) as voice:
            stream = voice.stream(conn_options=ONCE)
            stream.push_text("Hello. And so")
            if moment == "before the first sound":
                while not server.texts():
                    await asyncio.sleep(0.01)
            else:
                await anext(stream)
            await stream.aclose()
            await asyncio.wait_for(silenced.wait(), 10)
            while voice._silencing:
                await asyncio.sleep(0.01)
            assert await spoken(voice, "Heard.") == SOUND
            assert server.texts() == "Hello. And soHeard."
            assert server.visits == 1

    asyncio.run(run())


def test_a_server_that_cannot_be_silenced_is_left():
    async def deaf(visit) -> None:
        await visit.until("input.text")
        await visit.say()

    async def run() -> None:
        async with faulty_server(deaf, well_behaved) as server, TTS(base_url=server.url) as voice:
            stream = voice.stream(conn_options=ONCE)
            stream.push_text("Hello. And so")
            await anext(stream)
            await stream.aclose()
            assert await spoken(voice, "Heard.") == SOUND
            assert server.visits == 2

    asyncio.run(run())


async def closes_within(visit) -> None:
    await visit.until("input.text")
    await visit.start()
    await visit.drop()


async def closes_between(visit) -> None:
    await visit.until("input.text")
    await visit.say()
    await visit.close()


async def is_silent(visit) -> None:
    await visit.until("input.done")


async def stops_within(visit) -> None:
    await visit.until("input.text")
    await visit.start()
    await visit.sound()


async def knows_no_voice(visit) -> None:
    await visit.until("input.text")
    await visit.refuse(404, "there is no voice 'nobody'", "voice")


async def is_full(visit) -> None:
    await visit.until("input.text")
    await visit.refuse(429, "too many", None)


async def speaks_otherwise(visit) -> None:
    await visit.until("input.done")
    await visit.say(rate=16_000)


async def sends_nonsense(visit) -> None:
    await visit.until("input.text")
    await visit.sound(b"\0\0")
    await visit._connection.send("pardon?")


@pytest.mark.parametrize(
    ("behaviour", "error", "says"),
    [
        (closes_within, APIConnectionError, "closed the connection"),
        (closes_between, APIConnectionError, "closed the connection"),
        (is_silent, APITimeoutError, "silent for 1 s"),
        (stops_within, APITimeoutError, "silent for 1 s"),
        (knows_no_voice, APIStatusError, "no voice 'nobody'"),
        (is_full, APIStatusError, "too many"),
        (speaks_otherwise, APIError, "sample_rate=16000"),
        (sends_nonsense, APIStatusError, "pardon"),
    ],
)
def test_faults_are_errors_that_livekit_knows(behaviour, error, says):
    async def run() -> None:
        async with faulty_server(behaviour) as server, TTS(base_url=server.url) as voice:
            with pytest.raises(error, match=says):
                await spoken(voice, "Hello. And so")
            with pytest.raises(error, match=says):
                await voice.synthesize("Hello. And so", conn_options=ONCE).collect()

    asyncio.run(run())


def test_a_language_model_may_pause_for_longer_than_the_server():
    async def run() -> None:
        hasty = APIConnectOptions(max_retry=0, timeout=0.1)
        async with (
            faulty_server(well_behaved) as server,
            TTS(base_url=server.url) as voice,
            voice.stream(conn_options=hasty) as stream,
        ):
            stream.push_text("Hello")
            await asyncio.sleep(0.5)
            stream.push_text(" there.")
            stream.end_input()
            assert samples([event async for event in stream]) == SOUND

    asyncio.run(run())


@pytest.mark.parametrize(
    ("status", "says"),
    [
        (HTTPStatus.UNAUTHORIZED, "another key"),
        (HTTPStatus.FORBIDDEN, "neucodec-tts serve"),
        (HTTPStatus.NOT_FOUND, "neucodec-tts serve"),
        (HTTPStatus.SERVICE_UNAVAILABLE, "no session now"),
    ],
)
def test_a_refused_connection_has_its_status(status, says):
    async def run() -> None:
        async with faulty_server(well_behaved, status=status) as server, TTS(base_url=server.url) as voice:
            with pytest.raises(APIStatusError, match=says) as refused:
                await spoken(voice, "Hello.", options=TWICE)
            assert refused.value.status_code == status
            # What another try cannot mend is not tried again.
            assert server.visits == (2 if status == HTTPStatus.SERVICE_UNAVAILABLE else 1)

    asyncio.run(run())


def test_a_server_that_is_not_there_and_one_that_is_no_server():
    async def run() -> None:
        async with TTS(base_url="http://127.0.0.1:9") as voice:
            with pytest.raises(APIConnectionError, match="cannot be reached"):
                await spoken(voice, "Hello.", options=TWICE)

        async def mute(reader, writer) -> None:
            await reader.read()
            writer.close()

        async with await asyncio.start_server(mute, "127.0.0.1", 0) as other:
            port = other.sockets[0].getsockname()[1]
            async with TTS(base_url=f"http://127.0.0.1:{port}") as voice:
                with pytest.raises(APITimeoutError, match="within 1 s"):
                    await spoken(voice, "Hello.")

    asyncio.run(run())
    with pytest.raises(SpeechUrlError, match="localhost:8000"):
        TTS(base_url="localhost:8000")


def test_a_lost_connection_is_tried_again_with_the_whole_text():
    async def run() -> None:
        async with faulty_server(closes_within, well_behaved) as server, TTS(base_url=server.url) as voice:
            assert await spoken(voice, "Hel", "lo.", options=TWICE) == SOUND
            assert server.visits == 2
            assert server.texts().endswith("Hello.")

    asyncio.run(run())


def test_a_connection_that_ended_while_it_lay_idle_costs_no_try():
    async def restarts(visit) -> None:
        await visit.until("input.done")
        await visit.say()
        await visit.done()
        await visit.close()

    async def run() -> None:
        async with faulty_server(restarts, well_behaved) as server, TTS(base_url=server.url) as voice:
            assert await spoken(voice, "One.") == SOUND
            await asyncio.sleep(0.1)
            assert await spoken(voice, "Two.") == SOUND

    asyncio.run(run())


@pytest.mark.parametrize("behaviour", [closes_within, is_silent, knows_no_voice, None])
def test_livekits_fallback_takes_another_voice(behaviour):
    async def run() -> None:
        async with faulty_server(behaviour or well_behaved) as bad, faulty_server(well_behaved) as good:
            first = TTS(base_url=bad.url if behaviour else "http://127.0.0.1:9")
            second = TTS(base_url=good.url, voice="other")
            both = FallbackAdapter([first, second], max_retry_per_tts=0)
            changes: list[tuple[object, bool]] = []
            both.on("tts_availability_changed", lambda event: changes.append((event.tts, event.available)))
            assert await spoken(both, "Hello.", options=ONCE) == SOUND
            assert (first, False) in changes
            assert good.texts() == "Hello."
            for each in (both, first, second):
                await each.aclose()

    asyncio.run(run())
