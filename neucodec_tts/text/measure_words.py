"""Words for quantities, in the languages that have rules: units, currencies, signs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


def _pairs(listed: str) -> dict[str, tuple[str, str]]:
    """Return the symbols and names, one and many, of ``"m meter meters; ..."``; ``_`` is a space."""
    found = {}
    for entry in listed.split("; "):
        symbol, *names = entry.split()
        one, many = names if len(names) == 2 else (names[0], names[0])
        found[symbol] = (one.replace("_", " "), many.replace("_", " "))
    return found


@dataclass(frozen=True)
class MeasureWords:
    """Words of one language.

    Attributes:
        units: names of units by symbol, one and many.
        prefixes: names of the prefixes of SI.
        power: of a unit of length, 2 and 3, with the name in it.
        squared: of a unit of time.
        one: "one" before a unit, and before those in `feminine`.
        feminine: symbols of units.
        per: between a unit and the one below it.
        to: between the ends of a range.
        against: between the sides of a ratio.
        plus_minus, times, root, infinity, permille, to_the_power, plus, minus: signs.
        degrees: degrees, minutes and seconds of an angle, many and one.
        points: of the compass, by letter.
        money: names of currencies by code and sign, one and many.
    """

    units: Mapping[str, tuple[str, str]]
    prefixes: Mapping[str, str]
    power: Mapping[int, str]
    squared: str
    one: tuple[str, str]
    feminine: frozenset[str]
    per: str
    to: str
    against: str
    plus_minus: str
    times: str
    root: str
    infinity: str
    permille: str
    to_the_power: str
    plus: str
    minus: str
    degrees: tuple[str, str]
    points: Mapping[str, str]
    money: Mapping[str, tuple[str, str]]


_SI = "n µ m c d h k M G T".split()  # noqa: SIM905
MEASURE_WORDS = {
    "en": MeasureWords(
        units=_pairs(
            "m meter meters; g gram grams; l liter liters; L liter liters; bit bit bits; B byte bytes; W watt "
            "watts; Wh watt-hour watt-hours; Pa pascal pascals; Hz hertz; cal calorie calories; J joule "
            "joules; N newton newtons; Ω ohm ohms; F farad farads; V volt volts; A ampere amperes; mol mole "
            "moles; s second seconds; min minute minutes; h hour hours; t tonne tonnes; ha hectare hectares; "
            "dB decibel decibels; K kelvin kelvins; rpm revolution_per_minute revolutions_per_minute; fps "
            "frame_per_second frames_per_second; ft foot feet; in inch inches; yd yard yards; mi mile miles; "
            "oz ounce ounces; lb pound pounds; px pixel pixels; pcs piece pieces; hrs hours; hr hour; mins "
            "minutes; secs seconds; yrs years; yr year; wks weeks; mos months"
        ),
        prefixes=dict(zip(_SI, "nano micro milli centi deci hecto kilo mega giga tera".split(), strict=True)),  # noqa: SIM905
        power={2: "square {}", 3: "cubic {}"},
        squared="{} squared",
        one=("one", "one"),
        feminine=frozenset(),
        per="per",
        to="to",
        against="to",
        plus_minus="plus or minus",
        times="times",
        root="the square root of",
        infinity="infinity",
        permille="per mille",
        to_the_power="to the power of",
        plus="plus",
        minus="minus",
        degrees=("degrees minutes seconds", "degree minute second"),
        points={"N": "north", "S": "south", "E": "east", "W": "west", "O": "east"},
        money=_pairs(
            "CAD Canadian_dollar Canadian_dollars; AUD Australian_dollar Australian_dollars; NZD "
            "New_Zealand_dollar New_Zealand_dollars; HKD Hong_Kong_dollar Hong_Kong_dollars; SEK "
            "Swedish_krona Swedish_kronor; NOK Norwegian_krone Norwegian_kroner; DKK Danish_krone "
            "Danish_kroner; PLN zloty; CZK Czech_koruna Czech_korunas; HUF forint forints; RUB ruble rubles; "
            "BRL real reais; CNY yuan; ZAR rand; ILS shekel shekels; UAH hryvnia; BTC bitcoin bitcoins; ₽ "
            "ruble rubles; ₺ lira; ₪ shekel shekels; ฿ baht; ₴ hryvnia; zł zloty; kr krona kronor; R$ real "
            "reais; A$ Australian_dollar Australian_dollars; C$ Canadian_dollar Canadian_dollars; US$ "
            "U-S_dollar U-S_dollars; HK$ Hong_Kong_dollar Hong_Kong_dollars; Fr. franc francs"
        ),
    ),
    "de": MeasureWords(
        units=_pairs(
            "m Meter; g Gramm; l Liter; L Liter; bit Bit; B Byte; W Watt; Wh Wattstunde Wattstunden; Pa "
            "Pascal; Hz Hertz; cal Kalorie Kalorien; J Joule; N Newton; Ω Ohm; F Farad; V Volt; A Ampere; mol "
            "Mol; s Sekunde Sekunden; min Minute Minuten; h Stunde Stunden; t Tonne Tonnen; ha Hektar; dB "
            "Dezibel; K Kelvin; rpm Umdrehung_pro_Minute Umdrehungen_pro_Minute; fps Bild_pro_Sekunde "
            "Bilder_pro_Sekunde; ft Fuß; in Zoll; yd Yard Yards; mi Meile Meilen; oz Unze Unzen; lb Pfund; px "
            "Pixel"
        ),
        prefixes=dict(zip(_SI, "Nano Mikro Milli Zenti Dezi Hekto Kilo Mega Giga Tera".split(), strict=True)),  # noqa: SIM905
        power={2: "Quadrat{}", 3: "Kubik{}"},
        squared="Quadrat{}",
        one=("ein", "eine"),
        feminine=frozenset("Wh cal s min h t mi oz rpm".split()),  # noqa: SIM905
        per="pro",
        to="bis",
        against="zu",
        plus_minus="plus minus",
        times="mal",
        root="Wurzel aus",
        infinity="unendlich",
        permille="Promille",
        to_the_power="hoch",
        plus="plus",
        minus="minus",
        degrees=("Grad Minuten Sekunden", "Grad Minute Sekunde"),
        points={"N": "Nord", "S": "Süd", "E": "Ost", "O": "Ost", "W": "West"},
        money=_pairs(
            "CAD kanadischer_Dollar kanadische_Dollar; AUD australischer_Dollar australische_Dollar; NZD "
            "Neuseeland-Dollar; HKD Hongkong-Dollar; SEK schwedische_Krone schwedische_Kronen; NOK "
            "norwegische_Krone norwegische_Kronen; DKK dänische_Krone dänische_Kronen; PLN Zloty; CZK "
            "tschechische_Krone tschechische_Kronen; HUF Forint; RUB Rubel; BRL Real Reais; CNY Yuan; ZAR "
            "Rand; ILS Schekel; UAH Hrywnja; BTC Bitcoin; JPY Yen; INR indische_Rupie indische_Rupien; MXN "
            "mexikanischer_Peso mexikanische_Pesos; KRW Won; ₽ Rubel; ₺ Lira; ₪ Schekel; ฿ Baht; ₴ Hrywnja; ₩ "
            "Won; ¥ Yen; ₹ Rupie Rupien; zł Zloty; kr Krone Kronen; R$ Real Reais; A$ australischer_Dollar "
            "australische_Dollar; C$ kanadischer_Dollar kanadische_Dollar; US$ U-S-Dollar; HK$ "
            "Hongkong-Dollar; Fr. Franken; SFr. Franken"
        ),
    ),
    "fr": MeasureWords(
        units=_pairs(
            "m mètre mètres; g gramme grammes; l litre litres; L litre litres; bit bit bits; B octet octets; "
            "o octet octets; W watt watts; Wh watt-heure watt-heures; Pa pascal pascals; Hz hertz; cal "
            "calorie calories; J joule joules; N newton newtons; Ω ohm ohms; F farad farads; V volt volts; A "
            "ampère ampères; mol mole moles; s seconde secondes; min minute minutes; h heure heures; t tonne "
            "tonnes; ha hectare hectares; dB décibel décibels; K kelvin kelvins; rpm tour_par_minute "
            "tours_par_minute; fps image_par_seconde images_par_seconde; ft pied pieds; in pouce pouces; yd "
            "yard yards; oz once onces; lb livre livres; px pixel pixels; cts centimes; ct centime"
        ),
        prefixes=dict(zip(_SI, "nano micro milli centi déci hecto kilo méga giga téra".split(), strict=True)),  # noqa: SIM905
        power={2: "{} carré", 3: "{} cube"},
        squared="{} carrée",
        one=("un", "une"),
        feminine=frozenset("Wh cal mol s min h t oz lb fps".split()),  # noqa: SIM905
        per="par",
        to="à",
        against="à",
        plus_minus="plus ou moins",
        times="fois",
        root="racine carrée de",
        infinity="l'infini",
        permille="pour mille",
        to_the_power="puissance",
        plus="plus",
        minus="moins",
        degrees=("degrés minutes secondes", "degré minute seconde"),
        points={"N": "nord", "S": "sud", "E": "est", "O": "ouest", "W": "ouest"},
        money=_pairs(
            "CAD dollar_canadien dollars_canadiens; AUD dollar_australien dollars_australiens; NZD "
            "dollar_néo-zélandais dollars_néo-zélandais; HKD dollar_de_Hong_Kong dollars_de_Hong_Kong; SEK "
            "couronne_suédoise couronnes_suédoises; NOK couronne_norvégienne couronnes_norvégiennes; DKK "
            "couronne_danoise couronnes_danoises; PLN zloty zlotys; CZK couronne_tchèque couronnes_tchèques; "
            "HUF forint forints; RUB rouble roubles; BRL réal réals; CNY yuan yuans; ZAR rand rands; ILS "
            "shekel shekels; UAH hryvnia hryvnias; BTC bitcoin bitcoins; ₽ rouble roubles; ₺ livre livres; ₪ "
            "shekel shekels; ฿ baht bahts; ₴ hryvnia hryvnias; zł zloty zlotys; kr couronne couronnes; R$ "
            "réal réals; A$ dollar_australien dollars_australiens; C$ dollar_canadien dollars_canadiens; US$ "
            "dollar_américain dollars_américains; HK$ dollar_de_Hong_Kong dollars_de_Hong_Kong; Fr. franc "
            "francs"
        ),
    ),
    "es": MeasureWords(
        units=_pairs(
            "m metro metros; g gramo gramos; l litro litros; L litro litros; bit bit bits; B byte bytes; W "
            "vatio vatios; Wh vatio_hora vatios_hora; Pa pascal pascales; Hz hercio hercios; cal caloría "
            "calorías; J julio julios; N newton newtons; Ω ohmio ohmios; F faradio faradios; V voltio "
            "voltios; A amperio amperios; mol mol moles; s segundo segundos; min minuto minutos; h hora "
            "horas; t tonelada toneladas; ha hectárea hectáreas; dB decibelio decibelios; K kelvin; rpm "
            "revolución_por_minuto revoluciones_por_minuto; fps fotograma_por_segundo fotogramas_por_segundo; "
            "ft pie pies; in pulgada pulgadas; yd yarda yardas; mi milla millas; oz onza onzas; lb libra "
            "libras; px píxel píxeles"
        ),
        prefixes=dict(zip(_SI, "nano micro mili centi deci hecto kilo mega giga tera".split(), strict=True)),  # noqa: SIM905
        power={2: "{} cuadrado", 3: "{} cúbico"},
        squared="{} al cuadrado",
        one=("un", "una"),
        feminine=frozenset("cal h t ha rpm in yd mi oz lb".split()),  # noqa: SIM905
        per="por",
        to="a",
        against="a",
        plus_minus="más menos",
        times="por",
        root="raíz cuadrada de",
        infinity="infinito",
        permille="por mil",
        to_the_power="elevado a",
        plus="más",
        minus="menos",
        degrees=("grados minutos segundos", "grado minuto segundo"),
        points={"N": "norte", "S": "sur", "E": "este", "O": "oeste", "W": "oeste"},
        money=_pairs(
            "CAD dólar_canadiense dólares_canadienses; AUD dólar_australiano dólares_australianos; NZD "
            "dólar_neozelandés dólares_neozelandeses; HKD dólar_de_Hong_Kong dólares_de_Hong_Kong; SEK "
            "corona_sueca coronas_suecas; NOK corona_noruega coronas_noruegas; DKK corona_danesa "
            "coronas_danesas; PLN esloti eslotis; CZK corona_checa coronas_checas; HUF forinto forintos; RUB "
            "rublo rublos; BRL real reales; CNY yuan yuanes; ZAR rand; ILS séquel séqueles; UAH grivna "
            "grivnas; BTC bitcoin bitcoins; CHF franco_suizo francos_suizos; JPY yen yenes; INR rupia_india "
            "rupias_indias; ₽ rublo rublos; ₺ lira liras; ₪ séquel séqueles; ฿ baht; ₴ grivna grivnas; ¥ yen "
            "yenes; ₹ rupia rupias; zł esloti eslotis; kr corona coronas; R$ real reales; A$ "
            "dólar_australiano dólares_australianos; C$ dólar_canadiense dólares_canadienses; US$ "
            "dólar_estadounidense dólares_estadounidenses; HK$ dólar_de_Hong_Kong dólares_de_Hong_Kong; S/ "
            "sol soles; Fr. franco francos"
        ),
    ),
}
