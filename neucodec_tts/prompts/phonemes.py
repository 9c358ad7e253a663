"""Text to phones, as NeuTTS makes them: espeak-ng through phonemizer.

Both are under the GPL-3 and therefore an extra: ``pip install "neucodec-tts[phonemes]"``.
"""

from __future__ import annotations

import difflib
import importlib.util
import logging
import os
import platform
import re
import threading
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from neucodec_tts.errors import PromptError
from neucodec_tts.text import check_text, clean
from neucodec_tts.text.pronunciation import PRONOUNCED, phones_of

logger = logging.getLogger(__name__)

NEUTTS_LANGUAGES = {"en-us": "English", "de": "German", "fr-fr": "French", "es": "Spanish"}
"""espeak's names of the languages that NeuTTS models are published for."""
NEUTTS_ESPEAK_VERSION = "1.52.0.1"
"""The build of espeak-ng inside neutts 1.4.1. Its phones differ from 1.52.0's in about half of English sentences."""

_INSTALL = 'install them with: pip install "neucodec-tts[phonemes]"'
# phonemizer's marks. Its own way of putting them back takes the first mark of a kind that it finds, also one within a
# number: "It is 5.3 km." becomes "five. three km". It takes the square of their number of seconds, too.
_MARKS = re.compile(
    rf"{PRONOUNCED.pattern}"
    r"""|(?:\s*(?:[;:!?¡¿—…"«»“”(){}\[\]]|(?<![0-9])[,.]|[,.](?![0-9]))+\s*)+"""
)
# Marks within these are part of a word: espeak reads them, or knows that they are silent.
_WHOLE = re.compile(
    r"""
    (?:https?|ftp)://\S*[\w/] | \bwww\.\S*[\w/]              # addresses
    | (?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,5}  # bounded: longer ones would take very long
    | (?<![\w.-])[\w-]{1,63}(?:\.[\w-]{1,63}){0,4}\.(?:com|org|net|edu|gov|info|io|ai|app|dev|eu|uk|us|ca|de
        |at|ch|fr|es|it|nl|html?|txt|pdf|md|py|js|json|csv|zip|mp3|wav)(?:/\S*[\w/])?(?!\w)
    | (?<=\d):(?=\d)                                         # 10:30
    | (?<![\w.])(?:z\.B|d\.h|i\.d\.R|e\.g|i\.e|p\.ex)\.(?=\s*\S)
    | (?<![\w.'’-])[^\W\d_](?:\.[^\W\d_])+(?!\w)(?:\.(?=\s*[,;:\d]|\s+[^\W\d_A-ZÀ-ÖØ-Þ]))?  # U.S.A., p.m.
    """,
    re.VERBOSE,
)
_HIDDEN = {ord(mark): 0xE100 + place for place, mark in enumerate(';:,.!?¡¿—…"«»“”(){}[]')}
_SHOWN = {hidden: mark for mark, hidden in _HIDDEN.items()}
# It warns of every text in which espeak joins two words, which is no fault.
_PHONEMIZER_LOGGER = logging.Logger("phonemizer", logging.ERROR)
_warned: set[str] = set()  # versions that the user has been told of


@dataclass(frozen=True)
class EspeakLibrary:
    """An espeak-ng that was found.

    Attributes:
        source: ``"environment"``, ``"neutts"``, ``"espeakng-loader"`` or ``"system"``.
        library: path of the shared library; None leaves it to phonemizer.
        data: path of the folder ``espeak-ng-data``; None leaves it to the library.
    """

    source: str
    library: Path | None = None
    data: Path | None = None


def find_espeak() -> EspeakLibrary:
    """Choose an espeak-ng.

    In this order: the one that the environment variable ``PHONEMIZER_ESPEAK_LIBRARY`` names; the one inside the package
    ``neutts`` if that is installed, which makes exactly NeuTTS' phones (``pip install --no-deps neutts`` is
    enough); the package ``espeakng-loader``; the system's.
    """
    named = os.environ.get("PHONEMIZER_ESPEAK_LIBRARY")
    if named:
        return EspeakLibrary("environment", Path(named), _data_beside(Path(named)))
    neutts = importlib.util.find_spec("neutts")  # finds it without importing it
    for folder in (neutts.submodule_search_locations or []) if neutts else []:
        library = _bundled_library(Path(folder))
        if library is not None:
            return EspeakLibrary("neutts", library, _data_beside(library))
    if importlib.util.find_spec("espeakng_loader"):
        import espeakng_loader

        return EspeakLibrary(
            "espeakng-loader", Path(espeakng_loader.get_library_path()), Path(espeakng_loader.get_data_path())
        )
    return EspeakLibrary("system")


