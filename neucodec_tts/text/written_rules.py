"""Rules for written forms that spokenform 0.4.5 leaves or misreads: ranges, abbreviations, signs, months, fractions.

They rewrite a line before spokenform reads it, and leave plain numbers to it where they can.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache

from neucodec_tts.text.addresses import say_addresses
from neucodec_tts.text.measures import say_measures

Rule = tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]]


@dataclass(frozen=True)
class _Language:
    """Words of one language for forms that all have.

    Attributes:
        to: between the ends of a range.
        by: between the sides of a size.
        times: of a product.
        number: of the sign №.
        section: of the sign §.
        dot: between the numbers of a version.
        joined: of the sign &.
        money: signs and their words after "millions".
        thousands: words for k, m and b before money.
        plus: of the sign + before a telephone number.
        bounds: for "min." and "max." before a number.
        phone: pattern of words before a telephone number whose digits are said one by one.
        weekdays: short and long, as in ``"Mon Monday; Tue Tuesday"``.
        abbreviations: with their stops, and their words, as in ``"vs.~=versus; etc.=et cetera"``. With "~" the
            stop ends no sentence, even before a capital letter.
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
    rules: tuple[Rule, ...] = field(default=())


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
    for pattern, words in _AFTER.get(base, ()):
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
_AT_END = re.compile(r"\W*$")
_BEFORE_CAPITAL = re.compile(r"\W*$|\s+[^\Wa-zà-ÿ\d_]")
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
    language = _LANGUAGES.get(base)
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
    return f"{_halved(found[1])} {found[2]}"


def _digits(number: str, base: str) -> str:
    return " ".join(_cardinal(digit, base) for digit in number)


def _table(listed: str) -> dict[str, str]:
    """Return the keys and values of ``"key=value; key=value"``."""
    return dict(tuple(entry.split("=")) for entry in listed.split("; "))  # type: ignore[misc]


def _abbreviations(listed: str) -> Rule:
    """Return a rule for abbreviations; their stop stays where it ends the sentence, too."""
    words = _table(listed)
    known = {key.rstrip("~").replace(" ", ""): value for key, value in words.items()}
    never_last = {key.rstrip("~").replace(" ", "") for key in words if key.endswith("~")}
    spelled = "|".join(
        re.escape(key.rstrip("~")).replace(r"\ ", r"\s?") for key in sorted(words, key=len, reverse=True)
    )

    def say(found: re.Match[str]) -> str:
        key = re.sub(r"\s", "", found[0])
        ends = _AT_END if key in never_last else _BEFORE_CAPITAL
        last = key.endswith(".") and ends.match(found.string, found.end()) is not None
        return known[key] + ("." if last else "")

    return re.compile(rf"(?<![\w.-])(?:{spelled})(?!\w)"), say


def _range(found: re.Match[str], to: str) -> str:
    first, last = found[1], found[2]
    if (len(first), len(last)) == (3, 4):
        return found[0]  # 555-1234 is the number of a telephone
    years = _YEAR.fullmatch(first) and _YEAR.fullmatch(last)
    return f"{_halved(first)} {to} {last}" if years and to == "to" else f"{first} {to} {last}"


def _no_fraction(found: re.Match[str]) -> str:
    """Return 24/7 and 50/50 as two numbers; others may be fractions or dates."""
    above, below = int(found[1]), int(found[2])
    return f"{above} {below}" if found[0] == "24/7" or above >= below > 12 else found[0]


def _halved(year: str) -> str:
    """Return an English year in two halves of two digits, which are read one after the other."""
    return year if year[2:] < "10" else f"{year[:2]} {year[2:]}"


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


def roman(numeral: str) -> int:
    """Return the value of a Roman number."""
    values = [{"I": 1, "V": 5, "X": 10, "L": 50, "C": 100, "D": 500, "M": 1000}[letter] for letter in numeral]
    return sum(-a if a < b else a for a, b in zip(values, [*values[1:], 0], strict=True))


