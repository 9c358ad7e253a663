"""German: words for written forms, and rules of its own."""

from __future__ import annotations

import re

from neucodec_tts.text.languages.language import (
    ROMAN,
    Language,
    days_first,
    roman,
    stop,
)

_TENS = dict(
    zip("23456789", "zwanzig dreißig vierzig fünfzig sechzig siebzig achtzig neunzig".split(), strict=True)  # noqa: SIM905
)


def _year(found: re.Match[str]) -> str:
    from spokenform.number_words import year

    return str(year(int(found[0]), "de"))


_MONTHS = (
    "Januar Februar März April Mai Juni Juli August September Oktober November Dezember".split()  # noqa: SIM905
)
_ORDINAL = (
    r"(?:(?:\w{3,6}und)?(?:zwanzig|dreißig)st|(?:drei|vier|fünf|sech|sieb|acht|neun)?zehnt"
    r"|erst|zweit|dritt|viert|fünft|sechst|siebt|siebent|acht|neunt|elft|zwölft)e"
)
GERMAN = Language(
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
        (re.compile(r"\b(\d\d?)/(\d\d?)/(\d{4})\b"), days_first("{0}.{1}.{2}")),
        (re.compile(r"(?<![\d.])(\d\d?)\.(\d\d)(?=(?:\s?(?:bis|[-–])\s?\d\d?\.\d\d)?\s?Uhr\b)"), r"\1:\2"),
        (re.compile(r"\b24:00\b(?: ?Uhr)?"), "24 Uhr"),
        (re.compile(r"(?<![\d/.,])1 ?(?:½|1/2(?![\d/]))"), "eineinhalb"),
        (re.compile(r"(?<=\d)x(?= )"), " mal"),
        (re.compile(r"(?<=\d)[,.][-–—](?=\s?€)"), ""),
        (re.compile(r"(?<=\d )(ff?)\.(?=\W*$|\s+[a-zäöü(])"), lambda found: "und folgende" + stop(found)),
        (re.compile(r"(?<=Absatz \d )S\. (?=\d)"), "Satz "),
        (
            re.compile(
                rf"\b(Teil|Band|Kapitel|Akt|Buch|Phase|Typ|Stufe|Klasse|Szene|Kategorie|Abschnitt|Artikel) ({ROMAN})"
            ),
            lambda found: f"{found[1]} {roman(found[2])}",
        ),
        (
            re.compile(r"(?<![\d.])(\d\d?)\.(0?[1-9]|1[0-2])\.(?!\s?\d)(?=(\W*$)?)"),
            lambda found: f"{found[1]}. {_MONTHS[int(found[2]) - 1]}{'.' if found[3] is not None else ''}",
        ),
        (re.compile(r"\b(\d\d?)\.\s?[-–]\s?(?=\d\d?\.)"), r"\1. bis "),
        (re.compile(r"(?<![\d/.,])1/2(?![\d/.,])"), "½"),
        (re.compile(r"\b19([2-9])0er\b"), lambda found: f"neunzehnhundert{_TENS[found[1]]}er"),
        (re.compile(r"\b([2-9])0er\b"), lambda found: f"{_TENS[found[1]]}er"),
        (
            re.compile(
                r"(?<![\w.,:/+€$£-])(?<![€$£] )(?<!Nr\. )(?<!Nummer )1[1-9]\d\d"
                r"(?![\d/:-]|[.,]\d)(?! ?(?:[A-ZÄÖÜ€$£%°]|(?:[cmk]?[mgl]|kWh|km/h|ha|t)\b))"
            ),
            _year,
        ),
    ),
    after=(
        (re.compile(r"\beins (?=[A-ZÄÖÜ]\w*tel\b)"), "ein "),
        (re.compile(r"\beins (?=(?:Stunde|Minute|Sekunde|Tonne|Meile|Unze|Kalorie)\b)"), "eine "),
        (
            re.compile(rf"\b([Aa]m|[Vv]om|[Zz]um|[Bb]eim|[Ii]m|[Dd]em|[Dd]en) ({_ORDINAL})r\b"),
            r"\1 \2n",
        ),
        (
            re.compile(rf"\b((?i:in|aus|mit|bei|von|nach|seit|zu|an|auf|vor) der) ({_ORDINAL})r?\b"),
            r"\1 \2n",
        ),
        (
            re.compile(rf"\b([Dd]ie|[Dd]er|[Dd]as)((?: {_ORDINAL} und)?) ({_ORDINAL})r\b"),
            r"\1\2 \3",
        ),
        (re.compile(r"(\b(?:der|die|dem|den|des) [A-ZÄÖÜ]\w+te[nrs]?)\.(?=\s[a-zäöü])"), r"\1"),
    ),
)
