"""The parts that rules of all languages share: their words, their patterns, numbers in words."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

Rule = tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]]

ROMAN = r"(?=[IVX]{2}|[VX]\b)(?:X{1,3}(?:IX|IV|V?I{0,3})|IX|IV|VI{0,3}|I{1,3})\b"
ABBREVIATED = r"(?:\.(?=,|\s+[^\WA-ZÀ-Þ_]))?"  # a stop that ends no sentence
AT_END = re.compile(r"\W*$")
BEFORE_CAPITAL = re.compile(r"\W*$|\s+[^\Wa-zà-ÿ\d_]")


@dataclass(frozen=True)
class Language:
    """Words of one language for forms that all have.

    Attributes:
        to: between the ends of a range.
        by: between the sides of a size.
        times: of a product.
        number: of the sign №.
        section: of the sign §.
        dot: between the numbers of a version.
        joined: of the sign &.
        millions: words for k, M, Md and the like before money.
        money: signs and their words after those.
        plus: of the sign + before a telephone number.
        bounds: for "min." and "max." before a number.
        phone: pattern of words before a telephone number whose digits are said one by one.
        weekdays: short and long, as in ``"Mon Monday; Tue Tuesday"``.
        abbreviations: with their stops, and their words, as in ``"vs.~=versus; etc.=et cetera"``. With "~" the
            stop ends no sentence, even before a capital letter.
        rules: of its own, before spokenform reads a line.
        after: rules that mend what spokenform has made of it.
    """

    to: str
    by: str
    times: str
    number: str
    section: str
    dot: str
    joined: str
    millions: Mapping[str, str]
    money: Mapping[str, str]
    plus: str
    bounds: tuple[str, str]
    phone: str
    weekdays: str
    abbreviations: str
    rules: tuple[Rule, ...] = ()
    after: tuple[Rule, ...] = ()


def table(listed: str) -> dict[str, str]:
    """Return the keys and values of ``"key=value; key=value"``."""
    return dict(tuple(entry.split("=")) for entry in listed.split("; "))  # type: ignore[misc]


def halved(year: str) -> str:
    """Return an English year in two halves of two digits, which are read one after the other."""
    return year if year[2:] < "10" else f"{year[:2]} {year[2:]}"


def roman(numeral: str) -> int:
    """Return the value of a Roman number."""
    values = [{"I": 1, "V": 5, "X": 10, "L": 50, "C": 100, "D": 500, "M": 1000}[letter] for letter in numeral]
    return sum(-a if a < b else a for a, b in zip(values, [*values[1:], 0], strict=True))


def days_first(form: str) -> Callable[[re.Match[str]], str]:
    """Return a date of three numbers in a form of day, month and year; those that begin with the month are turned."""

    def say(found: re.Match[str]) -> str:
        day, month, year = found.groups()
        return form.format(month, day, year) if int(month) > 12 >= int(day) else form.format(day, month, year)

    return say


def stop(found: re.Match[str]) -> str:
    """Return a full stop where an abbreviation ends the sentence, too."""
    return "." if AT_END.match(found.string, found.end()) else ""


def cardinal(number: str, base: str) -> str:
    """Return a number in words, "five"."""
    from spokenform import number_words

    return str(number_words.cardinal(int(number), base))


def ordinal(number: int, base: str) -> str:
    """Return a number in words, "fifth"."""
    from spokenform import number_words

    return str(number_words.ordinal(number, base))