def _days_first(form: str) -> Callable[[re.Match[str]], str]:
    """Return a date of three numbers in a form of day, month and year; those that begin with the month are turned."""

    def say(found: re.Match[str]) -> str:
        day, month, year = found.groups()
        return form.format(month, day, year) if int(month) > 12 >= int(day) else form.format(day, month, year)

    return say


def _stop(found: re.Match[str]) -> str:
    """Return a full stop where an abbreviation ends the sentence, too."""
    return "." if _AT_END.match(found.string, found.end()) else ""


def _cardinal(number: str, base: str) -> str:
    from spokenform.number_words import cardinal

    return str(cardinal(int(number), base))


def _ordinal(number: int, base: str) -> str:
    from spokenform.number_words import ordinal

    return str(ordinal(number, base))


_ROMAN = r"(?=[IVX]{2}|[VX]\b)(?:X{1,3}(?:IX|IV|V?I{0,3})|IX|IV|VI{0,3}|I{1,3})\b"
_ABBREVIATED = r"(?:\.(?=,|\s+[^\WA-ZÀ-Þ_]))?"  # a stop that ends no sentence
_AFTER_SMALL = rf"(?<=[a-zà-ÿ] ){_ROMAN}"

# English ------------------------------------------------------------------------------------------------------------

_ENGLISH_MONTHS = (
    r"(?:Jan(?:uary|\.)?|Feb(?:ruary|\.)?|Mar(?:ch|\.)?|Apr(?:il|\.)?|May|June?|July?|Aug(?:ust|\.)?"
    r"|Sept?(?:ember|\.)?|Oct(?:ober|\.)?|Nov(?:ember|\.)?|Dec(?:ember|\.)?)"
)
_ENGLISH_DECADES = dict(
    zip("23456789", "twenties thirties forties fifties sixties seventies eighties nineties".split())  # noqa: B905, SIM905
)
_ENGLISH = _Language(
    to="to",
    by="by",
    times="times",
    number="number",
    section="section",
    dot="dot",
    joined="and",
    millions={"k": "thousand", "M": "million", "Md": "billion", "Mds": "billion", "Mrd": "billion"},
    money={"€": "euros", "$": "dollars", "£": "pounds"},
    plus="plus",
    bounds=("minimum", "maximum"),
    phone=r"\b([Cc]all |[Dd]ial )(\d{3})\b(?![-.\d])",
    weekdays=(
        "Mon Monday; Tues Tuesday; Tue Tuesday; Wed Wednesday; Thurs Thursday; "
        "Thu Thursday; Fri Friday; Sat Saturday; Sun Sunday"
    ),
    abbreviations=(
        "ext.~=extension; Tel.~=telephone; tel.~=telephone; avg.~=average; incl.~=including; w/o=without; w/=with; "
        "a.k.a.=A-K-A; Gov.~=Governor; Sen.~=Senator; Rep.~=Representative; Ft.~=Fort; ch.~=chapter"
    ),
    rules=(
        (re.compile(rf"\b({_ENGLISH_MONTHS}) (\d\d?) to (?=\d\d?\b)"), r"\1 \2 to \1 "),
        (re.compile(r"(?<=\d )(BCE?|CE|AD)\b|\bAD(?= \d)"), lambda found: "-".join(found[0])),
        (re.compile(r"([$€£])(\d[\d.,]*) ?[mM]\b"), r"\1\2 million"),
        (re.compile(r"([$€£])(\d[\d.,]*) ?(?:bn|b|B)\b"), r"\1\2 billion"),
        (re.compile(r"([$€£])(\d[\d.,]*) ?[kK]\b"), r"\1\2 thousand"),
        (
            re.compile(
                rf"\b((?:King|Queen|Pope|Emperor|Empress|Tsar) [A-Z][a-z]+) (I\b|{_ROMAN})(?:\.(?=\s+[a-z]))?"
            ),
            lambda found: f"{found[1]} the {_ordinal(roman(found[2]), 'en')}",
        ),
        (re.compile(r"(?<=\d) ?¢"), " cents"),
        (re.compile(r"(?<=\d) ?TB\b"), " terabytes"),
        (re.compile(r"\b(\d)['’′] ?(\d\d?)[\"”″]"), r"\1 foot \2"),
        (re.compile(r"\bPh\. ?D\.(?=\s+[a-z]|,)|\bPh\. ?D(?=\.)"), "P-H-D"),
        (re.compile(r"(?<!\S)9/11(?![\d/])"), "9 11"),
        (re.compile(r"(?<=\d)x(?= )"), " times"),
        (re.compile(r"(?<!\w)['’](\d)0s\b"), r"19\g<1>0s"),
        (
            re.compile(
                r"\b(Episode|Part|Volume|Book|Act|Scene|Phase|Type|Level|Stage|Class|Section|Article|Title|Appendix|Round"
                rf"|Season|Grade|Mark|Model|Unit|Table|Figure|Fantasy|Mach|Rocky) ({_ROMAN})"
            ),
            lambda found: f"{found[1]} {roman(found[2])}",
        ),
        (re.compile(r"(?<=\d)((?:st|nd|rd|th))\s?[-–]\s?(?=\d{1,4}(?:st|nd|rd|th)\b)"), r"\1 to "),
        (re.compile(r"\b(\d)/(\d{1,2})(?:rds|ths|nds)\b"), r"\1/\2"),
        (re.compile(r"\b(\d\d?)-(\d\d?)-(\d{4})\b"), r"\1/\2/\3"),
        (
            re.compile(r"\b(\d{3}0s)\s?[-–]\s?['’]?([2-9])0s\b"),
            lambda found: f"{found[1]} to {_ENGLISH_DECADES[found[2]]}",
        ),
        (
            re.compile(r"(?<![\d.,])(\d{1,3})((?:\.\d{3})+),(\d{1,2})\b"),
            lambda found: f"{found[1]}{found[2].replace('.', '')}.{found[3]}",
        ),
        (re.compile(r"(?<=\d)c\b"), " cents"),
        (re.compile(r"(?<!\w)(\d{1,3}(?:\.\d)?)k\b(?<!401k)"), r"\1 thousand"),
        (re.compile(r"(?<!\w)(\d{1,3}(?:\.\d{1,2})?)M\b"), r"\1 million"),
        (re.compile(r"(?<!\w)(\d{1,3}(?:\.\d{1,2})?)B\b"), r"\1 billion"),
        (re.compile(r"\best\. (?=\d{4}\b)"), "established "),
        (re.compile(r"\b24:00\b"), "24 hundred"),
        (re.compile(r"\bSept\.(?= \d)|(?<=\d )Sept\."), "September"),
        (re.compile(r"\bpp\.(?= ?\d)"), "pages"),
        (re.compile(r"\bp\.(?= ?\d)"), "page"),
        (re.compile(r"(?<=\d)( ?[ap])\.m\.(?=\s+[a-z]|[,;:?!)])"), r"\1m"),
        (re.compile(r"(?<=\d)( ?[ap])\.m\."), r"\1m."),
        (re.compile(r"\b(U\.S|U\.K|U\.N|E\.U)\.(?=\s+\w)"), lambda found: found[1].replace(".", "-")),
        (re.compile(r"¥ ?(\d[\d.,]*)\b"), r"\1 yen"),
        (re.compile(r"₹ ?(\d[\d.,]*)\b"), lambda found: f"{found[1].replace(',', '')} rupees"),
        (re.compile(r"(?<=\d) ?(?=[½¼¾])"), " and "),
        (re.compile(r"(?<=\d )(?:µm|μm)(?!\w)"), "micrometers"),
        (
            re.compile(r"\bW(?:orld War |W)(II?)\b"),
            lambda found: f"World War {('One', 'Two')[len(found[1]) - 1]}",
        ),
        (re.compile(r"\betc\.(?=\s+[a-z,;)])"), "et cetera"),
        (re.compile(r"(?<=\d)\s?km/h\b"), " kilometers per hour"),
    ),
)

