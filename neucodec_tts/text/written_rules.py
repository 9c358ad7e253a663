"""Rules for written forms that spokenform 0.4.5 leaves or misreads: ranges, abbreviations, signs, months, fractions.

They rewrite a line before spokenform reads it, and leave plain numbers to it where they can.
"""

from __future__ import annotations

import re
from functools import cache

from neucodec_tts.text.addresses import say_addresses
from neucodec_tts.text.languages import LANGUAGES
from neucodec_tts.text.languages.language import AT_END, BEFORE_CAPITAL, Rule, cardinal, halved, roman, table
from neucodec_tts.text.measures import say_measures


def rewritten(line: str, base: str) -> str:
    """Return one line of text with the forms in words, or in a form that spokenform reads.

    Args:
        line: without line breaks.
        base: language, as in ``"en"``; others than English, German, French and Spanish leave the line as it is.
    """
    line = say_measures(say_addresses(line, base), base)
    for pattern, words in _rules(base):
        line = pattern.sub(words, line)
    return line


def corrected(line: str, base: str) -> str:
    """Return one line of text that spokenform has read, with its mistakes mended."""
    language = LANGUAGES.get(base)
    for pattern, words in () if language is None else language.after:
        line = pattern.sub(words, line)
    return line


_NUMBER = r"\d{1,4}(?:[.,]\d+)?"
_TIME = r"\d{1,2}(?:[:h]\d\d(?:\s?[ap]\.?m\b)?|\s?[ap]\.?m\b|h)"
_ZONES = r"UTC|GMT|CES?T|MES?Z|HN[EC]|[ECMP][SD]T|BST|IST|JST|AES?T|NZS?T"
_RANGE = re.compile(
    rf"(?<![\w.,/:+$€£¥-])(?<![=+×*÷] )({_NUMBER})\s?[-–]\s?({_NUMBER})(?![\w/:-]|[.,]\d)(?!\s?[=+×*÷])"
)
_RANGE_OF_TIMES = re.compile(rf"(?<![\w.:/])({_TIME})\s?[-–]\s?({_TIME})(?![\w:])")
_RANGE_OF_MONEY = re.compile(rf"(?<!\w)([$€£¥])\s?({_NUMBER})\s?[-–]\s?\1?({_NUMBER})(?!\d)")
_YEAR = re.compile(r"1[1-9]\d\d|20\d\d")
_SIZE = re.compile(
    r"(?<=\d)(?<!\b0)\s?([x×])\s?(?=[\d.,]+(\s?(?:[cmk]?m|in|ft|px|[x×]|inch(?:es)?|Zoll|pouces|pulgadas)\b|))"
)
_ZONE = re.compile(
    rf"(?:(?<=:\d\d)|(?<=h\d\d)|(?<=\d[ap]m)|(?<=[ap]\.m\.)|(?<=[AP]M)|(?<=Uhr)|(?<=\d h)) ?({_ZONES})(?!\w)"
)
_YEAR_IN_ROMAN = re.compile(
    r"\bM{1,3}(?=[MDCLXVI]{2})(?:CM|CD|D?C{0,3})(?:XC|XL|L?X{0,3})(?:IX|IV|V?I{0,3})\b"
)
_BOUND = re.compile(r"(?<!\d )\bm(?:[aá]x|([ií])n)\.(?=\s?\d)")
_VERSION = re.compile(
    r"\b((?:[Vv]ersi[oó]n|[vV]\.?) ?)?(?<![\d.,/])(\d{1,3}(?:\.\d{1,3}){1,7})(?![\d/]|[.,]\d)"
)
_MILLIONS_OF_MONEY = re.compile(r"(?<=\d)\s?([kM]|Mds?|Mrd|millones|(?:million|milliard)s?)\s?([€$£])")


