"""Codes of the codec as tokens of a language model: which id is which code, and how to add them.

Nothing here knows of audio. A code is an integer from 0 to ``codebook_size - 1``; a token id is a row of the
language model's embedding table.
"""

from neucodec_tts.tokens.scheme import SCHEMES, TokenScheme
from neucodec_tts.tokens.vocabulary import SpeechVocabulary

__all__ = ["SCHEMES", "SpeechVocabulary", "TokenScheme"]