# German -------------------------------------------------------------------------------------------------------------

_GERMAN_TENS = dict(
    zip("23456789", "zwanzig dreißig vierzig fünfzig sechzig siebzig achtzig neunzig".split(), strict=True)  # noqa: SIM905
)


def _german_year(found: re.Match[str]) -> str:
    from spokenform.number_words import year

    return str(year(int(found[0]), "de"))


_GERMAN_MONTHS = (
    "Januar Februar März April Mai Juni Juli August September Oktober November Dezember".split()  # noqa: SIM905
)
_GERMAN_ORDINAL = (
    r"(?:(?:\w{3,6}und)?(?:zwanzig|dreißig)st|(?:drei|vier|fünf|sech|sieb|acht|neun)?zehnt"
    r"|erst|zweit|dritt|viert|fünft|sechst|siebt|siebent|acht|neunt|elft|zwölft)e"
)
_GERMAN = _Language(
    to="bis",
    by="mal",
    times="mal",
    number="Nummer",
    section="Paragraf",
    dot="Punkt",
    joined="und",
    millions={"k": "Tausend", "M": "Millionen", "Md": "Milliarden", "Mds": "Milliarden", "Mrd": "Milliarden"},
    money={"€": "Euro", "$": "Dollar", "£": "Pfund"},
    plus="plus",
    bounds=("minimal", "maximal"),
    phone=r"\b((?:[Rr]uf\w*|[Hh]andy|[Mm]obil|[Ff]ax)\.?:? )(\+?0?\d[\d /-]{4,}\d)\b",
    weekdays=("Mo Montag; Di Dienstag; Mi Mittwoch; Do Donnerstag; Fr Freitag; Sa Samstag; So Sonntag"),
    abbreviations=(
        "vs.~=versus; v. Chr.=vor Christus; n. Chr.=nach Christus; bzgl.~=bezüglich; sog.~=sogenannte; "
        "zzgl.~=zuzüglich; exkl.~=exklusive; bspw.~=beispielsweise; gest.~=gestorben; Bd.~=Band; z. T.~=zum Teil; "
        "o. g.~=oben genannte; s. o.=siehe oben; mind.~=mindestens; Hrn.~=Herrn; lt.~=laut; Anm.~=Anmerkung; "
        "s. u.=siehe unten; ct=Cent; Ct.=Cent; Std.=Stunden; Abs.~=Absatz; v. a.~=vor allem; z. Zt.=zurzeit; "
        "usf.=und so fort; Fam.~=Familie; Frl.~=Fräulein; Stk.=Stück; Pkt.=Punkte; MwSt.=Mehrwertsteuer; "
        "u. Ä.=und Ähnliches; Hbf.=Hauptbahnhof; s. S.~=siehe Seite"
    ),
    rules=(
        (re.compile(r"(?<=[a-zäöüß]{2})str\.(?=\s*[\d,;)]|\s+[a-zäöü])"), "straße"),
        (re.compile(r"(?<=[a-zäöüß]{2})str\.(?=\s|$)"), "straße."),
        (re.compile(r"(?<=\d) ?TB\b"), " Terabyte"),
        (re.compile(r"\b(\d{4})[-/](\d\d)[-/](\d\d)\b"), r"\3.\2.\1"),
        (re.compile(r"\b(\d\d?)/(\d\d?)/(\d{4})\b"), _days_first("{0}.{1}.{2}")),
        (re.compile(r"(?<![\d.])(\d\d?)\.(\d\d)(?=(?:\s?(?:bis|[-–])\s?\d\d?\.\d\d)?\s?Uhr\b)"), r"\1:\2"),
        (re.compile(r"\b24:00\b(?: ?Uhr)?"), "24 Uhr"),
        (re.compile(r"(?<![\d/.,])1 ?(?:½|1/2(?![\d/]))"), "eineinhalb"),
        (re.compile(r"(?<=\d)x(?= )"), " mal"),
        (re.compile(r"(?<=\d)[,.][-–—](?=\s?€)"), ""),
        (re.compile(r"(?<=\d )(ff?)\.(?=\W*$|\s+[a-zäöü(])"), lambda found: "und folgende" + _stop(found)),
        (re.compile(r"(?<=Absatz \d )S\. (?=\d)"), "Satz "),
        (
            re.compile(
                rf"\b(Teil|Band|Kapitel|Akt|Buch|Phase|Typ|Stufe|Klasse|Szene|Kategorie|Abschnitt|Artikel) ({_ROMAN})"
            ),
            lambda found: f"{found[1]} {roman(found[2])}",
        ),
        (
            re.compile(r"(?<![\d.])(\d\d?)\.(0?[1-9]|1[0-2])\.(?!\s?\d)(?=(\W*$)?)"),
            lambda found: (
                f"{found[1]}. {_GERMAN_MONTHS[int(found[2]) - 1]}{'.' if found[3] is not None else ''}"
            ),
        ),
        (re.compile(r"\b(\d\d?)\.\s?[-–]\s?(?=\d\d?\.)"), r"\1. bis "),
        (re.compile(r"(?<![\d/.,])1/2(?![\d/.,])"), "½"),
        (re.compile(r"\b19([2-9])0er\b"), lambda found: f"neunzehnhundert{_GERMAN_TENS[found[1]]}er"),
        (re.compile(r"\b([2-9])0er\b"), lambda found: f"{_GERMAN_TENS[found[1]]}er"),
        (
            re.compile(
                r"(?<![\w.,:/+€$£-])(?<![€$£] )(?<!Nr\. )(?<!Nummer )1[1-9]\d\d"
                r"(?![\d/:-]|[.,]\d)(?! ?(?:[A-ZÄÖÜ€$£%°]|(?:[cmk]?[mgl]|kWh|km/h|ha|t)\b))"
            ),
            _german_year,
        ),
    ),
)

