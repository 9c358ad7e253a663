"""Whose voice: a speaker prompt, the name of one in a library, or its file."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from neucodec_tts.errors import PromptError

if TYPE_CHECKING:
    from neucodec_tts.codec.model import NeuCodec
    from neucodec_tts.prompts import SpeakerPrompt, VoiceLibrary


def resolve_voice(
    voice: SpeakerPrompt | str | os.PathLike[str], library: VoiceLibrary | None, codec: NeuCodec
) -> SpeakerPrompt:
    """Return the voice that is meant, if its codes are of this codec.

    Args:
        voice: a voice, its file, or its name in the library.
        library: where names are looked up; the user's own by default.
        codec: decodes what the voice will say.

    Raises:
        PromptError: the voice is unknown, unreadable, or was made with another codec.
    """
    found = _find(voice, library)
    if found.codec_id is not None and found.codec_id != codec.codec_id:
        named = f"the voice {voice!r}" if isinstance(voice, (str, os.PathLike)) else "the voice"
        raise PromptError(
            f"{named} was made with the codec {found.codec_id!r}, and the model here speaks through "
            f"{codec.codec_id!r}; make it again from its recording with this codec (neucodec-tts voice)"
        )
    codec.check_codes(found.codes, "the voice")
    return found


def _find(voice: SpeakerPrompt | str | os.PathLike[str], library: VoiceLibrary | None) -> SpeakerPrompt:
    if not isinstance(voice, (str, os.PathLike)):
        return voice
    from neucodec_tts.prompts import VoiceLibrary

    return (library or VoiceLibrary()).find(voice)
