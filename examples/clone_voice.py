"""Say a text in the voice of a recording.

    python examples/clone_voice.py dave.wav "What Dave says there, word for word." "Good morning." \
        --model neuphonic/neutts-air --output morning.wav

The recording: 3 to 15 s of one person speaking, without music or noise. What could be better about it is said. The
voice is kept beside the output as a small file (morning.voice.safetensors), which speaks again without the recording.

Imitate only voices whose owners allow it. With resemble-perth installed the output is marked as synthetic.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from neucodec_tts import NeuCodecError, SpeakerPrompt, TextToSpeech


def main(arguments: Sequence[str] | None = None) -> int:
    """Clone a voice; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recording", type=Path, help="of one person speaking")
    parser.add_argument("transcript", help="what is said in it, word for word")
    parser.add_argument("text", help="what to say, of any length")
    parser.add_argument(
        "--model", default="tiny", help="hub id or folder of a language model that speaks; tiny by default"
    )
    parser.add_argument("--output", type=Path, default=Path("cloned.wav"), help="a .wav or .flac file")
    parser.add_argument("--seed", type=int, help="for speaking in the same way again")
    parser.add_argument("--device", help="cpu, cuda, cuda:1 ...; a GPU if there is one by default")
    options = parser.parse_args(arguments)
    try:
        tts = TextToSpeech.from_pretrained(options.model, device=options.device)

        # The voice: the recording as codes, and what is said in it.
        voice = SpeakerPrompt.from_audio(tts.codec, options.recording, options.transcript)
        for advice in voice.advice:
            print(f"could be better: {advice.message}")
        kept = options.output.with_suffix(".voice.safetensors")
        voice.save(kept)
        print(f"voice: {voice.duration:.1f} s, {len(voice)} codes, kept in {kept}")

        # The speech: sentence by sentence in that voice, joined with pauses.
        result = tts.speak(options.text, voice, seed=options.seed)
        result.save(options.output)
    except NeuCodecError as problem:
        print(f"error: {problem}")
        return 1
    for segment in result.segments:
        ending = (
            "" if segment.finish_reason == "stop" else f"  (did not end by itself: {segment.finish_reason})"
        )
        print(f"{segment.start:6.2f} to {segment.end:6.2f} s  {segment.text}{ending}")
    marked = "with" if result.watermarked else "without"
    print(f"{options.output}: {result.duration:.2f} s, {marked} a watermark, seed {result.seed}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