def _bundled_library(folder: Path) -> Path | None:
    pattern = {"Windows": "espeak-ng*.dll", "Darwin": "libespeak-ng*.dylib"}.get(
        platform.system(), "libespeak-ng.so*"
    )
    return next(iter(sorted(folder.glob(pattern))), None)


def _data_beside(library: Path) -> Path | None:
    data = library.parent / "espeak-ng-data"
    return data if data.is_dir() else None


class EspeakMissingError(PromptError):
    """phonemizer or espeak-ng is not installed. The message says how to install them."""


class TextToPhones(ABC):
    """Turns text into phones and remembers them. Safe to use from several threads.

    Args:
        language: of espeak, as in ``"en-us"``.
        cache_size: number of texts whose phones are remembered.
    """

    def __init__(self, language: str, cache_size: int) -> None:
        self.language = language
        self._cache: OrderedDict[str, str] = OrderedDict()
        self._cache_size = cache_size
        self._lock = threading.Lock()  # espeak-ng has one state per library

    def __call__(self, text: str) -> str:
        """Return the phones of one text; an empty string where there is nothing to pronounce.

        Raises:
            PromptError: `text` is not a string, or not valid Unicode.
        """
        check_text(text)
        with self._lock:
            phones = self._cache.get(text)
            if phones is None:
                phones = self._phonemize(clean(text))
                self._cache[text] = phones
                if len(self._cache) > self._cache_size:
                    self._cache.popitem(last=False)
            else:
                self._cache.move_to_end(text)
        return phones

    def batch(self, texts: Iterable[str]) -> list[str]:
        """Return the phones of many texts, each as it would be alone; equal texts are worked on once.

        Raises:
            PromptError: one is not a string, or not valid Unicode.
        """
        # One by one: given a list, phonemizer joins and splits texts without letters in the wrong places.
        known: dict[str, str] = {}
        return [known[text] if text in known else known.setdefault(text, self(text)) for text in texts]

    @abstractmethod
    def _phonemize(self, text: str) -> str:
        """Return the phones of a text that was cleaned."""


class Phonemizer(TextToPhones):
    """Turns text into phones, with the settings of NeuTTS: punctuation kept, stress marked, no language flags.

    White space is folded to single spaces. French loses the hyphens that espeak puts between syllables. Results
    are remembered. Safe to use from several threads.

    Args:
        language: of espeak, as in ``"en-us"``, ``"de"``, ``"fr-fr"``, ``"es"``; see `languages`. Case and
            underscores do not matter.
        cache_size: number of texts whose phones are remembered.

    Raises:
        EspeakMissingError: phonemizer or espeak-ng is not installed.
        PromptError: espeak has no such language; the message says which languages have near names.
    """

    def __init__(self, language: str = "en-us", cache_size: int = 2048) -> None:
        backend = _espeak_backend()
        super().__init__(check_language(language), cache_size)
        self.espeak: EspeakLibrary = find_espeak()
        try:
            self._backend: Any = backend(
                language=self.language,
                punctuation_marks=re.compile("(?!)"),  # none: `_phonemize` takes care of them
                with_stress=True,
                words_mismatch="ignore",
                logger=_PHONEMIZER_LOGGER,
                language_switch="remove-flags",
            )
        except RuntimeError as problem:
            raise PromptError(f"espeak-ng does not start for {self.language!r}: {problem}") from problem

    @property
    def espeak_version(self) -> str:
        """Version of espeak-ng, as in ``"1.52.0"``."""
        return ".".join(str(part) for part in self._backend.version())

    def compare_version(self, trained_with: str | None) -> None:
        """Warn, once, if a model was trained with phones of another espeak-ng than this one."""
        if trained_with is None or trained_with == self.espeak_version or trained_with in _warned:
            return
        _warned.add(trained_with)
        mend = (
            "pip install --no-deps neutts brings that version, and it is used when it is there"
            if trained_with == NEUTTS_ESPEAK_VERSION
            else "PHONEMIZER_ESPEAK_LIBRARY=/path/to/libespeak-ng.so chooses another"
        )
        logger.warning(
            "phones come from espeak-ng %s (%s), and the model was trained with those of %s, which differ a little; %s",
            self.espeak_version,
            self.espeak.source,
            trained_with,
            mend,
        )

    def _phonemize(self, text: str) -> str:
        text = _WHOLE.sub(lambda found: found[0].translate(_HIDDEN), text)
        between: list[str] = []  # marks and given phones, one more than `words`
        words: list[str] = []
        end = 0
        for mark in _MARKS.finditer(text):
            words.append(text[end : mark.start()].translate(_SHOWN))
            between.append(phones_of(mark) if mark[1] is not None else mark[0])
            end = mark.end()
        words.append(text[end:].translate(_SHOWN))
        spoken = iter(self._backend.phonemize([part for part in words if part.strip()]))
        read = [part if not part.strip() else self._spaced(next(spoken), part[0], part[-1]) for part in words]
        phones = " ".join("".join(a + b for a, b in zip_longest(read, between, fillvalue="")).split())
        # As FrenchPhonemizer of neutts 1.4.1.
        return phones.replace("-", "") if self.language == "fr-fr" else phones

    @staticmethod
    def _spaced(phones: str, first: str, last: str) -> str:
        """Return phones with white space at the ends where the text has it; espeak leaves one space at the end."""
        phones = phones.removesuffix(" ") if not last.isspace() else phones
        return f" {phones}" if first.isspace() else phones