# French -------------------------------------------------------------------------------------------------------------

_FRENCH_MONTHS = _table(
    "janv=janvier; févr=février; fév=février; avr=avril; juil=juillet; sept=septembre; oct=octobre; nov=novembre; "
    "déc=décembre; mars=mars; mai=mai; juin=juin; août=août"
)
_FRENCH_MONTHS |= {month: month for month in _FRENCH_MONTHS.values()}
_FRENCH_FEMININE = (
    r"(?:heure|minute|seconde|tonne|page|fois|semaine|année|personne|tasse|livre|cuillère|bouteille)s?\b"
)
_FRENCH_FEMININE_ONE = "heure|minute|année|semaine|tasse|cuillère|bouteille|page|tonne|livre"
_FRENCH_NO_NOUN = (
    "ici|là|de|des|du|et|ou|à|au|en|dans|pour|par|sur|sous|avec|sans|que|qui|mais|est|sont|plus|moins|y"
)
_OCTETS = {"k": "kilo", "K": "kilo", "M": "méga", "G": "giga", "T": "téra"}


def _french_date(found: re.Match[str]) -> str:
    day = "premier" if found[1] == "1er" else _cardinal(found[1], "fr")
    return f"{day} {_FRENCH_MONTHS[found[2]]}"


_FRENCH = _Language(
    to="à",
    by="sur",
    times="fois",
    number="numéro",
    section="paragraphe",
    dot="point",
    joined="et",
    millions={"k": "mille", "M": "millions", "Md": "milliards", "Mds": "milliards", "Mrd": "milliards"},
    money={"€": "d'euros", "$": "de dollars", "£": "de livres"},
    plus="plus",
    bounds=("minimum", "maximum"),
    phone="",
    weekdays=("lun lundi; mar mardi; mer mercredi; jeu jeudi; ven vendredi; sam samedi; dim dimanche"),
    abbreviations=(
        "vs.~=versus; vs=versus; av. J.-C.=avant Jésus-Christ; apr. J.-C.=après Jésus-Christ; "
        "c.-à-d.~=c'est-à-dire; càd=c'est-à-dire; fig.~=figure; chap.~=chapitre; p. ex.~=par exemple; Mme=madame; "
        "Mlle=mademoiselle; Dr=docteur; Dr.~=docteur; Pr=professeur; Me=maître; av.~=avenue; bd=boulevard; "
        "tél.~=téléphone; Tél.~=téléphone; svp=s'il vous plaît; SVP=s'il vous plaît; RDV=rendez-vous; "
        "qqn=quelqu'un; qqch=quelque chose; hab.=habitants; nº=numéro; Mmes=mesdames; art.~=article; "
        "bât.~=bâtiment; app.~=appartement; al.~=alinéa; P.-S.~=post-scriptum; nb.~=nombre"
    ),
    rules=(
        (re.compile(r"(?<=\d) (?=\d{3}(?!\d))"), ""),
        (re.compile(r"\b(\d{4})/(\d\d)/(\d\d)\b"), r"\1-\2-\3"),
        (re.compile(r"\b(\d\d?)/(\d\d?)/(\d{4})\b"), _days_first("{0}/{1}/{2}")),
        (re.compile(r"(?<![\d.,])0[1-9]\d{8}\b"), lambda found: " ".join(re.findall("..", found[0]))),
        (re.compile(r"\b(\d\d?) ?h ?/ ?(\d\d?)\b"), r"\1 heures sur \2"),
        (re.compile(r"\b(\d) ?j ?/ ?(\d)\b"), r"\1 jours sur \2"),
        (re.compile(r"\b24:00\b"), "24 heures"),
        (re.compile(r"(?<=\d)x(?= )"), " fois"),
        (re.compile(r"(?<=\d)ᵉ(?!\w)"), "e"),
        (re.compile(r"(?<=\d)ᵉʳ(?!\w)"), "er"),
        (re.compile(rf"(?<![\d/.,])1 ?(?:½|1/2(?![\d/])) ({_FRENCH_FEMININE_ONE})s?\b"), r"une \1 et demie"),
        (re.compile(r"\b(S)(te?)-(?=[A-ZÀ-Þ])"), lambda found: "Saint-" if found[2] == "t" else "Sainte-"),
        (re.compile(rf"\b(1er|[12]?\d|3[01]) ({'|'.join(_FRENCH_MONTHS)})\b{_ABBREVIATED}"), _french_date),
        (re.compile(r"\bI(er|re)\b"), lambda found: f"premi{'er' if found[1] == 'er' else 'ère'}"),
        (
            re.compile(r"\b(?:(?=[IVX])(X{0,3}(?:IX|IV|V?I{0,3}))|(\d{1,3}))(?:e|ème)\b"),
            lambda found: _ordinal(roman(found[1]) if found[1] else int(found[2]), "fr"),
        ),
        (re.compile(_AFTER_SMALL), lambda found: str(roman(found[0]))),
        (re.compile(r"(?<=\d) ?([kKMGT])o\b"), lambda found: f" {_OCTETS[found[1]]}octets"),
        (re.compile(r"\b(\d\d?) ?h ?(\d\d?) ?min\b"), r"\1 heures \2 minutes"),
        (re.compile(r"\b1 (heure)s? (?=\d)"), r"une \1 "),
        (re.compile(rf"(?<![\d,.] )\b1 (?={_FRENCH_FEMININE})"), "une "),
        (re.compile(r"(?<![\d/.,])1/2(?![\d/.,])"), "½"),
        (re.compile(rf"(\d) ?½ (?!(?:{_FRENCH_NO_NOUN})\b)([^\W\d_]+)"), r"\1 \2 et demie"),
        (re.compile(r"(?<=\d) ?½"), " et demi"),
        (re.compile(rf"½ (?={_FRENCH_FEMININE})"), "une demi-"),
    ),
)

