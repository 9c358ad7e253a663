"""The languages whose written forms are put into words."""

from neucodec_tts.text.languages.english import ENGLISH
from neucodec_tts.text.languages.french import FRENCH
from neucodec_tts.text.languages.german import GERMAN
from neucodec_tts.text.languages.spanish import SPANISH

LANGUAGES = {"en": ENGLISH, "de": GERMAN, "fr": FRENCH, "es": SPANISH}
"""By the code of ISO 639-1."""
