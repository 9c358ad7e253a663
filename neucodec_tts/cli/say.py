"""``neucodec-tts say``: text to speech."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from neucodec_tts.cli.terminal import (
    DebugOption,
    DeviceOption,
    JsonOption,
    QuietOption,
    Stopwatch,
    Terminal,
    real_time,
    reporting,
)
from neucodec_tts.errors import AudioError, EngineError, PromptError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from neucodec_tts.prompts import SpeakerPrompt
    from neucodec_tts.speech import Sampling, Segment, TextToSpeech

_VOICE_FILES = (".safetensors", ".pt", ".pth", ".npy")


def say(
    model: Annotated[
        str,
        typer.Option(
            "--model",
            "-m",
            metavar="MODEL",
            help="A language model that speaks: hub id (neuphonic/neutts-air, neuphonic/neutts-nano, "
            "HKUSTAudio/Llasa-1B ...), or a folder with a speech_config.json.",
        ),
    ],
    text: Annotated[
        str | None,
        typer.Argument(metavar="[TEXT]", help="What to say; by default it is read from standard input."),
    ] = None,
    voice: Annotated[
        str | None,
        typer.Option(
            "--voice",
            "-v",
            metavar="VOICE",
            help="A name in your library of voices, a voice's file, or a recording of 3 to 15 s.",
        ),
    ] = None,
    voice_text: Annotated[
        str | None,
        typer.Option(
            "--voice-text",
            metavar="TEXT",
            help="What is said in the recording, word for word; by default what stands in the .txt file of the same "
            "name.",
            show_default=False,
        ),
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", metavar="FILE", help="Read the text from a file (UTF-8).")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="OUT", help="A .wav (.flac, .ogg, .opus, .mp3) file."),
    ] = None,
    stream: Annotated[
        bool,
        typer.Option(
            "--stream",
            help="Speak while generating: raw samples (16 bit, mono) to standard output, or to the loudspeaker if "
            "that is a terminal.",
        ),
    ] = False,
    play: Annotated[
        bool,
        typer.Option("--play", help="Speak through the loudspeaker while generating; needs sounddevice."),
    ] = False,
    seed: Annotated[
        int | None, typer.Option("--seed", help="Speak in the same way again.", show_default=False)
    ] = None,
    temperature: Annotated[
        float | None, typer.Option("--temperature", help="Of the sampling; the model's own by default.")
    ] = None,
    top_k: Annotated[int | None, typer.Option("--top-k", help="Draw from so many tokens; 0 for all.")] = None,
    top_p: Annotated[
        float | None, typer.Option("--top-p", help="Draw from so much of the probability.")
    ] = None,
    codec: Annotated[
        str | None,
        typer.Option(
            "--codec", metavar="CODEC", help="Hub id or folder; the one that the model names by default."
        ),
    ] = None,
    engine: Annotated[
        str, typer.Option("--engine", metavar="NAME", help="What runs the language model.")
    ] = "transformers",
    batch_size: Annotated[
        int, typer.Option("--batch-size", min=1, help="Sentences that are generated together.")
    ] = 4,
    watermark: Annotated[
        bool | None,
        typer.Option(
            "--watermark/--no-watermark",
            help="Mark the sound as synthetic, inaudibly; the default where resemble-perth is installed.",
            show_default=False,
        ),
    ] = None,
    library: Annotated[
        Path | None,
        typer.Option(
            "--library", metavar="DIR", help="The library of voices; yours by default.", show_default=False
        ),
    ] = None,
    device: DeviceOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Say a text, in the voice of a recording.

    For example: say "Good morning." --model neuphonic/neutts-air --voice dave.wav --voice-text "What Dave says
    there." -o morning.wav
    """
    if sum((output is not None, stream, play)) != 1:
        raise typer.BadParameter("say where the speech should go: one of -o FILE, --stream and --play")
    if text is not None and file is not None:
        raise typer.BadParameter("give the text either as an argument or by --file")
    to_stdout = stream and not sys.stdout.isatty()
    if as_json and to_stdout:
        raise typer.BadParameter(
            "--json and --stream both want standard output; use -o or --play with --json"
        )
    if watermark and output is None:
        raise typer.BadParameter("only whole recordings can be watermarked (-o), not streams")
    with reporting(as_json, quiet, debug) as terminal:
        text = _read_text(text, file)
        sink = None
        if output is None:
            sink = _stdout_sink() if to_stdout else _loudspeaker_sink()
        tts = _load(terminal, model, codec, engine, device, library)
        speaker = None if voice is None else _voice(terminal, tts, voice, voice_text)
        sampling = _sampling(tts, temperature=temperature, top_k=top_k, top_p=top_p)
        watch = Stopwatch()
        if output is not None:
            with watch, terminal.progress("speaking", len(text)) as advance:
                marked = _with_watermark(watermark)
                result = tts.speak(
                    text,
                    speaker,
                    seed=seed,
                    sampling=sampling,
                    batch_size=batch_size,
                    watermark=marked,
                    on_segment=_progress(advance),
                )
            result.save(output)
            seconds, segments, seed = result.duration, result.segments, result.seed
        else:
            assert sink is not None
            marked = False
            terminal.note("a stream carries no watermark")
            with watch, tts.stream(text, speaker, seed=seed, sampling=sampling) as speech:
                seconds = sink(speech, speech.sample_rate, terminal)
                segments, seed = speech.segments, speech.seed
        _report(terminal, tts, output, seconds, segments, seed, marked, watch, to_stdout)