# Spanish ------------------------------------------------------------------------------------------------------------

_SPANISH_MONTHS = _table(
    "ene=enero; feb=febrero; mar=marzo; abr=abril; may=mayo; jun=junio; jul=julio; ago=agosto; sept=septiembre; "
    "sep=septiembre; oct=octubre; nov=noviembre; dic=diciembre"
)
_SPANISH_MONTHS |= {month: month for month in _SPANISH_MONTHS.values()}
_SPANISH_ORDINALS = (
    *("primer", "segund", "tercer", "cuart", "quint"),
    *("sext", "séptim", "octav", "noven", "décim"),
)
_SPANISH_NOT_FEMININE = r"(?!\w*(?:días|mapas|gramas|blemas|temas|climas|planetas|cometas)\b)"
_SPANISH_FEMININE = rf"{_SPANISH_NOT_FEMININE}(?:\w+as|veces|mujeres|noches|calles)\b"


def _spanish_date(found: re.Match[str]) -> str:
    year = f" de {found[3]}" if found[3] else ""
    return f"{_cardinal(found[1], 'es')} de {_SPANISH_MONTHS[found[2]]}{year}"


_SPANISH_NO_NOUN = "aquí|allí|de|del|y|o|a|al|en|para|por|con|sin|que|pero|es|son|más|menos|e|u"


