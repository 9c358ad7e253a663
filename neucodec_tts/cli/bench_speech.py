"""``neucodec-tts bench tokens`` and ``bench say``: the language side."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from neucodec_tts.cli.bench import RepeatsOption, Size, bench
from neucodec_tts.cli.terminal import (
    DebugOption,
    DeviceOption,
    JsonOption,
    QuietOption,
    reporting,
)

if TYPE_CHECKING:
    from neucodec_tts.voices import SpeakerPrompt


@bench.command("tokens")
def bench_tokens(
    codes: Annotated[
        int, typer.Option(min=1, help="How many are turned into ids and back; 650 are 13 s.")
    ] = 650,
    text_tokens: Annotated[
        int, typer.Option(min=256, help="Tokens of text in the tokenizer; the default is NeuTTS Air's.")
    ] = 151_643,
    repeats: RepeatsOption = 15,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Time codes to token ids and back, beside names of tokens as NeuTTS uses them, and both layouts' loading."""
    with reporting(as_json, quiet, debug) as terminal:
        with terminal.progress("timing tokens"):
            import numpy as np

            from neucodec_tts.tokens import SpeechVocabulary
            from neucodec_tts.tokens.benchmark import compare_with_strings, synthetic_tokenizer, time_loading

            tokenizer = synthetic_tokenizer(text_tokens)
            vocabulary = SpeechVocabulary.extend(tokenizer)
            chosen = np.random.default_rng(0).integers(0, vocabulary.codebook_size, codes).tolist()
            times = compare_with_strings(tokenizer, vocabulary, chosen, repeats)
            loading = time_loading(text_tokens, min(repeats, 3))
        terminal.result(
            {
                **asdict(times),
                "to_ids_ratio": times.strings_to_ids / times.to_ids,
                "to_codes_ratio": times.strings_to_codes / times.to_codes,
                "loading": asdict(loading),
            }
        )
        terminal.say(f"{codes} codes, best of {repeats}, {text_tokens:,} tokens of text")
        for what, ours, theirs, how in (
            ("to_ids", times.to_ids, times.strings_to_ids, "joining names and tokenizing them"),
            ("to_codes", times.to_codes, times.strings_to_codes, "decoding and searching for numbers"),
            ("to_codes", times.to_codes, times.strings_to_ids, "joining names and tokenizing them"),
        ):
            terminal.say(
                f"  {what:<9}{ours * 1e6:7.1f} µs   {how:<35}{theirs * 1e6:8.0f} µs   ratio {theirs / ours:5.0f}"
            )
        terminal.say(
            f"  loading the tokenizer: {loading.without_codes:.2f} s without codes, {loading.vocab:.2f} s in the "
            f"layout 'vocab', {loading.added:.2f} s in the layout 'added'"
        )


@bench.command("say")
def bench_say(
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
    repeats: RepeatsOption = 3,
    device: DeviceOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Speak a text at once and as a stream; say what generating and decoding take, and what the pipeline adds."""
    with reporting(as_json, quiet, debug) as terminal:
        with terminal.progress("speaking", repeats) as advance:
            from neucodec_tts.evaluate.pipeline import TEXT, measure_pipeline, random_speaker
            from neucodec_tts.speech import TextToSpeech

            speaker: SpeakerPrompt | None
            if model is None:
                tts, speaker = random_speaker(size.value, device)
            else:
                tts = TextToSpeech.from_pretrained(model, device=device)
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
