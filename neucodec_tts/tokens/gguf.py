"""GGUF files, which llama.cpp runs: their metadata, and the tokenizer that it describes."""

from __future__ import annotations

import mmap
import os
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from neucodec_tts.errors import CheckpointError

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

SPEECH_CONFIG = "neucodec.speech_config"
"""Key of the metadata that holds the model's ``speech_config.json``."""
TOKENIZER_JSON = "tokenizer.huggingface.json"
"""Key of the metadata that holds ``tokenizer.json``, as the specification of GGUF names it."""
ALIGNMENT = "general.alignment"
"""Key of the metadata: the weights of each tensor begin at a multiple of so many bytes, 32 by default."""
CONTROL, USER_DEFINED = 3, 4
"""Types of tokens that stand for themselves wherever their name stands in a text."""

# Codes of the format's types: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_MOST_DIMENSIONS = 4

# How a text is cut before byte pairs are merged, by `tokenizer.ggml.pre`; from llama.cpp's src/llama-vocab.cpp.
_QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_LLAMA3 = _QWEN2.replace(r"|\p{N}|", r"|\p{N}{1,3}|")
CUTS: dict[str, str | None] = {  # None is GPT-2's own way, after single digits for smollm
    "qwen2": _QWEN2,
    "deepseek-r1-qwen": _QWEN2,
    "llama-bpe": _LLAMA3,
    "llama3": _LLAMA3,
    "llama-v3": _LLAMA3,
    "smollm": None,
    "gpt-2": None,
}


class Stored(NamedTuple):
    """A tensor in a file.

    Attributes:
        shape: the fastest dimension first.
        kind: number of its format, as ``gguf.GGMLQuantizationType`` has it.
        start: its first byte in the file.
    """

    shape: tuple[int, ...]
    kind: int
    start: int


@dataclass(frozen=True)
class GGUFFile:
    """The head of a GGUF file.

    Attributes:
        path: of the file.
        metadata: values by key: numbers, strings and lists of them.
        tensors: by name, in the order of the file.
        entries: first byte and end of each entry of the metadata in the file, by key.
    """

    path: Path
    metadata: dict[str, Any]
    tensors: dict[str, Stored]
    entries: dict[str, tuple[int, int]]

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> GGUFFile:
        """Read the head; the weights are not touched.

        Raises:
            CheckpointError: the file is missing, is none of GGUF, or ends too early.
        """
        path = Path(path)
        try:
            with path.open("rb") as file:
                if file.read(4) != b"GGUF":
                    raise CheckpointError(f"{path} is not a GGUF file: it does not begin with 'GGUF'")
                with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                    return cls(path, *_Head(data).read())
        except OSError as error:
            raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from error
        except (struct.error, IndexError) as error:
            raise CheckpointError(f"{path} ends too early; download it again") from error
        except (KeyError, UnicodeDecodeError, OverflowError, MemoryError) as error:
            raise CheckpointError(f"{path} is damaged ({error!r}); download it again") from error

    @property
    def tokens(self) -> list[str]:
        """Names of all tokens, in the order of their ids.

        Raises:
            CheckpointError: the file has none.
        """
        names = self.metadata.get("tokenizer.ggml.tokens")
        if not isinstance(names, list) or not names:
            raise CheckpointError(f"{self.path} holds no tokenizer (tokenizer.ggml.tokens)")
        return names

    def tokenizer(self, code_pattern: str) -> PreTrainedTokenizerFast:
        """Build the tokenizer: from its ``tokenizer.json`` where the file holds that, else from llama.cpp's tables.

        Args:
            code_pattern: name of a code's token. Codes become ordinary tokens, which are not found in text; a
                prompt has them by id.

        Raises:
            CheckpointError: the file has no tokenizer, or one that is not known here.
        """
        from tokenizers import Tokenizer
        from transformers import PreTrainedTokenizerFast

        stored = self.metadata.get(TOKENIZER_JSON)
        try:
            backend = Tokenizer.from_str(stored) if stored else self._byte_pairs(code_pattern)
        except Exception as error:  # tokenizers raises nothing more precise
            if isinstance(error, CheckpointError):
                raise
            raise CheckpointError(f"the tokenizer in {self.path} is damaged: {error}") from error
        names = self.tokens
        special = {
            f"{kind}_token": names[id]
            for kind, key in (("bos", "bos"), ("eos", "eos"), ("unk", "unknown"), ("pad", "padding"))
            if 0 <= (id := self.metadata.get(f"tokenizer.ggml.{key}_token_id", -1)) < len(names)
        }
        template = self.metadata.get("tokenizer.chat_template")
        return PreTrainedTokenizerFast(tokenizer_object=backend, chat_template=template, **special)

    def _byte_pairs(self, code_pattern: str) -> Tokenizer:
        """A tokenizer of GPT-2's kind, as Qwen and Llama 3 have it."""
        from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
        from tokenizers.processors import TemplateProcessing

        kind = self.metadata.get("tokenizer.ggml.model")
        cut = self.metadata.get("tokenizer.ggml.pre", "gpt-2")
        if kind != "gpt2" or cut not in CUTS:
            raise CheckpointError(
                f"the tokenizer in {self.path} ({kind}, {cut}) is not known here; put the model's tokenizer.json "
                "beside the file"
            )
        names, pattern = self.tokens, CUTS[cut]
        merges = [tuple(pair.split(" ", 1)) for pair in self.metadata.get("tokenizer.ggml.merges", [])]
        tokenizer = Tokenizer(
            models.BPE({name: id for id, name in enumerate(names)}, merges, ignore_merges=pattern == _LLAMA3)
        )
        by_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=pattern is None)
        steps: list[pre_tokenizers.PreTokenizer] = [by_bytes]
        if cut == "smollm":
            steps.insert(0, pre_tokenizers.Digits(individual_digits=True))
        if pattern is not None:
            steps.insert(0, pre_tokenizers.Split(Regex(pattern), "isolated"))
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
        if pattern == _QWEN2:
            tokenizer.normalizer = normalizers.NFC()
        tokenizer.decoder = decoders.ByteLevel()
        is_code = re.compile(re.escape(code_pattern).replace(r"\{\}", r"\d+")).fullmatch
        kinds = self.metadata.get("tokenizer.ggml.token_type", [])
        tokenizer.add_tokens(
            [
                AddedToken(name, normalized=False, special=kind == CONTROL)
                for name, kind in zip(names, kinds, strict=False)
                if kind in (CONTROL, USER_DEFINED) and not is_code(name)
            ]
        )
        begin = self.metadata.get("tokenizer.ggml.bos_token_id")
        if self.metadata.get("tokenizer.ggml.add_bos_token") and begin is not None:
            tokenizer.post_processor = TemplateProcessing(
                single=f"{names[begin]} $A", special_tokens=[(names[begin], begin)]
            )
        return tokenizer


