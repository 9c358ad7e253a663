"""English: words for written forms, and rules of its own."""

from __future__ import annotations

import re

from neucodec_tts.text.languages.language import (
    ROMAN,
    Language,
    ordinal,
    roman,
)

_MONTHS = (
    r"(?:Jan(?:uary|\.)?|Feb(?:ruary|\.)?|Mar(?:ch|\.)?|Apr(?:il|\.)?|May|June?|July?|Aug(?:ust|\.)?"
    r"|Sept?(?:ember|\.)?|Oct(?:ober|\.)?|Nov(?:ember|\.)?|Dec(?:ember|\.)?)"
)
_DECADES = dict(
    zip("23456789", "twenties thirties forties fifties sixties seventies eighties nineties".split())  # noqa: B905, SIM905
)
ENGLISH = Language(
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
        (re.compile(rf"\b({_MONTHS}) (\d\d?) to (?=\d\d?\b)"), r"\1 \2 to \1 "),
        (re.compile(r"(?<=\d )(BCE?|CE|AD)\b|\bAD(?= \d)"), lambda found: "-".join(found[0])),
        (re.compile(r"([$€£])(\d[\d.,]*) ?[mM]\b"), r"\1\2 million"),
        (re.compile(r"([$€£])(\d[\d.,]*) ?(?:bn|b|B)\b"), r"\1\2 billion"),
        (re.compile(r"([$€£])(\d[\d.,]*) ?[kK]\b"), r"\1\2 thousand"),
        (
            re.compile(
                rf"\b((?:King|Queen|Pope|Emperor|Empress|Tsar) [A-Z][a-z]+) (I\b|{ROMAN})(?:\.(?=\s+[a-z]))?"
            ),
            lambda found: f"{found[1]} the {ordinal(roman(found[2]), 'en')}",
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
                rf"|Season|Grade|Mark|Model|Unit|Table|Figure|Fantasy|Mach|Rocky) ({ROMAN})"
            ),
            lambda found: f"{found[1]} {roman(found[2])}",
        ),
        (re.compile(r"(?<=\d)((?:st|nd|rd|th))\s?[-–]\s?(?=\d{1,4}(?:st|nd|rd|th)\b)"), r"\1 to "),
        (re.compile(r"\b(\d)/(\d{1,2})(?:rds|ths|nds)\b"), r"\1/\2"),
        (re.compile(r"\b(\d\d?)-(\d\d?)-(\d{4})\b"), r"\1/\2/\3"),
        (
            re.compile(r"\b(\d{3}0s)\s?[-–]\s?['’]?([2-9])0s\b"),
            lambda found: f"{found[1]} to {_DECADES[found[2]]}",
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