def _read_text(text: str | None, file: Path | None) -> str:
    """The text: what was given, or a file's, or standard input's."""
    if text is not None and text != "-":
        return text
    try:
        if file is not None:
            return file.read_bytes().decode("utf-8-sig")
        if sys.stdin.isatty():
            raise typer.BadParameter("give a text: as an argument, by --file, or on standard input")
        return sys.stdin.buffer.read().decode("utf-8-sig")
    except OSError as problem:
        raise PromptError(f"{file} cannot be read: {problem.strerror or problem}") from problem
    except UnicodeDecodeError as problem:
        raise PromptError(
            f"the text {'on standard input' if file is None else f'in {file}'} is not UTF-8 (byte {problem.start}); "
            "convert it: iconv -t utf-8"
        ) from problem


def _load(
    terminal: Terminal, model: str, codec: str | None, engine: str, device: str | None, library: Path | None
) -> TextToSpeech:
    with terminal.progress("loading the models"):
        from transformers.utils import logging

        from neucodec_tts.speech.text_to_speech import TextToSpeech

        logging.disable_progress_bar()  # this command has its own
        return TextToSpeech.from_pretrained(model, codec=codec, engine=engine, device=device, voices=library)


def _voice(terminal: Terminal, tts: TextToSpeech, voice: str, transcript: str | None) -> SpeakerPrompt | str:
    """A voice of the library, or one made of a recording on the spot."""
    from neucodec_tts.prompts import SpeakerPrompt

    path = Path(voice).expanduser()
    suffix = path.suffix.lower()
    if not suffix or (transcript is None and suffix in _VOICE_FILES):
        if transcript is not None:
            raise PromptError(
                f"the voice {voice!r} of the library has its transcript already; leave out --voice-text"
            )
        return voice
    if suffix in _VOICE_FILES:
        return SpeakerPrompt.load(path, text=transcript)
    if transcript is None:
        beside = path.with_suffix(".txt")
        if not beside.is_file():
            raise PromptError(
                f"what is said in {voice}? give --voice-text, or write it into {beside.name} beside it"
            )
        transcript = beside.read_text(encoding="utf-8-sig")
    with terminal.progress("listening to the voice"):
        return SpeakerPrompt.from_audio(tts.codec, path, transcript)


