"""Examples from which a model learns to go on in the voice of a recording."""

from __future__ import annotations

from typing import TYPE_CHECKING

from neucodec_tts.prompts.formats import IGNORED, TrainingExample

if TYPE_CHECKING:
    from neucodec_tts.prompts.formats import Codes, PromptFormat, Voice


def cloning_example(prompt_format: PromptFormat, voice: Voice, text: str, codes: Codes) -> TrainingExample:
    """Return what a model learns with to speak `text` as `codes` after the recording of `voice`.

    It is the prompt with which it will be asked to, then the speech and its end. The speech of the recording is
    learnt as well: it is as good as any.

    Args:
        prompt_format: of the model.
        voice: another utterance of the same speaker, with its text.
        text: what is said.
        codes: how, integers (frames,).

    Raises:
        PromptError: there is nothing to say in a text, or there are no codes.
        CodesError: a code is not of the model's codebook.
    """
    prompt = prompt_format.prompt_ids(text, voice)
    before = len(prompt) - len(voice.codes)
    alone = prompt_format.training_example(text, codes)
    learnt = [label for label in alone.labels if label != IGNORED]
    speech = learnt[-(len(codes) + 1) :]  # without a start token, which some formats learn, too
    return TrainingExample([*prompt, *speech], [*[IGNORED] * before, *prompt[before:], *speech])
