"""When the first sound comes through other people's clients, beside our own."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import Annotated, Any

import typer

from neucodec_tts.cli.environment import set_threads
from neucodec_tts.cli.terminal import Terminal, command
from neucodec_tts.errors import EngineError

TEXT = (
    "This sentence is long enough for a stream of some seconds, so that its beginning and its end lie apart."
)
Client = Callable[[dict[str, Any]], Awaitable[tuple[float, float]]]
"""Asks for a text; seconds until the first sound, and until the last."""


@command
def main(
    terminal: Terminal,
    url: Annotated[
        str | None,
        typer.Argument(
            metavar="[URL]", help="A server that runs, as http://127.0.0.1:8000; without it, one is started."
        ),
    ] = None,
    model: Annotated[
        str,
        typer.Option("--model", "-m", metavar="MODEL", help="Of the server that is started."),
    ] = "tiny",
    repeats: Annotated[int, typer.Option(min=1, max=1000, help="Requests of each client, in turns.")] = 20,
    api_key: Annotated[
        str,
        typer.Option("--api-key", envvar="VLLM_API_KEY", help="What the server wants to know."),
    ] = "none",
) -> None:
    """Time the first sound through OpenAI's SDK and through our own client, in turns, of one request at a time."""
    from serving.own_server import own_server

    with ExitStack() as stack:
        if url is None:
            terminal.note(f"starting a server with {model} ...")
            environment = {} if api_key == "none" else {"VLLM_API_KEY": api_key}
            url = stack.enter_context(own_server(model, environment=environment)).url
        first, last = asyncio.run(measured(url.removesuffix("/v1").rstrip("/"), api_key, repeats))
    own = statistics.median(first["own client"])
    rows: list[dict[str, Any]] = [
        {
            "client": name,
            "first_sound": statistics.median(first[name]),
            "last_sound": statistics.median(last[name]),
            "times_own": statistics.median(first[name]) / own,
        }
        for name in first
    ]
    terminal.result({"repeats": repeats, "rows": rows})
    for row in rows:
        terminal.say(
            f"{row['client']:12} first sound after {1000 * row['first_sound']:.0f} ms of {row['last_sound']:.2f} s, "
            f"{row['times_own']:.2f} times that of our own client"
        )


async def measured(
    url: str, api_key: str, repeats: int
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Ask in turns; seconds until the first and the last sound of each request, by client.

    Raises:
        EngineError: OpenAI's client is not installed, or an answer is not whole.
    """
    from serving.client import SpeechClient

    try:
        import openai
    except ImportError as error:
        raise EngineError("OpenAI's client is not installed: pip install openai (vLLM brings it)") from error

    official = openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=api_key, max_retries=0)
    async with SpeechClient(url, api_key=api_key) as own, official:

        async def ours(body: dict[str, Any]) -> tuple[float, float]:
            heard = await own.speak(body)
            if heard.error is not None or heard.first_audio is None:
                raise EngineError(f"our own client: {heard.error}")
            return heard.first_audio, heard.total

        async def openais(body: dict[str, Any]) -> tuple[float, float]:
            start = time.perf_counter()
            first = None
            streaming = official.audio.speech.with_streaming_response.create(
                model="tts-1", voice="alloy", input=body["input"], response_format="pcm"
            )
            async with streaming as answer:
                async for _ in answer.iter_bytes():
                    first = first or time.perf_counter() - start
            if first is None:
                raise EngineError("OpenAI's client: the answer holds no sound")
            return first, time.perf_counter() - start

        clients: dict[str, Client] = {"own client": ours, "OpenAI SDK": openais}
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in clients}
        body = {"input": TEXT, "voice": "alloy"}
        for turn in range(repeats + 1):
            # The first turn makes connections and fills caches. Who begins changes from turn to turn.
            for name in sorted(clients, reverse=bool(turn % 2)):
                asked = await clients[name](body)
                if turn:
                    times[name].append(asked)
    return (
        {name: [first for first, _ in each] for name, each in times.items()},
        {name: [last for _, last in each] for name, each in times.items()},
    )


if __name__ == "__main__":
    set_threads()
    typer.run(main)
