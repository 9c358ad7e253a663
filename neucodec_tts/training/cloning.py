"""Examples from which a model learns to clone voices."""

from __future__ import annotations

from typing import TYPE_CHECKING

from neucodec_tts.prompts.formats import IGNORED, TrainingExample

if TYPE_CHECKING:
    from neucodec_tts.codec.codes import Codes
    from neucodec_tts.prompts.formats import PromptFormat, Voice


def cloning_example(prompt_format: PromptFormat, voice: Voice, text: str, codes: Codes) -> TrainingExample:
    """Return the example by which a model learns to speak `text` as `codes` after the recording of `voice`.

    It is the prompt of inference, then the speech and its end. The speech of the recording is learnt as well.

    Args:
        prompt_format: of the model.
        voice: another utterance of the same speaker, with its text.
        text: the words.
        codes: their speech, integers (frames,).

    Raises:
        PromptError: there is nothing to say in a text, or there are no codes.
        CodesError: a code is not of the model's codebook.
    """
    prompt = prompt_format.prompt_ids(text, voice)
    speech = _speech_ids(prompt_format, text, codes)
    heard = _speech_ids(prompt_format, voice.text, voice.codes)
    *frames, stop = heard
    at = next(at for at in range(len(prompt)) if prompt[at : at + len(frames)] == frames)
    if prompt[at : at + len(heard)] == heard:  # the voice's own end, in formats that have it
        frames.append(stop)
    labels = [*[IGNORED] * at, *frames, *[IGNORED] * (len(prompt) - at - len(frames))]
    return TrainingExample([*prompt, *speech], [*labels, *speech])


def _speech_ids(prompt_format: PromptFormat, text: str, codes: Codes) -> list[int]:
    """Token ids of codes and the stop, without a start token, which some formats learn, too."""
    labels = prompt_format.training_example(text, codes).labels
    return [label for label in labels if label != IGNORED][-(len(codes) + 1) :]
