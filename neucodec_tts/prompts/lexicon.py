"""English text to phones without espeak-ng, for models that were trained with espeak's.

The words are looked up and guessed by the front end inside the package ``hibari-tts`` (Apache-2.0), a port of misaki:
lexicons, a tagger for words such as "read", numbers, dates and money, and a small network for unknown words. It writes
misaki's phones; `espeak_phones` spells them as espeak-ng does for ``en-us``.
"""

from __future__ import annotations

import re
import threading
from itertools import groupby
from typing import Any
from unicodedata import digit, normalize

from neucodec_tts.errors import PromptError
from neucodec_tts.prompts.phonemes import TextToPhones
from neucodec_tts.text.pronunciation import PRONOUNCED, phones_of

LANGUAGE = "en-us"

_VOWELS = "aeiouæɑɐɔəɚɛɜɪʊʌᵻ"
# misaki writes diphthongs and affricates as one letter each (its EN_PHONES.md), the tap as T.
_LETTERS = str.maketrans(
    {"A": "eɪ", "I": "aɪ", "O": "oʊ", "W": "aʊ", "Y": "ɔɪ", "ʤ": "dʒ", "ʧ": "tʃ", "T": "ɾ", "ᵊ": "ə"}
    | {"“": "", "”": "", '"': "", "ɑ": "ɑː", "u": "uː"}
)
_SPELLINGS = (  # in this order; espeak's vowels are long before r, and where they bear the stress
    (re.compile(rf"əɹ(?![ˈˌ{_VOWELS}])"), "ɚ"),
    (re.compile("əɹ"), "ɚɹ"),
    (re.compile(rf"ɜɹ(?=[ˈˌ]?[{_VOWELS}])"), "ɜːɹ"),
    (re.compile("ɜɹ"), "ɜː"),
    (re.compile(r"\bði(?= )"), "ðɪ"),
    (re.compile("i(?!ə)"), "iː"),
    (re.compile("ɔ(?=[ɹlztdkɾ])"), "ɔː"),
)
# The last syllable of "happy", "carried", "stories".
_SHORT_END = re.compile(rf"(?<=[{_VOWELS}ː])([^ˈˌ\s{_VOWELS}]*)iː(?=[zd]?\b)")
# Words that espeak leaves without stress, where misaki writes the secondary one.
_WEAK = re.compile(
    "ænd|ænt|ɪt|ɪts|ɪn|ɪnt|ɪz|ɪf|aɪ|aɪd|aɪl|juː|hiː|wiː|ʃiː|ðeɪ|ðɛm|ðɪs|ðiːz|ðæn|ʌs|maɪ|fɔːɹ|fɹʌm|wɪð|wʌz|hæz|hæd|tʊ|æt|æz"
)
_WORD = re.compile(r"[\wˈˌː̩]+")
_ENDS = frozenset(".!?")
# The front end reads numbers below 10^36, and takes time that grows with the square of a word's parts.
_NUMBER = re.compile(r"\d{25,}")
_LONG = re.compile(r"\S{60,}")
_PIECE = re.compile(r"\S{1,40}")
_FRACTION = re.compile(r"(?:(\d) ?)?([¼½¾⅐-⅞])(?=(\w?))")
_AMOUNT = re.compile(r"([$£€]) ?(\d{0,9}) ?([¼½¾⅕-⅘⅛-⅞])(?= ?(million|billion|trillion|thousand)?)")
_PARTS = ("half", "third", "quarter", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")  # 2 to 10


def espeak_phones(phones: str) -> str:
    """Spell misaki's phones of American English as espeak-ng 1.52 does, as far as single words tell.

    Of 600 sentences 6 % of the phones and marks differ from espeak's own, most in the stress of short words and in
    words that espeak joins ("of the").
    """
    phones = phones.translate(_LETTERS)
    for found, spelling in _SPELLINGS:
        phones = found.sub(spelling, phones)
    return _WORD.sub(_spell_word, phones)


def _spell_word(match: re.Match[str]) -> str:
    word = _SHORT_END.sub(r"\1i", match[0])
    weak = word.replace("ˌ", "")
    return weak if _WEAK.fullmatch(weak) else word


class LexiconPhonemizer(TextToPhones):
    """Turns American English into espeak's phones, as `Phonemizer` does, without espeak-ng.

    Loading takes some seconds and 200 MB. Results are remembered. Safe to use from several threads.

    Args:
        cache_size: number of texts whose phones are remembered.

    Raises:
        PromptError: ``hibari-tts`` is not installed.
    """

    def __init__(self, cache_size: int = 2048) -> None:
        super().__init__(LANGUAGE, cache_size)
        self._read = _front_end()

    def _phonemize(self, text: str) -> str:
        parts: list[str] = []
        end = 0
        for given in PRONOUNCED.finditer(text):
            parts += [self._phones(text[end : given.start()]), phones_of(given)]
            end = given.end()
        parts.append(self._phones(text[end:]))
        return re.sub(r" (?=[.,;:!?])", "", " ".join(" ".join(parts).split()))

    def _phones(self, text: str) -> str:
        text = _FRACTION.sub(_spell_fraction, _AMOUNT.sub(_decimal_amount, text))
        text = _plain_digits(text)
        text = _NUMBER.sub(lambda found: " ".join(found[0]), text)
        text = _LONG.sub(lambda found: " ".join(_PIECE.findall(found[0])), text)
        # "[word](/phones/)" would put phones into its output.
        text = " ".join(text.replace("](", "] (").split())
        phones = espeak_phones(self._read(text)) if text else ""
        ends = text[-1:] in _ENDS and phones[-1:] not in _ENDS  # the mark of "p.m." is the sentence's, too
        return phones + text[-1] if phones and ends else phones


def _decimal_amount(match: re.Match[str]) -> str:
    """An amount of money with a fraction, as a decimal: "$2½ million" is "$2.5 million", "$2½" is "$2.50"."""
    top, bottom = normalize("NFKC", match[3]).split("\N{FRACTION SLASH}")
    amount = int(match[2] or 0) + int(top) / int(bottom)
    if match[4]:
        return f"{match[1]}{amount:.10g}"
    return match[0] if bottom == "8" else f"{match[1]}{amount:.2f}"  # an eighth is no whole cents


def _spell_fraction(match: re.Match[str]) -> str:
    """A fraction that is one character, in words; "2½" is "2 and 1 half"."""
    top, bottom = normalize("NFKC", match[2]).split("\N{FRACTION SLASH}")
    part = _PARTS[int(bottom) - 2] + ("s" if top != "1" else "")
    before, after = f"{match[1]} and " if match[1] else " ", " " if match[3] else ""
    return f"{before}{top} {part}{after}"


def _plain_digits(text: str) -> str:
    """Write digits that `int` does not take, such as ² and ①, as numbers of their own: the front end reads them so."""

    def is_special(character: str) -> bool:
        return character.isdigit() and not character.isdecimal()

    runs = ((special, "".join(run)) for special, run in groupby(text, is_special))
    return "".join(
        f" {''.join(str(digit(each)) for each in run)} " if special else run for special, run in runs
    )


_loaded: list[Any] = []
_loading = threading.Lock()


def _front_end() -> Any:
    """Load it once in a process."""
    with _loading:
        if not _loaded:
            try:
                from hibari.g2p import G2P
            except ImportError as problem:
                raise PromptError(
                    "this prompt format reads phones, and neither espeak-ng nor hibari-tts is installed "
                    f"({problem.name}); "
                    'install one with: pip install "neucodec-tts[phonemes]" or pip install hibari-tts'
                ) from problem
            _loaded.append(G2P())
    return _loaded[0]
