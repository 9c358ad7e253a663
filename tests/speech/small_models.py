"""A small random language model with NeuTTS' tokens, ready to speak nonsense through the built-in codec."""

from __future__ import annotations

from pathlib import Path

import torch

from neucodec_tts import NeuCodec, SpeechVocabulary, TextToSpeech
from neucodec_tts.prompts import NeuTTSFormat, SpeechConfig
from neucodec_tts.speech import Sampling, SpeechTokens
from neucodec_tts_transformers import TransformersEngine
from tests.tokens.small_tokenizers import qwen_like, tiny_qwen


def small_engine(codes: int = 256, seed: int = 0, tied: bool = False) -> TransformersEngine:
    """A random Qwen2 whose ids 0 to 99 are text, 100 the stop, and 101 onwards codes; it speaks no words at all."""
    torch.manual_seed(seed)
    model = tiny_qwen(101 + codes + 7, tied=tied)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, 0.3)  # as initialised, all logits are almost equal
    return TransformersEngine(model, SpeechTokens(SpeechVocabulary(range(101, 101 + codes)), (100,)))


def small_tts(codec: NeuCodec, sampling: Sampling | None = None) -> TextToSpeech:
    """A `TextToSpeech` around a random model that never stops by itself, or almost never."""
    tokenizer = qwen_like()
    vocabulary = SpeechVocabulary.extend(tokenizer, None, codebook_size=codec.codebook_size)
    prompt_format = NeuTTSFormat(tokenizer, vocabulary, None)
    torch.manual_seed(0)
    model = tiny_qwen(vocabulary.required_rows)
    engine = TransformersEngine(model, SpeechTokens(vocabulary, prompt_format.stop_ids))
    return TextToSpeech(
        engine, codec, prompt_format, vocabulary, context_length=2048, sampling=sampling, watermark=False
    )


def save_model(folder: Path, codec: NeuCodec) -> Path:
    """A model folder as `extend-vocab` writes it, with NeuTTS-2E's prompts, so that espeak-ng is not needed."""
    tokenizer = qwen_like()
    torch.manual_seed(0)
    model = tiny_qwen(len(tokenizer))
    vocabulary = SpeechVocabulary.extend(tokenizer, model, codebook_size=codec.codebook_size, init="random")
    model.save_pretrained(folder)
    vocabulary.save_tokenizer(tokenizer, folder, "vocab")
    SpeechConfig(
        "neutts-text",
        codec="tiny",
        codec_id=codec.codec_id,
        codebook_size=codec.codebook_size,
        sampling={"max_frames": 40},
    ).save(folder)
    return folder