def languages() -> Mapping[str, str]:
    """Return the languages of espeak-ng: code, as in ``"en-us"``, to English name.

    Raises:
        PromptError: phonemizer or espeak-ng is not installed.
    """
    listed: Mapping[str, str] = _espeak_backend().supported_languages()
    return listed


def check_language(language: str) -> str:
    """Return espeak's own spelling of a language.

    Raises:
        PromptError: espeak has no such language; the message lists those with near names.
    """
    known = languages()
    spelled = str(language).strip().lower().replace("_", "-")
    if spelled in known:
        return spelled
    near = _near_languages(spelled, known)
    hint = (
        f"did you mean {', '.join(f'{code} ({known[code]})' for code in near)}?"
        if near
        else f"it knows {len(known)} languages, as in {', '.join(NEUTTS_LANGUAGES)}"
    )
    raise PromptError(f"espeak-ng knows no language {language!r}; {hint}")


def nearest_language(language: str) -> str:
    """Return espeak's name for a language of BCP 47, as in ``"fr-fr"`` for ``"fr"`` or ``"fr-CA"``.

    Raises:
        PromptError: espeak has none that begins like it.
    """
    known = languages()
    spelled = language.strip().lower().replace("_", "-")
    stem = spelled.split("-")[0]
    candidates = [code for code in _near_languages(stem, known) if code.split("-")[0] == stem]
    return spelled if spelled in known or not candidates else candidates[0]


def _near_languages(wanted: str, known: Mapping[str, str], most: int = 6) -> list[str]:
    """Return languages whose code begins alike, or whose code or name is spelled alike."""
    stem = wanted.split("-")[0]
    near = [code for code in known if stem and code.split("-")[0] == stem]
    if len(stem) > 3:
        near += [code for code, name in known.items() if name.lower().startswith(stem)]
        names = {name.lower().split(" (")[0]: code for code, name in known.items()}
        near += [names[name] for name in difflib.get_close_matches(stem, names, n=3, cutoff=0.75)]
    elif not near:
        near += difflib.get_close_matches(wanted, known, n=3, cutoff=0.6)
    # The ones most people mean: those of NeuTTS, then those without a region of a region.
    plainest = sorted(
        dict.fromkeys(near), key=lambda code: (code not in NEUTTS_LANGUAGES, code.count("-") > 1)
    )
    return plainest[:most]


def _espeak_backend() -> Any:
    """Import phonemizer and point it to an espeak-ng."""
    try:
        from phonemizer.backend import EspeakBackend
        from phonemizer.backend.espeak.wrapper import EspeakWrapper
    except ImportError as problem:
        raise EspeakMissingError(
            f"this prompt format reads phones, and phonemizer and espeak-ng are not installed ({problem.name}); "
            f"{_INSTALL}"
        ) from problem
    espeak = find_espeak()
    if espeak.library is not None and not espeak.library.is_file():
        raise PromptError(f"there is no espeak-ng library {espeak.library} (found through {espeak.source})")
    # phonemizer copies the library, and would copy a link as a link.
    EspeakWrapper.set_library(str(espeak.library.resolve()) if espeak.library else None)
    EspeakWrapper.set_data_path(str(espeak.data) if espeak.data else None)
    if not EspeakBackend.is_available():
        raise EspeakMissingError(f"phonemizer finds no espeak-ng; {_INSTALL}")
    return EspeakBackend
