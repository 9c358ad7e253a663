"""Spanish: words for written forms, and rules of its own."""

from __future__ import annotations

import re

from neucodec_tts.text.languages.language import (
    ABBREVIATED,
    ROMAN,
    Language,
    cardinal,
    days_first,
    roman,
    table,
)

_MONTHS = table(
    "ene=enero; feb=febrero; mar=marzo; abr=abril; may=mayo; jun=junio; jul=julio; ago=agosto; sept=septiembre; "
    "sep=septiembre; oct=octubre; nov=noviembre; dic=diciembre"
)
_MONTHS |= {month: month for month in _MONTHS.values()}
_ORDINALS = (
    *("primer", "segund", "tercer", "cuart", "quint"),
    *("sext", "séptim", "octav", "noven", "décim"),
)
_NOT_FEMININE = r"(?!\w*(?:días|mapas|gramas|blemas|temas|climas|planetas|cometas)\b)"
_FEMININE = rf"{_NOT_FEMININE}(?:\w+as|veces|mujeres|noches|calles)\b"


def _date(found: re.Match[str]) -> str:
    year = f" de {found[3]}" if found[3] else ""
    return f"{cardinal(found[1], 'es')} de {_MONTHS[found[2]]}{year}"


_NO_NOUN = "aquí|allí|de|del|y|o|a|al|en|para|por|con|sin|que|pero|es|son|más|menos|e|u"


def _half(found: re.Match[str]) -> str:
    noun = found[2]
    if found[1] == "1" and noun.endswith("s") and re.fullmatch(r"\w+[aeo]s", noun):
        noun = noun[:-1]
    half = "media" if re.fullmatch(rf"{_NOT_FEMININE}\w+as?", noun) else "medio"
    count = found[1] if found[1] != "1" else ("una" if half == "media" else "un")
    return f"{count} {noun} y {half}" if found[1] else f"{half} {noun}"


def _ruler(found: re.Match[str]) -> str:
    name, number = found[1] or found[3], roman(found[2] or found[4])
    if number > len(_ORDINALS):
        return f"{name} {number}"
    feminine = name.endswith("a") or name in ("Isabel", "Beatriz")
    return f"{name} {_ORDINALS[number - 1]}{'a' if feminine else 'o'}"


_NUMBER_WORDS = "dos|tres|seis|menos|más|es|entonces|pues"
_NUMBERS = (
    r"(?: (?:mil|millones|y|\w*(?:cient[oa]s|nta|inte|iec\w+|iún|uno?|dos|tres|cuatro|cinco|seis|siete|ocho"
    r"|nueve|diez)))*"
)
SPANISH = Language(
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
                rf"(?<![\d/.,-])\b(1?\d|2\d|3[01])(?: de)? ({'|'.join(_MONTHS)})\b{ABBREVIATED}"
                r"(?:(?: del?)? (\d{4})\b)?"
            ),
            _date,
        ),
        (re.compile(r"(?<=siglo )[IVX]+\b"), lambda found: str(roman(found[0]))),
        (re.compile(r"(?<=capítulo )[IVX]+\b|(?<=tomo )[IVX]+\b"), lambda found: str(roman(found[0]))),
        (re.compile(rf"\b(\w*[a-zà-ÿ]) ({ROMAN})|\b([A-ZÁÉÍÓÚ]\w*[a-zà-ÿ]) (I)\b(?![+&-])"), _ruler),
        (re.compile(r"(?<=\d) ?TB\b"), " terabytes"),
        (re.compile(r"\b(\d{4})/(\d\d)/(\d\d)\b"), r"\1-\2-\3"),
        (re.compile(r"\b(\d\d?)/(\d\d?)/(\d{4})\b"), days_first("{0}/{1}/{2}")),
        (re.compile(r"(?<![\d.])(\d\d?)\.(\d\d)(?= ?h\b)"), r"\1:\2"),
        (re.compile(r"\b(\d\d?)h(\d\d)\b"), r"\1:\2"),
        (re.compile(r"(\d:\d\d) ?(?:h|hs|hrs)\b"), r"\1"),
        (re.compile(r"\b24:00\b"), "24 horas"),
        (re.compile(r"(?<=\d)x(?= )"), " veces"),
        (re.compile(r"\b(los|años) ([2-9]0)s\b"), r"\1 \2"),
        (re.compile(r"(?<=\d)\.er\b"), "er"),
        (re.compile(r"(?<![\d/.,])1/2(?![\d/.,])"), "½"),
        (re.compile(rf"(?:(?<!\d)(\d{{1,4}}) ?)?½ (?!(?:{_NO_NOUN})\b)([^\W\d_]+)"), _half),
    ),
    after=(
        (
            re.compile(rf"(?<=ient)os(?={_NUMBERS} {_FEMININE})"),
            "as",
        ),
        (re.compile(rf"\bveinti(?:uno|ún)(?= {_FEMININE})"), "veintiuna"),
        (re.compile(rf"(?<= y )uno?(?= {_FEMININE})"), "una"),
        (re.compile(rf"(?<= y )uno(?= (?!(?:{_NUMBER_WORDS})\b)[a-zà-ÿ]+s\b)"), "un"),
        (re.compile(rf"\bveintiuno(?= (?!(?:{_NUMBER_WORDS})\b)[a-zà-ÿ]+s\b)"), "veintiún"),
        (re.compile(r"\bvveinti"), "veinti"),
        (
            re.compile(
                r"\b(primer|segund|tercer|cuart|quint)o"
                r"(?= (?:Guerra|República|Cumbre|Edición|Feria|Conferencia|Semana)\b)"
            ),
            r"\1a",
        ),
    ),
)
