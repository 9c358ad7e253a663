"""``neucodec-tts demo``: a text in the voices that come with the package, and a recording through the codec."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from neucodec_tts.cli.environment import speak_in_one_thread_if_small
from neucodec_tts.cli.options import DeviceOption
from neucodec_tts.cli.roundtrip import run_roundtrip
from neucodec_tts.cli.sinks import loudspeaker_sink, play_speech
from neucodec_tts.cli.terminal import Stopwatch, Terminal, command, real_time
from neucodec_tts.errors import NeuCodecError

if TYPE_CHECKING:
    import numpy as np

    from neucodec_tts import NeuCodec
    from neucodec_tts.speech import Segment, SpeechResult, TextToSpeech
    from neucodec_tts.voices import SpeakerPrompt

TEXT = "The first words it says are mine."
SEED = 0


@command
def demo(
    terminal: Terminal,
    text: Annotated[
        str, typer.Argument(metavar="TEXT", help="The text: a sentence or two of English.")
    ] = TEXT,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="FOLDER", help="The folder for the files; made if need be."),
    ] = Path("outputs/demo"),
    play: Annotated[
        bool | None,
        typer.Option(
            "--play/--no-play",
            help="Play the speech. The default is to, at a terminal, where sounddevice is installed.",
            show_default=False,
        ),
    ] = None,
    device: DeviceOption = None,
) -> None:
    """Hear the built-in model, without a network.

    It says a text in four voices, and sends a recording of human speech through the codec.
    """
    from neucodec_tts.text import check_text, speakable

    text = speakable(check_text(text))
    if play:
        loudspeaker_sink()  # what is missing is said before the work
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise NeuCodecError(
            f"cannot make the folder {output}: {problem.strerror}; name another with -o"
        ) from problem
    with terminal.progress("loading the models"):
        from transformers.utils import logging

        from neucodec_tts.speech import TextToSpeech

        logging.disable_progress_bar()  # this command has its own
        tts = TextToSpeech.from_pretrained("tiny", device=device)
        tts.watermarker()  # its packages take seconds to import
    speak_in_one_thread_if_small(tts)
    _say_whence(terminal)
    terminal.say(f'\n"{text}"')
    assert tts.model_voices is not None
    spoken = {
        name: _speak(terminal, tts, text, tts.model_voices.load(name), name, output / f"{name}.wav")
        for name in tts.model_voices.names()
    }
    picture = _draw(terminal, tts, text, spoken, output / "voices.png")
    terminal.say("")
    codec_result = _roundtrip(terminal, tts, output)
    terminal.result(
        {
            "text": text,
            "device": tts.codec.device,
            "voices": {voice: each.summary() for voice, each in spoken.items()},
            "picture": picture,
            "roundtrip": codec_result,
        }
    )
    if play or (play is None and sys.stdout.isatty()):
        play_speech(terminal, [each.speech for each in spoken.values()], required=bool(play))
    for line in (
        "",
        f"Listen to {', '.join(str(each.path) for each in spoken.values())}"
        + (f"; look at {picture}." if picture else "."),
        "",
        "Next:",
        f'  neucodec-tts say "Say what you like." --voice {next(iter(spoken))} -o said.wav',
        '  neucodec-tts say "In my voice." --voice YOUR.wav --voice-text "What is said there." -o mine.wav',
        '  neucodec-tts say "As it should sound." --model neuphonic/neutts-air --voice YOUR.wav '
        '--voice-text "..." -o real.wav',
    ):
        terminal.say(line)


@dataclass(frozen=True)
class Spoken:
    """The text in one voice."""

    path: Path
    speech: SpeechResult
    work: float

    def summary(self) -> dict[str, object]:
        """The values for ``--json``."""
        return {
            "output": self.path,
            "audio_seconds": self.speech.duration,
            "work_seconds": self.work,
            "finish_reasons": [segment.finish_reason for segment in self.speech.segments],
        }


def _say_whence(terminal: Terminal) -> None:
    for line in (
        "Where the parts come from; the READMEs in neucodec_tts/checkpoints and neucodec_tts/assets say all of it:",
        "  codec           tiny: NeuCodec's architecture, small, trained by examples/train_codec; not Neuphonic's",
        "  language model  tiny-voice: a small Llama, trained on synthetic speech by the same recipe",
        "  voices          hibari's and Kokoro's (Apache-2.0): sentences that were not in the training",
        "  recording       Allison Smith for Asterisk, CC BY-SA 3.0",
    ):
        terminal.say(line)


def _speak(
    terminal: Terminal, tts: TextToSpeech, text: str, voice: SpeakerPrompt, name: str, path: Path
) -> Spoken:
    watch = Stopwatch()
    with watch, terminal.progress(f"speaking as {name}"):
        speech = tts.speak(text, voice, seed=SEED)
    speech.save(path)
    speed = real_time(watch.seconds, speech.duration, tts.codec.device)
    terminal.say(f"  {name:<7} {path}: {speech.duration:.2f} s ({speed})")
    return Spoken(path, speech, watch.seconds)


def _draw(
    terminal: Terminal, tts: TextToSpeech, text: str, spoken: dict[str, Spoken], path: Path
) -> Path | None:
    from neucodec_tts.metrics.plot import plot_voices
    from neucodec_tts.metrics.scores import ScoreError

    codec = tts.codec
    drawn = {
        voice: (each.speech.samples, _digits(codec, each.speech.segments)) for voice, each in spoken.items()
    }
    levels = max(codec.config.quantization_levels)
    shown = text if len(text) <= 80 else f"{text[:79]}…"
    try:
        with terminal.progress("drawing"):
            plot_voices(
                path,
                drawn,
                codec.output_sample_rate,
                levels,
                codec.frame_rate,
                title=f"“{shown}”",
                subtitle=f"said by tiny in the voices {', '.join(spoken)}: what is heard, and the codes it is made of",
            )
    except ScoreError as missing:
        terminal.note(f"no picture: {missing}")
        return None
    return path


def _digits(codec: NeuCodec, segments: tuple[Segment, ...]) -> np.ndarray:
    """The codes of all sentences as digits, floats (frames, D), where they sound; NaN in the pauses."""
    import numpy as np
    import torch

    frames = round(segments[-1].end * codec.frame_rate)
    digits = np.full((frames, len(codec.config.quantization_levels)), np.nan)
    for segment in segments:
        start = round(segment.start * codec.frame_rate)
        found = codec.quantizer.digits(torch.from_numpy(segment.codes).to(codec.device)).cpu().numpy()
        digits[start : start + len(found)] = found[: frames - start]
    return digits


def _roundtrip(terminal: Terminal, tts: TextToSpeech, output: Path) -> dict[str, object]:
    original = output / "original.flac"
    with as_file(files("neucodec_tts") / "assets" / "demo.flac") as shipped:
        shutil.copyfile(shipped, original)
    return run_roundtrip(
        terminal, tts.codec, original, output / "reconstruction.wav", codes_file=output / "codes.safetensors"
    )
