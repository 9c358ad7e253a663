"""Time codes to token ids and back beside names of tokens, and the loading of both layouts."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from timeit import timeit
from typing import TYPE_CHECKING, Annotated, Any

import typer

from neucodec_tts.cli.environment import set_threads
from neucodec_tts.cli.terminal import Terminal, command
from neucodec_tts.errors import VocabularyError
from random_models import QWEN_TOKENS, synthetic_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from neucodec_tts.tokens.vocabulary import SpeechVocabulary


@dataclass(frozen=True)
class TokenTimes:
    """Seconds for the same work done in two ways, the best of several turns each.

    Attributes:
        codes: number of codes.
        to_ids: a tensor of codes to a tensor of ids with `SpeechVocabulary.to_ids`.
        strings_to_ids: a tensor of codes to a list of ids by joining the names of the codes and tokenizing them, as
            NeuTTS does.
        to_codes: a tensor of ids to a tensor of codes with `SpeechVocabulary.to_codes`.
        strings_to_codes: the same by decoding the ids and searching the text for numbers, as NeuTTS does.
    """

    codes: int
    to_ids: float
    strings_to_ids: float
    to_codes: float
    strings_to_codes: float


def compare_with_strings(
    tokenizer: PreTrainedTokenizerBase, vocabulary: SpeechVocabulary, codes: Sequence[int], repeats: int = 15
) -> TokenTimes:
    """Time both ways on the same codes, in turns.

    The other way follows `NeuTTS._apply_chat_template` and `NeuTTS._decode` of neutts 1.4.1, codes in a tensor
    as its reference files hold them.

    Args:
        tokenizer: in the layout ``"added"``.
        vocabulary: of `tokenizer`.
        codes: what to turn into ids and back; a voice of 13 s has 650.
        repeats: how often each way is timed.

    Raises:
        VocabularyError: the two ways give different results, as with the layout ``"vocab"``.
    """
    import torch

    pattern, number = vocabulary.pattern, re.compile(re.escape(vocabulary.pattern).replace(r"\{\}", r"(\d+)"))
    tensor = torch.tensor(codes)

    def strings_to_ids() -> list[int]:
        return tokenizer.encode("".join([pattern.format(code) for code in tensor]), add_special_tokens=False)

    def strings_to_codes() -> torch.Tensor:
        return torch.tensor([int(digits) for digits in number.findall(str(tokenizer.decode(ids.tolist())))])

    ids = vocabulary.to_ids(tensor)
    if strings_to_ids() != ids.tolist() or not torch.equal(strings_to_codes(), tensor):
        raise VocabularyError(
            "this tokenizer does not read the names of codes in text (layout 'vocab'), so there is nothing to "
            "compare with; save it in the layout 'added'"
        )
    ways: list[Callable[[], object]] = [
        lambda: vocabulary.to_ids(tensor),
        strings_to_ids,
        lambda: vocabulary.to_codes(ids),
        strings_to_codes,
    ]
    loops = [50, 1, 50, 1]  # microseconds are timed many at a time
    seconds = [
        [timeit(way, number=n) / n for way, n in zip(ways, loops, strict=True)] for _ in range(repeats)
    ]
    return TokenTimes(len(codes), *(min(column) for column in zip(*seconds, strict=True)))


@dataclass(frozen=True)
class LoadingTimes:
    """Seconds that ``AutoTokenizer.from_pretrained`` takes, the best of several turns each.

    Attributes:
        without_codes: the tokenizer before it was extended.
        added: extended, every code an added token.
        vocab: extended, codes in the base vocabulary.
    """

    without_codes: float
    added: float
    vocab: float


def time_loading(tokens: int = QWEN_TOKENS, repeats: int = 3) -> LoadingTimes:
    """Time both layouts of 65,536 codes on top of a tokenizer with so many tokens of text, in turns.

    Args:
        tokens: of text.
        repeats: how often each is loaded.
    """
    from transformers import AutoTokenizer

    from neucodec_tts.tokens.vocabulary import SpeechVocabulary

    tokenizer = synthetic_tokenizer(tokens)
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(f"{folder}/without")
        vocabulary = SpeechVocabulary.extend(tokenizer)
        vocabulary.save_tokenizer(tokenizer, f"{folder}/added", "added")
        vocabulary.save_tokenizer(tokenizer, f"{folder}/vocab", "vocab")

        def load(name: str) -> Any:
            return AutoTokenizer.from_pretrained(f"{folder}/{name}")

        seconds = [
            [timeit(lambda name=name: load(name), number=1) for name in ("without", "added", "vocab")]  # type: ignore[misc]
            for _ in range(repeats)
        ]
    return LoadingTimes(*(min(column) for column in zip(*seconds, strict=True)))


@command
def main(
    terminal: Terminal,
    codes: Annotated[
        int, typer.Option(min=1, help="How many are turned into ids and back; 650 are 13 s.")
    ] = 650,
    text_tokens: Annotated[
        int, typer.Option(min=256, help="Tokens of text in the tokenizer; the default is NeuTTS Air's.")
    ] = QWEN_TOKENS,
    repeats: Annotated[int, typer.Option(min=1, help="Timed runs of each.")] = 15,
) -> None:
    """Time codes to token ids and back, beside names of tokens as NeuTTS uses them, and both layouts' loading."""
    with terminal.progress("timing tokens"):
        import numpy as np

        from neucodec_tts.tokens import SpeechVocabulary

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


if __name__ == "__main__":
    set_threads()
    typer.run(main)
