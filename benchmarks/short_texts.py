"""Speak fifty short texts in each of a model's voices: is any of it silent, too short, or a ramble?

python benchmarks/short_texts.py
python benchmarks/short_texts.py --model neuphonic/neutts-air --voice dave
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from statistics import median

from neucodec_tts import NeuCodecError, TextToSpeech
from neucodec_tts.speech.settling import is_silent

WORDS = (
    *(
        "no",
        "yes",
        "a",
        "I",
        "go",
        "stop",
        "why",
        "hello",
        "thanks",
        "maybe",
        "never",
        "please",
        "water",
        "seven",
        "OK",
    ),
    *(
        "good morning",
        "not now",
        "of course",
        "come here",
        "thank you",
        "see you",
        "too late",
        "who knows",
        "it rained",
    ),
    *(
        "how are you",
        "not at all",
        "I said no",
        "over and out",
        "as you wish",
        "they are gone",
        "what is this",
    ),
)
MARKED = ("No.", "Yes!", "Why?", "Stop!", "Hello.", "Go on.", "Good night.", "Really?", "Not today.", "Of course!",
          "Who is it?", "Come in.", "I see.", "Well done!", "Sit down.", "It is me.", "Here they come.", "So what?",
          "Do it now!")  # fmt: skip
SHORTEST = 0.15  # s


def main(arguments: Sequence[str] | None = None) -> None:
    """Print one line a voice, and each text that went wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="tiny", help="hub id or folder of a language model that speaks")
    parser.add_argument("--voice", action="append", help="a voice; all of the model's own by default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--texts", type=int, help="speak only so many of them")
    options = parser.parse_args(arguments)
    tts = TextToSpeech.from_pretrained(options.model, watermark=False)
    own = tts.model_voices.names() if tts.model_voices is not None else []
    texts = [*WORDS, *MARKED][: options.texts]
    print(f"{len(texts)} texts, seed {options.seed}, {options.model}")
    for voice in options.voice or own or [None]:
        lengths: dict[str, float] = {}
        wrong: list[str] = []
        again = 0
        for text in texts:
            try:
                spoken = tts.speak(text, voice, seed=options.seed)
            except NeuCodecError as error:
                wrong.append(f"{text!r}: {error}")
                continue
            lengths[text] = spoken.duration
            again += any(segment.attempts > 1 for segment in spoken.segments)
            hop = tts.codec.output_hop_length
            if is_silent(spoken.samples, hop):
                wrong.append(f"{text!r}: silent, {spoken.duration:.2f} s")
            elif spoken.duration < SHORTEST:
                wrong.append(f"{text!r}: {spoken.duration:.2f} s")
        middle = median(lengths.values())
        wrong += [f"{text!r}: {each:.2f} s" for text, each in lengths.items() if each > 3 * middle]
        print(
            f"{voice or 'no voice'}: median {middle:.2f} s, {min(lengths.values()):.2f} to "
            f"{max(lengths.values()):.2f} s, {again} spoken again, {len(wrong)} wrong"
        )
        for line in wrong:
            print(f"  {line}")


if __name__ == "__main__":
    logging.getLogger("neucodec_tts").setLevel(logging.ERROR)
    main()