class _Head:
    """Reads the head of a file from its beginning."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data = data
        self._at = 4  # behind the magic

    def read(self) -> tuple[dict[str, Any], dict[str, Stored], dict[str, tuple[int, int]]]:
        version = self._number("I")
        if version not in (2, 3):
            raise KeyError(f"version {version}")
        tensors, entries = self._number("Q"), self._number("Q")
        metadata, spans = {}, {}
        for _ in range(entries):
            start, key = self._at, self._string()
            metadata[key] = self._value(self._number("I"))
            spans[key] = start, self._at
        found = {}
        for _ in range(tensors):
            name, dimensions = self._string(), self._number("I")
            if dimensions > _MOST_DIMENSIONS:
                raise KeyError(f"{dimensions} dimensions")
            shape = tuple(self._number("Q") for _ in range(dimensions))
            found[name] = Stored(shape, self._number("I"), self._number("Q"))
        alignment = metadata.get(ALIGNMENT, 32)
        first = -(-self._at // alignment) * alignment  # of all weights
        return (
            metadata,
            {name: each._replace(start=first + each.start) for name, each in found.items()},
            spans,
        )

    def _number(self, code: str) -> Any:
        (value,) = struct.unpack_from("<" + code, self._data, self._at)
        self._at += struct.calcsize("<" + code)
        return value

    def _string(self) -> str:
        length = self._number("Q")
        raw = self._data[self._at : self._at + length]
        if len(raw) < length:
            raise IndexError(length)
        self._at += length
        return raw.decode("utf-8")

    def _value(self, kind: int) -> Any:
        if kind == _STRING:
            return self._string()
        if kind != _ARRAY:
            return self._number(_NUMBERS[kind])
        kind, count = self._number("I"), self._number("Q")
        if kind in _NUMBERS:
            values = struct.unpack_from(f"<{count}{_NUMBERS[kind]}", self._data, self._at)
            self._at += struct.calcsize(f"<{count}{_NUMBERS[kind]}")
            return list(values)
        return [self._value(kind) for _ in range(count)]