def _spanish_half(found: re.Match[str]) -> str:
    noun = found[2]
    if found[1] == "1" and noun.endswith("s") and re.fullmatch(r"\w+[aeo]s", noun):
        noun = noun[:-1]
    half = "media" if re.fullmatch(rf"{_SPANISH_NOT_FEMININE}\w+as?", noun) else "medio"
    count = found[1] if found[1] != "1" else ("una" if half == "media" else "un")
    return f"{count} {noun} y {half}" if found[1] else f"{half} {noun}"


def _spanish_ruler(found: re.Match[str]) -> str:
    name, number = found[1] or found[3], roman(found[2] or found[4])
    if number > len(_SPANISH_ORDINALS):
        return f"{name} {number}"
    feminine = name.endswith("a") or name in ("Isabel", "Beatriz")
    return f"{name} {_SPANISH_ORDINALS[number - 1]}{'a' if feminine else 'o'}"


_SPANISH = _Language(
    to="a",
    by="por",
    times="por",
    number="número",
    section="sección",
    dot="punto",
    joined="y",
    millions={"k": "mil", "M": "millones", "Md": "millardos", "Mds": "millardos", "Mrd": "millardos"},
    money={"€": "de euros", "$": "de dólares", "£": "de libras"},
    plus="más",
    bounds=("mínimo", "máximo"),
    phone=r"\b((?:[Ll]l[aá]m\w+|[Tt]el(?:éfono|\.)?|[Mm]óvil|[Ff]ax|WhatsApp):?(?: al| a| el)? )(\+?\d[\d -]{5,}\d)\b",
    weekdays=("lun lunes; mar martes; mié miércoles; jue jueves; vie viernes; sáb sábado; dom domingo"),
    abbreviations=(
        "vs.~=versus; aprox.~=aproximadamente; págs.~=páginas; fig.~=figura; Sto.~=Santo; Sta.~=Santa; "
        "i. e.~=es decir; a. C.=antes de Cristo; d. C.=después de Cristo; EE. UU.=Estados Unidos; "
        "p. ej.~=por ejemplo; Uds.=ustedes; Ud.=usted; Vd.=usted; Vds.=ustedes; Dña.~=doña; D.ª=doña; C/=calle; "
        "Avda.~=avenida; tel.~=teléfono; Tel.~=teléfono; izq.=izquierda; dcha.=derecha; Sres.~=señores; "
        "Profa.~=profesora; hab.=habitantes; cts.=céntimos; ref.~=referencia; "
        "dpto.~=departamento; Dpto.~=departamento; edif.~=edificio"
    ),
    rules=(
        (
            re.compile(
                rf"(?<![\d/.,-])\b(1?\d|2\d|3[01])(?: de)? ({'|'.join(_SPANISH_MONTHS)})\b{_ABBREVIATED}"
                r"(?:(?: del?)? (\d{4})\b)?"
            ),
            _spanish_date,
        ),
        (re.compile(r"(?<=siglo )[IVX]+\b"), lambda found: str(roman(found[0]))),
        (re.compile(r"(?<=capítulo )[IVX]+\b|(?<=tomo )[IVX]+\b"), lambda found: str(roman(found[0]))),
        (re.compile(rf"\b(\w*[a-zà-ÿ]) ({_ROMAN})|\b([A-ZÁÉÍÓÚ]\w*[a-zà-ÿ]) (I)\b(?![+&-])"), _spanish_ruler),
        (re.compile(r"(?<=\d) ?TB\b"), " terabytes"),
        (re.compile(r"\b(\d{4})/(\d\d)/(\d\d)\b"), r"\1-\2-\3"),
        (re.compile(r"\b(\d\d?)/(\d\d?)/(\d{4})\b"), _days_first("{0}/{1}/{2}")),
        (re.compile(r"(?<![\d.])(\d\d?)\.(\d\d)(?= ?h\b)"), r"\1:\2"),
        (re.compile(r"\b(\d\d?)h(\d\d)\b"), r"\1:\2"),
        (re.compile(r"(\d:\d\d) ?(?:h|hs|hrs)\b"), r"\1"),
        (re.compile(r"\b24:00\b"), "24 horas"),
        (re.compile(r"(?<=\d)x(?= )"), " veces"),
        (re.compile(r"\b(los|años) ([2-9]0)s\b"), r"\1 \2"),
        (re.compile(r"(?<=\d)\.er\b"), "er"),
        (re.compile(r"(?<![\d/.,])1/2(?![\d/.,])"), "½"),
        (re.compile(rf"(?:(?<!\d)(\d{{1,4}}) ?)?½ (?!(?:{_SPANISH_NO_NOUN})\b)([^\W\d_]+)"), _spanish_half),
    ),
)

