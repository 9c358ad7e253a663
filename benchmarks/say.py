"""Time the speech pipeline: generating, decoding, and what the pipeline adds to both."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from enum import Enum
from typing import TYPE_CHECKING, Annotated

import typer

from neucodec_tts.cli.environment import set_threads
from neucodec_tts.cli.options import DeviceOption
from neucodec_tts.cli.terminal import Terminal, command

if TYPE_CHECKING:
    from neucodec_tts.voices import SpeakerPrompt


TEXT = (
    "Alice was beginning to get very tired of sitting by her sister on the bank, and of having nothing to do. "
    "Once or twice she had peeped into the book her sister was reading. But it had no pictures or conversations in it. "
    "And what is the use of a book, thought Alice, without pictures or conversations?"
)


class Size(str, Enum):
    """Size of the random model."""

    full = "full"
    tiny = "tiny"


@command
def main(
    terminal: Terminal,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            metavar="MODEL",
            help="Hub id or folder of a language model that speaks; by default one with random weights.",
            show_default=False,
        ),
    ] = None,
    voice: Annotated[
        str | None,
        typer.Option("--voice", "-v", metavar="VOICE", help="For --model: a voice's name or file."),
    ] = None,
    size: Annotated[
        Size,
        typer.Option(
            help="Without --model. full: that of NeuTTS Air and NeuCodec, which needs 8 GiB; tiny: a small one with "
            "the built-in codec."
        ),
    ] = Size.tiny,
    text: Annotated[
        str | None, typer.Option("--text", metavar="TEXT", help="What to say.", show_default=False)
    ] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Timed runs of each.")] = 3,
    device: DeviceOption = None,
) -> None:
    """Speak a text at once and as a stream; say what generating and decoding take, and what the pipeline adds."""
    with terminal.progress("speaking", repeats) as advance:
        from neucodec_tts.speech import TextToSpeech
        from pipeline_times import measure_pipeline
        from random_models import random_speaker

        speaker: SpeakerPrompt | None
        if model is None:
            tts, speaker = random_speaker(size.value, device)
        else:
            tts = TextToSpeech.from_pretrained(model, device=device, watermark=False)
            speaker = None if voice is None else tts.find_voice(voice)
        # Random weights never stop by themselves, which is no news.
        with _errors_only() if model is None else nullcontext():
            report = measure_pipeline(tts, text or TEXT, speaker, repeats=repeats, advance=advance)
    ways, first = (report.speak, report.stream), report.first
    terminal.result(
        {
            **asdict(report),
            "overhead": {way.way: way.overhead for way in ways},
            "first_other": first.other,
            "cpu_count": os.cpu_count(),
        }
    )
    terminal.say(
        f"{model or f'{size.value} size, random weights'}: {ways[0].segments} stretches, {ways[0].tokens} codes, "
        f"{ways[0].audio:.1f} s of speech, median of {repeats}"
    )
    terminal.say("            total  generation  decoding  the pipeline  of that, pauses")
    for way in ways:
        own = way.total - way.generation - way.decoding
        terminal.say(
            f"  {way.way:<8}{way.total:5.2f} s{way.generation:10.2f} s{way.decoding:8.2f} s{own:12.3f} s"
            f"{way.seams:15.3f} s   adds {100 * way.overhead:.1f} %"
        )
    terminal.say(
        f"  first sound {1000 * first.total:.0f} ms after the first token: {first.tokens} tokens "
        f"{1000 * first.generation:.0f} ms, {first.decodes} decode {1000 * first.decoding:.0f} ms, all else "
        f"{1000 * first.other:.1f} ms; the first token came {1000 * first.before:.0f} ms after the call"
    )
    terminal.say(
        f"  streamed and not: {'the same' if report.equal_codes else 'different'} codes, "
        f"{'equal' if report.equal_length else 'different'} length"
    )


@contextmanager
def _errors_only() -> Iterator[None]:
    """Keep the pipeline's warnings to itself for a while."""
    logger = logging.getLogger("neucodec_tts.speech")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


if __name__ == "__main__":
    set_threads()
    typer.run(main)
