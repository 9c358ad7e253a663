"""Hear a text while it is still being generated, and see whether the sound would ever run dry.

    python examples/stream_speech.py "A text of any length." --model neuphonic/neutts-air --voice dave.safetensors
    python examples/stream_speech.py - < book.txt --model neuphonic/neutts-air --play

The samples go into a WAV file as they come, and with --play to the loudspeaker, too (pip install sounddevice). A thread
generates ahead of what is heard: the next sentence is made while you listen to the one before.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import soundfile

from neucodec_tts import NeuCodecError, TextToSpeech


def main(arguments: Sequence[str] | None = None) -> int:
    """Stream a text; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("text", help="what to say; - reads it from standard input")
    parser.add_argument(
        "--model", default="tiny", help="hub id or folder of a language model that speaks; tiny by default"
    )
    parser.add_argument("--voice", help="a name in your library of voices, or a voice's file")
    parser.add_argument("--output", type=Path, default=Path("streamed.wav"), help="a .wav file")
    parser.add_argument("--play", action="store_true", help="to the loudspeaker, too")
    parser.add_argument("--seed", type=int, help="for speaking in the same way again")
    parser.add_argument("--device", help="cpu, cuda, cuda:1 ...; a GPU if there is one by default")
    options = parser.parse_args(arguments)
    text = sys.stdin.read() if options.text == "-" else options.text
    try:
        tts = TextToSpeech.from_pretrained(options.model, device=options.device)
        start = time.monotonic()
        with tts.stream(text, options.voice, seed=options.seed) as speech, ExitStack() as sinks:
            writes = [wav_file(sinks, options.output, speech.sample_rate)]
            if options.play:
                writes.append(loudspeaker(sinks, speech.sample_rate))
            heard, first, waited = 0.0, 0.0, 0.0
            for number, samples in enumerate(speech):
                late = time.monotonic() - start - first - heard  # after the end of what was heard before
                if number == 0:
                    first = time.monotonic() - start
                    print(f"first sound after {first:.2f} s")
                elif late > 0 and not options.play:  # a loudspeaker takes its time by itself
                    waited += late
                    start += late  # a listener hears a gap, and goes on
                for write in writes:
                    write(samples)
                heard += samples.size / speech.sample_rate
    except NeuCodecError as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 1
    for segment in speech.segments:
        print(f"{segment.start:6.2f} to {segment.end:6.2f} s  {segment.text}")
    pace = "never ran dry" if waited == 0 else f"a listener would have waited {waited:.2f} s in between"
    print(f"{options.output}: {heard:.2f} s, {pace}, seed {speech.seed}")
    return 0


def wav_file(sinks: ExitStack, path: Path, sample_rate: int) -> Callable[[Any], None]:
    """A file that grows while it is spoken."""
    return sinks.enter_context(soundfile.SoundFile(path, "w", sample_rate, 1)).write


def loudspeaker(sinks: ExitStack, sample_rate: int) -> Callable[[Any], None]:
    """The default loudspeaker."""
    import sounddevice

    device = sinks.enter_context(sounddevice.OutputStream(sample_rate, channels=1, dtype="float32"))
    return lambda samples: device.write(samples[:, None])


if __name__ == "__main__":
    raise SystemExit(main())