@cache
def _rules(base: str) -> tuple[Rule, ...]:
    language = LANGUAGES.get(base)
    if language is None:
        return ()
    shared: list[Rule] = [
        (_RANGE_OF_TIMES, rf"\1 {language.to} \2"),
        (_RANGE_OF_MONEY, rf"\2 {language.to} \1\3"),
        (re.compile(r"№\s?(?=\d)|(?<!\w)#(?=\d)"), f"{language.number} "),
        (_ZONE, lambda found: f" {'-'.join(found[1])}"),
        _weekdays(language.weekdays, language.to),
        *(_groups(mark) for mark in (",", ".")),
        (
            re.compile(r"(?<![\d.,])[1-9]\d{0,2}(?: \d{3}){0,3}(?: 000)+(?![\d.]| \d)"),
            lambda found: found[0].replace(" ", ""),
        ),
        (re.compile(r"\b(1[5-9]\d\d|20\d\d)/(\d\d)\b(?!/)"), _season if base == "en" else r"\1 \2"),
        (re.compile(r"\bC\+\+"), "C plus plus"),
        (re.compile(r"\b([CF])#(?!\w)"), r"\1 sharp"),
        (
            re.compile(r"(?<![\d.,:/+\w-])(?<!\d )0\d{2,8}(?![\w:/-]|[.,]\d| \d)"),
            lambda found: _digits(found[0], base),
        ),
        (_YEAR_IN_ROMAN, lambda found: str(roman(found[0]))),
        (re.compile(r"§§?\s?(?=\d)"), f"{language.section} "),
        (re.compile(r"(?<=\s)&(?=\s)"), language.joined),
        (re.compile(r"\bhttps?://"), ""),
        (re.compile(r"(?<![\d/.,])(\d{1,3})/(\d{1,3})(?![\d/])"), _no_fraction),
        (re.compile(r"(?<=\s)\+(?=\d+(?:[.,]\d+)?(?![\d\s()-]*\d))"), f"{language.plus} "),
        (_SIZE, lambda found: f" {language.times if found[1] == '×' and not found[2] else language.by} "),
        (
            _MILLIONS_OF_MONEY,
            lambda found: f" {language.millions.get(found[1], found[1])} {language.money[found[2]]}",
        ),
        _abbreviations(language.abbreviations),
        (re.compile(r"\b[A-Z](?:\.[A-Z])+(?=\.?(?:\W|$))"), lambda found: found[0].replace(".", "-")),
        (re.compile(r"(?<![\w-])[A-Z](?:-[A-Z])+\.(?=\s+[a-zà-ÿ])"), lambda found: found[0][:-1]),
        (_RANGE, lambda found: _range(found, language.to)),
        (_BOUND, lambda found: language.bounds[found[1] is None]),
    ]
    if language.phone:
        shared.append(
            (re.compile(language.phone), lambda found: found[1] + _one_by_one(found[2], language.plus))
        )
    shared.append((_VERSION, lambda found: _version(found, language.dot)))
    return (*shared, *language.rules)


def _weekdays(listed: str, to: str) -> Rule:
    """Return a rule for short names of days between which there is a range, or after which a date comes."""
    names = {short: long for short, _, long in (entry.partition(" ") for entry in listed.split("; "))}
    short = "|".join(names)

    def say(found: re.Match[str]) -> str:
        return f"{names[found[1]]} {to} {names[found[2]]}" if found[1] else names[found[3]]

    return (
        re.compile(
            rf"\b({short})\.?\s?[-–]\s?({short})\b\.?(?!\w)"
            rf"|\b({short})(?=, \d{{1,2}}\b|,? \d{{1,2}}\.? [A-Z][a-z]{{2}})"
        ),
        say,
    )


def _groups(mark: str) -> Rule:
    """Return a rule for numbers with several groups of thousands, whichever mark their language has between them."""
    return re.compile(rf"(?<![\d.,])\d{{1,3}}(?:{re.escape(mark)}\d{{3}}){{2,5}}(?!\d)"), lambda found: found[
        0
    ].replace(mark, "")


def _season(found: re.Match[str]) -> str:
    return f"{halved(found[1])} {found[2]}"


def _digits(number: str, base: str) -> str:
    return " ".join(cardinal(digit, base) for digit in number)


def _abbreviations(listed: str) -> Rule:
    """Return a rule for abbreviations; their stop stays where it ends the sentence, too."""
    words = table(listed)
    known = {key.rstrip("~").replace(" ", ""): value for key, value in words.items()}
    never_last = {key.rstrip("~").replace(" ", "") for key in words if key.endswith("~")}
    spelled = "|".join(
        re.escape(key.rstrip("~")).replace(r"\ ", r"\s?") for key in sorted(words, key=len, reverse=True)
    )

    def say(found: re.Match[str]) -> str:
        key = re.sub(r"\s", "", found[0])
        ends = AT_END if key in never_last else BEFORE_CAPITAL
        last = key.endswith(".") and ends.match(found.string, found.end()) is not None
        return known[key] + ("." if last else "")

    return re.compile(rf"(?<![\w.-])(?:{spelled})(?!\w)"), say


def _range(found: re.Match[str], to: str) -> str:
    first, last = found[1], found[2]
    if (len(first), len(last)) == (3, 4):
        return found[0]  # 555-1234 is the number of a telephone
    years = _YEAR.fullmatch(first) and _YEAR.fullmatch(last)
    return f"{halved(first)} {to} {last}" if years and to == "to" else f"{first} {to} {last}"


def _no_fraction(found: re.Match[str]) -> str:
    """Return 24/7 and 50/50 as two numbers; others may be fractions or dates."""
    above, below = int(found[1]), int(found[2])
    return f"{above} {below}" if found[0] == "24/7" or above >= below > 12 else found[0]


def _version(found: re.Match[str], dot: str) -> str:
    numbers = found[2].split(".")
    if len(numbers) == 5 and all(len(number) == 2 for number in numbers):
        return found[0].replace(".", " ")  # a telephone number in France
    grouped = all(len(number) == 3 for number in numbers[1:])
    if found[1] is None and (len(numbers) == 2 or grouped):
        return found[0]  # a decimal number, or thousands
    if (
        found[1] is None
        and len(numbers) == 3
        and int(numbers[0]) <= 31
        and len(numbers[2]) == 2
        and dot == "Punkt"
    ):
        return found[0]  # a date
    return f"{(found[1] or '').strip()} {f' {dot} '.join(numbers)}".strip()


def _one_by_one(number: str, plus: str) -> str:
    groups = (" ".join(group) for group in re.findall(r"\+?\d+", number))
    return ", ".join(groups).replace("+", plus)
