"""French: words for written forms, and rules of its own."""

from __future__ import annotations

import re

from neucodec_tts.text.languages.language import (
    ABBREVIATED,
    ROMAN,
    Language,
    cardinal,
    days_first,
    ordinal,
    roman,
    table,
)

_MONTHS = table(
    "janv=janvier; févr=février; fév=février; avr=avril; juil=juillet; sept=septembre; oct=octobre; nov=novembre; "
    "déc=décembre; mars=mars; mai=mai; juin=juin; août=août"
)
_MONTHS |= {month: month for month in _MONTHS.values()}
_FEMININE = (
    r"(?:heure|minute|seconde|tonne|page|fois|semaine|année|personne|tasse|livre|cuillère|bouteille)s?\b"
)
_FEMININE_ONE = "heure|minute|année|semaine|tasse|cuillère|bouteille|page|tonne|livre"
_NO_NOUN = (
    "ici|là|de|des|du|et|ou|à|au|en|dans|pour|par|sur|sous|avec|sans|que|qui|mais|est|sont|plus|moins|y"
)
_OCTETS = {"k": "kilo", "K": "kilo", "M": "méga", "G": "giga", "T": "téra"}


def _date(found: re.Match[str]) -> str:
    day = "premier" if found[1] == "1er" else cardinal(found[1], "fr")
    return f"{day} {_MONTHS[found[2]]}"


FRENCH = Language(
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
        (re.compile(r"\b(\d\d?)/(\d\d?)/(\d{4})\b"), days_first("{0}/{1}/{2}")),
        (re.compile(r"(?<![\d.,])0[1-9]\d{8}\b"), lambda found: " ".join(re.findall("..", found[0]))),
        (re.compile(r"\b(\d\d?) ?h ?/ ?(\d\d?)\b"), r"\1 heures sur \2"),
        (re.compile(r"\b(\d) ?j ?/ ?(\d)\b"), r"\1 jours sur \2"),
        (re.compile(r"\b24:00\b"), "24 heures"),
        (re.compile(r"(?<=\d)x(?= )"), " fois"),
        (re.compile(r"(?<=\d)ᵉ(?!\w)"), "e"),
        (re.compile(r"(?<=\d)ᵉʳ(?!\w)"), "er"),
        (re.compile(rf"(?<![\d/.,])1 ?(?:½|1/2(?![\d/])) ({_FEMININE_ONE})s?\b"), r"une \1 et demie"),
        (re.compile(r"\b(S)(te?)-(?=[A-ZÀ-Þ])"), lambda found: "Saint-" if found[2] == "t" else "Sainte-"),
        (re.compile(rf"\b(1er|[12]?\d|3[01]) ({'|'.join(_MONTHS)})\b{ABBREVIATED}"), _date),
        (re.compile(r"\bI(er|re)\b"), lambda found: f"premi{'er' if found[1] == 'er' else 'ère'}"),
        (
            re.compile(r"\b(?:(?=[IVX])(X{0,3}(?:IX|IV|V?I{0,3}))|(\d{1,3}))(?:e|ème)\b"),
            lambda found: ordinal(roman(found[1]) if found[1] else int(found[2]), "fr"),
        ),
        (re.compile(rf"(?<=[a-zà-ÿ] ){ROMAN}"), lambda found: str(roman(found[0]))),
        (re.compile(r"(?<=\d) ?([kKMGT])o\b"), lambda found: f" {_OCTETS[found[1]]}octets"),
        (re.compile(r"\b(\d\d?) ?h ?(\d\d?) ?min\b"), r"\1 heures \2 minutes"),
        (re.compile(r"\b1 (heure)s? (?=\d)"), r"une \1 "),
        (re.compile(rf"(?<![\d,.] )\b1 (?={_FEMININE})"), "une "),
        (re.compile(r"(?<![\d/.,])1/2(?![\d/.,])"), "½"),
        (re.compile(rf"(\d) ?½ (?!(?:{_NO_NOUN})\b)([^\W\d_]+)"), r"\1 \2 et demie"),
        (re.compile(r"(?<=\d) ?½"), " et demi"),
        (re.compile(rf"½ (?={_FEMININE})"), "une demi-"),
    ),
)