def _sampling(tts: TextToSpeech, **changes: Any) -> Sampling:
    """The model's defaults with what was given instead."""
    return replace(tts.sampling, **{name: value for name, value in changes.items() if value is not None})


def _with_watermark(wanted: bool | None) -> bool:
    from neucodec_tts.speech.watermark import is_available

    return is_available() if wanted is None else wanted


def _progress(advance: Callable[[int], None]) -> Callable[[Segment], None]:
    """Moves a bar over the characters of the text."""
    done = 0

    def move(segment: Segment) -> None:
        nonlocal done
        advance(segment.end_char - done)
        done = segment.end_char

    return move


Sink = Callable[["Iterable[NDArray[np.float32]]", int, Terminal], float]
"""Takes sound as it comes and its sample rate; returns how many seconds there were."""


def _stdout_sink() -> Sink:
    def write(chunks: Iterable[NDArray[np.float32]], sample_rate: int, terminal: Terminal) -> float:
        terminal.note(
            f"raw samples: signed 16 bit little-endian, mono, {sample_rate} Hz (aplay -f S16_LE -r {sample_rate})"
        )
        samples = 0
        try:
            for chunk in chunks:
                sys.stdout.buffer.write(_pcm16(chunk))
                sys.stdout.buffer.flush()
                samples += chunk.size
        except BrokenPipeError as problem:
            # Python flushes standard output once more at its end, which must not fail, too.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise AudioError("whoever was reading the stream has gone away") from problem
        return samples / sample_rate

    return write


def _loudspeaker_sink() -> Sink:
    try:
        import sounddevice
    except (ImportError, OSError) as problem:  # OSError: it is there, but PortAudio is not
        raise EngineError(
            f"playing needs sounddevice, which does not import here ({problem}): pip install sounddevice; or write to "
            "a file (-o), or pipe --stream into a player"
        ) from problem

    def sound(chunks: Iterable[NDArray[np.float32]], sample_rate: int, terminal: Terminal) -> float:
        samples = 0
        try:
            with sounddevice.OutputStream(samplerate=sample_rate, channels=1, dtype="float32") as device:
                for chunk in chunks:
                    device.write(chunk[:, None])
                    samples += chunk.size
        except sounddevice.PortAudioError as problem:
            raise AudioError(
                f"the loudspeaker cannot be used: {problem}; write to a file instead (-o)"
            ) from problem
        return samples / sample_rate

    return sound


def _pcm16(samples: NDArray[np.float32]) -> bytes:
    import numpy as np

    return (np.clip(samples, -1.0, 1.0) * 32767).round().astype("<i2").tobytes()


def _report(
    terminal: Terminal,
    tts: TextToSpeech,
    output: Path | None,
    seconds: float,
    segments: tuple[Segment, ...],
    seed: int,
    marked: bool,
    watch: Stopwatch,
    to_stdout: bool,
) -> None:
    listed = [
        {name: value for name, value in asdict(segment).items() if name != "codes"}
        | {"speech_tokens": segment.speech_tokens}
        for segment in segments
    ]
    terminal.result(
        {
            "output": output,
            "audio_seconds": seconds,
            "sample_rate": tts.codec.output_sample_rate,
            "seed": seed,
            "watermarked": marked,
            "segments": listed,
            "prompt_tokens": sum(segment.prompt_tokens for segment in segments),
            "speech_tokens": sum(segment.speech_tokens for segment in segments),
            "work_seconds": watch.seconds,
        }
    )
    where = f"to {output}" if output is not None else "as a stream"
    line = (
        f"said {len(segments)} sentence{'s' if len(segments) != 1 else ''} {where}: {seconds:.2f} s of speech "
        f"({real_time(watch.seconds, seconds)}), {'with' if marked else 'without'} a watermark, seed {seed}"
    )
    # Standard output holds the samples then.
    (terminal.note if to_stdout else terminal.say)(line)
