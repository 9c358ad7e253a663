"""Whose voice: a speaker prompt, the name of one in a library, or its file."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from neucodec_tts.errors import PromptError

if TYPE_CHECKING:
    from neucodec_tts.codec.neucodec import NeuCodec
    from neucodec_tts.voices import SpeakerPrompt, VoiceLibrary


def resolve_voice(
    voice: SpeakerPrompt | str | os.PathLike[str],
    library: VoiceLibrary | None,
    codec: NeuCodec,
    own: VoiceLibrary | None = None,
) -> SpeakerPrompt:
    """Return the voice that is meant, if its codes are of this codec.

    Args:
        voice: a voice, its file, or its name in the library.
        library: where names are looked up; the user's own by default.
        codec: decodes what the voice will say.
        own: voices that come with the model; the library's of the same name comes first.

    Raises:
        PromptError: the voice is unknown, unreadable, or was made with another codec.
    """
    found = find_voice(voice, library, own)
    if found.codec_id is not None and found.codec_id != codec.codec_id:
        named = f"the voice {voice!r}" if isinstance(voice, (str, os.PathLike)) else "the voice"
        raise PromptError(
            f"{named} was made with the codec {found.codec_id!r}, and the model here speaks through "
            f"{codec.codec_id!r}; make it again from its recording with this codec (neucodec-tts voice)"
        )
    codec.check_codes(found.codes, "the voice")
    return found


def find_voice(
    voice: SpeakerPrompt | str | os.PathLike[str],
    library: VoiceLibrary | None,
    own: VoiceLibrary | None = None,
) -> SpeakerPrompt:
    """Return the voice that is meant, whatever its codec.

    Raises:
        PromptError: it is unknown or unreadable.
    """
    if not isinstance(voice, (str, os.PathLike)):
        return voice
    from neucodec_tts.voices import VoiceLibrary

    library = library or VoiceLibrary()
    if own is not None and voice in own and voice not in library:
        library = own
    try:
        return library.find(voice)
    except PromptError as problem:
        if own is None or isinstance(voice, os.PathLike) or not own.names():
            raise
        raise PromptError(f"{problem}; the model itself brings {', '.join(own.names())}") from problem