_LANGUAGES = {"en": _ENGLISH, "de": _GERMAN, "fr": _FRENCH, "es": _SPANISH}
_SPANISH_NUMBER_WORDS = "dos|tres|seis|menos|más|es|entonces|pues"
_SPANISH_NUMBERS = (
    r"(?: (?:mil|millones|y|\w*(?:cient[oa]s|nta|inte|iec\w+|iún|uno?|dos|tres|cuatro|cinco|seis|siete|ocho"
    r"|nueve|diez)))*"
)
_AFTER: dict[str, tuple[Rule, ...]] = {
    "de": (
        (re.compile(r"\beins (?=[A-ZÄÖÜ]\w*tel\b)"), "ein "),
        (re.compile(r"\beins (?=(?:Stunde|Minute|Sekunde|Tonne|Meile|Unze|Kalorie)\b)"), "eine "),
        (
            re.compile(rf"\b([Aa]m|[Vv]om|[Zz]um|[Bb]eim|[Ii]m|[Dd]em|[Dd]en) ({_GERMAN_ORDINAL})r\b"),
            r"\1 \2n",
        ),
        (
            re.compile(rf"\b((?i:in|aus|mit|bei|von|nach|seit|zu|an|auf|vor) der) ({_GERMAN_ORDINAL})r?\b"),
            r"\1 \2n",
        ),
        (
            re.compile(rf"\b([Dd]ie|[Dd]er|[Dd]as)((?: {_GERMAN_ORDINAL} und)?) ({_GERMAN_ORDINAL})r\b"),
            r"\1\2 \3",
        ),
        (re.compile(r"(\b(?:der|die|dem|den|des) [A-ZÄÖÜ]\w+te[nrs]?)\.(?=\s[a-zäöü])"), r"\1"),
    ),
    "es": (
        (
            re.compile(rf"(?<=ient)os(?={_SPANISH_NUMBERS} {_SPANISH_FEMININE})"),
            "as",
        ),
        (re.compile(rf"\bveinti(?:uno|ún)(?= {_SPANISH_FEMININE})"), "veintiuna"),
        (re.compile(rf"(?<= y )uno?(?= {_SPANISH_FEMININE})"), "una"),
        (re.compile(rf"(?<= y )uno(?= (?!(?:{_SPANISH_NUMBER_WORDS})\b)[a-zà-ÿ]+s\b)"), "un"),
        (re.compile(rf"\bveintiuno(?= (?!(?:{_SPANISH_NUMBER_WORDS})\b)[a-zà-ÿ]+s\b)"), "veintiún"),
        (re.compile(r"\bvveinti"), "veinti"),
        (
            re.compile(
                r"\b(primer|segund|tercer|cuart|quint)o"
                r"(?= (?:Guerra|República|Cumbre|Edición|Feria|Conferencia|Semana)\b)"
            ),
            r"\1a",
        ),
    ),
}
