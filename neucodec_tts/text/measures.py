"""Quantities in words: units and quotients of them, angles, ratios, powers, signs, and money that is not everybody's.

They come before spokenform, which knows the common units and leaves or misreads these.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import cache

from neucodec_tts.text.measure_words import MEASURE_WORDS

_N = r"\d(?:[\d.,]{0,20}\d)?"  # a number; bounded, as long rows of digits must not cost the square of their length
_DASH = r"[-–—]"


_SCALED = {
    "m": "nµmcdk", "g": "µmk", "l": "mcdh", "L": "mcdh", "bit": "kMGT", "B": "kMGT", "o": "kMGT", "W": "mkMGT",
    "Wh": "kMGT", "Pa": "hkMG", "Hz": "kMGT", "cal": "k", "J": "kM", "N": "kM", "Ω": "kMm", "F": "nµm", "V": "mkM",
    "A": "µmk", "mol": "m", "s": "nµm",
}  # fmt: skip
_DENOMINATORS = (
    *"km m dm cm mm km² m² cm² mm² m³ dm³ cm³ s² s ms min h kg g mg µg t l L dl cl ml mol ha K ft ft² yd".split(),  # noqa: SIM905
    *"mi lb oz in".split(),  # noqa: SIM905
)
# What spokenform leaves or misreads where it stands alone.
_ALONE = (
    *"kbit Mbit Gbit Tbit dB kcal cal MW GW GWh MWh TWh Ω kΩ MΩ µF nF mF hPa dl cl hl rpm fps ft² in² ft³".split(),  # noqa: SIM905
    *"in³ yd² mi² MV MN MPa GPa MJ ns µs px hrs hr mins secs yrs yr wks mos cts".split(),  # noqa: SIM905
)
_ALONE_ABROAD = ("oz", "yd", "ft")  # in German, French and Spanish
_RATES = {"kbps": "kbit/s", "Mbps": "Mbit/s", "Gbps": "Gbit/s", "Kbps": "kbit/s"}
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺", "0123456789-+")
_SUBSCRIPTS = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")
_FEMININE_MONEY = re.compile("Kron|Lira|Rupi|couronne|livre|corona|lira|rupia|grivna")
_NEXT_SENTENCE = re.compile(r"\s+[^\Wa-zà-ÿ\d_]|\s*$")
_MILLIONS = r"(?!\s?(?:[kKM]\b|bn\b|[Mm]i[lo]|[Mm]rd|[Bb]il))"
_SIGNS = re.compile(r"[\d√∞±]")


def say_measures(line: str, base: str) -> str:
    """Return a line of text with such quantities in words; their plain numbers stay.

    Args:
        line: without line breaks.
        base: language; others than English, German, French and Spanish leave the line as it is.
    """
    if base not in MEASURE_WORDS or not _SIGNS.search(line):
        return line
    for pattern, words in _rules(base):
        line = pattern.sub(words, line)
    return line


@cache
def _names(base: str) -> dict[str, tuple[str, str]]:
    """Return the names of all units with their prefixes and powers, one and many."""
    words = MEASURE_WORDS[base]
    names = dict(words.units)
    for symbol, scales in _SCALED.items():
        if symbol not in words.units:
            continue
        one, many = words.units[symbol]
        for scale in scales:
            prefix = words.prefixes[scale]
            names[scale + symbol] = (_prefixed(prefix, one, base), _prefixed(prefix, many, base))
    for symbol in [each for each in names if each in ("m", "ft", "in", "yd", "mi") or each[1:] == "m"]:
        for power, sign in ((2, "²"), (3, "³")):
            one, many = names[symbol]
            form = words.power[power]
            lower = base == "de"
            made = [form.format(each.lower() if lower else each) for each in (one, many)]
            if base in ("fr", "es"):
                feminine = base == "es" and one.endswith("a")
                made = [each[:-1] + "a" if feminine else each for each in made]
                made[1] += "s"
            names[symbol + sign] = (made[0], made[1])
    one, many = words.units["s"]
    names["s²"] = (words.squared.format(one.lower() if base == "de" else one),) * 2
    return names


def _prefixed(prefix: str, name: str, base: str) -> str:
    if base == "es" and name.startswith("metro"):
        accented = {
            "nano": "nanó",
            "micro": "micró",
            "mili": "milí",
            "centi": "centí",
            "deci": "decí",
            "kilo": "kiló",
        }
        return accented.get(prefix, prefix) + name
    return prefix + (name.lower() if base == "de" else name)


@cache
def _rules(base: str) -> list[tuple[re.Pattern[str], Callable[[re.Match[str]], str]]]:
    words, names = MEASURE_WORDS[base], _names(base)
    units = _alternatives(names)
    below = _alternatives(each for each in _DENOMINATORS if each in names)
    alone = _alternatives(
        each for each in (*_ALONE, *(_ALONE_ABROAD if base != "en" else ())) if each in names
    )
    codes = _alternatives(words.money)
    before = _alternatives(sign for sign in words.money if sign not in ("kr", "zł", "ILS"))
    many_degrees, one_degree = (each.split() for each in words.degrees)

    def amount(number: str, pair: tuple[str, str], feminine: bool) -> str:
        if number != "1":
            return f"{number} {pair[1]}"
        return f"{words.one[feminine]} {pair[0]}"

    def quotient(found: re.Match[str]) -> str:
        said = amount(found[1], names[found[2]], found[2] in words.feminine)
        return f"{said} {words.per} {names[found[3]][0]}"

    def unit(found: re.Match[str]) -> str:
        return amount(found[1], names[found[2]], found[2] in words.feminine)

    def money(found: re.Match[str]) -> str:
        number, code = (found[2], found[1]) if found[1] else (found[3], found[4])
        pair = words.money[code]
        said = amount(number, pair, _FEMININE_MONEY.search(pair[0]) is not None)
        return (
            f"{said}."
            if code.endswith(".") and found[3] and _NEXT_SENTENCE.match(found.string, found.end())
            else said
        )

    def angle(found: re.Match[str]) -> str:
        said = []
        for number, many, one in zip(found.groups()[:3], many_degrees, one_degree, strict=True):
            if number:
                said.append(f"{number} {one if number == '1' else many}")
        point = words.points.get(found[4] or "", "")
        return " ".join([*said, point]).strip()

    def moment(found: re.Match[str]) -> str:
        zone = found[4] or ""
        ahead = re.fullmatch(r"([+-])0?(\d{1,2}):?(\d\d)", zone)
        said = found[1] + ", " + found[2] + (found[3] if (found[3] or ":00") != ":00" else "")
        if zone == "Z" or (ahead and ahead[2] == "0"):
            return f"{said} U-T-C"
        if ahead:
            sign = words.minus if ahead[1] == "-" else words.plus
            return f"{said} U-T-C {sign} {ahead[2]}{'' if ahead[3] == '00' else ' ' + ahead[3]}"
        return said

    def clock(found: re.Match[str]) -> str:
        hours, minutes, seconds = (each.lstrip("0") or "0" for each in found.groups()[:3])
        if found[5]:
            return f"{hours} Uhr {minutes} und {amount(seconds + (found[4] or ''), names['s'], True)}"
        return " ".join(
            amount(number, names[symbol], symbol in words.feminine)
            for number, symbol in ((hours, "h"), (minutes, "min"), (seconds + (found[4] or ""), "s"))
        )

    def ratio(found: re.Match[str]) -> str:
        sides = found[0].split(":")
        if len(sides) == 2 and len(sides[1]) == 2 and int(sides[0]) < 25 and int(sides[1]) < 60:
            return found[0]  # a time
        if len(sides) == 3 and all(len(side) == 2 for side in sides[1:]):
            return found[0]  # with seconds
        return f" {words.against} ".join(sides)

    def power(found: re.Match[str]) -> str:
        exponent = found[2].translate(_SUPERSCRIPTS).lstrip("+")
        exponent = f"{words.minus} {exponent[1:]}" if exponent[:1] in "-−" else exponent
        return f"{found[1]} {words.to_the_power} {exponent}"

    def scientific(found: re.Match[str]) -> str:
        exponent = found[2].lstrip("+")
        exponent = f"{words.minus} {exponent[1:]}" if exponent[:1] in "-−" else exponent
        return f"{found[1]} {words.times} 10 {words.to_the_power} {exponent}"

    return [
        (re.compile(r"\b([kKMG]bps)\b"), lambda found: _RATES[found[1]]),
        # 5 km–10 km is 5 to 10 km.
        (
            re.compile(
                rf"(?<![\w.,])({_N})\s?(%|°[CF]?|[€$£¥]|{units})\s?{_DASH}\s?(?={_N}\s?\2(?!\w)(?!\s?=))"
            ),
            lambda found: f"{found[1]} {words.to} ",
        ),
        (re.compile(r"(?<![\w)])[-−](?=(?:US|A|C|HK)?[$€£¥]\s?\d)"), lambda _: f"{words.minus} "),
        (re.compile(rf"(?<!\w)({_N})\s?({units})/({below})(?!\w)"), quotient),
        (
            re.compile(rf"(?<!\w)([$€£]\s?{_N}|{_N}\s?[$€£])\s?/\s?({below}|[^\W\d_]{{3,12}})(?!\w)"),
            lambda found: f"{found[1]} {words.per} {names.get(found[2], (found[2],))[0]}",
        ),
        (re.compile(rf"(?<!\w)({_N})\s?({alone})(?!\w)"), unit),
        (
            re.compile(
                rf"(?<![\w$€£])(?:({before})\s?({_N}){_MILLIONS}(?![\w%]|\s?[€$£])|({_N})\s?({codes})(?![\w$]))"
            ),
            money,
        ),
        (
            re.compile(
                r"(?<![\w.,])(\d{1,3}(?:[.,]\d{1,8})?)°\s?(\d{1,2}(?:[.,]\d{1,6})?)['’′]\s?(?:(\d{1,2}(?:[.,]\d{1,6})?)"
                r"(?:[\"”″]|''|’’|′′)\s?)?(?:([NSEWO])(?!\w))?"
            ),
            angle,
        ),
        (
            re.compile(
                r"(?<!\d)(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d)(:\d\d)?(?:\.\d{1,9})?(Z|[+-]\d\d:?\d\d)?(?![\w:])"
            ),
            moment,
        ),
        (re.compile(r"(?<![\w:.,])(\d{1,2}):([0-5]\d):([0-5]\d)([.,]\d{1,3})?(?![\w:])(\s?Uhr\b)?"), clock),
        (re.compile(r"(?<![\w:.,])\d{1,4}(?::\d{1,4}){1,3}(?![\w:]|[.,]\d)"), ratio),
        (re.compile(rf"(?<![\w.,])({_N})[eE]([+-]?\d{{1,3}})(?!\w)"), scientific),
        (re.compile(r"(\d|\b[a-z])\^([-+−]\d{1,4})(?!\w)"), power),
        (re.compile(r"(\d)(?![²³](?![⁰¹²³⁴⁵⁶⁷⁸⁹]))([⁻⁺]?[⁰¹²³⁴⁵⁶⁷⁸⁹]{1,6})"), power),
        (re.compile(r"(\b[a-z])([⁻⁺]?[⁰¹⁴⁵⁶⁷⁸⁹]{1,6})"), power),
        (re.compile(r"(?<=\b[a-z])[₀-₉]{1,6}"), lambda found: " " + found[0].translate(_SUBSCRIPTS)),
        (re.compile(r"\s?±\s?(?=\d)"), lambda _: f" {words.plus_minus} "),
        (re.compile(r"√\s?(?=\w)"), lambda _: f"{words.root} "),
        (re.compile(r"∞"), lambda _: words.infinity),
        (re.compile(r"(?<=\d)\s?‰"), lambda _: f" {words.permille}"),
        (re.compile(r"(?<=\d)\s?·\s?(?=\d)"), lambda _: f" {words.times} "),
    ]


def _alternatives(symbols: Iterable[str]) -> str:
    return "|".join(re.escape(each) for each in sorted(symbols, key=len, reverse=True))
