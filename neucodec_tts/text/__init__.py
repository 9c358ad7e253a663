"""Texts before they become prompts: checked, cleaned and reduced to what a person would read aloud."""

from neucodec_tts.text.checks import check_text, has_speech, speakable

__all__ = ["check_text", "has_speech", "speakable"]
