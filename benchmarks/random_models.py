"""Tokenizers and models of random weights, which cost what trained ones cost and need no download."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from neucodec_tts.speech import TextToSpeech
    from neucodec_tts.voices import SpeakerPrompt

BABBLE_FRAMES = 100
"""Length of what the model of random weights says, 2 s."""
BABBLE_LAYERS = 5
DEMO_VOICE = "demo"
"""The voice that the model of random weights brings: that of the demo recording."""
_DEMO_TEXT = (
    "All representatives of the household are currently assisting other telemarketers. Please hold and your call will "
    "be answered in the order it was received."
)
QWEN_TOKENS = 151_643
"""Of text, in the tokenizer of NeuTTS Air."""


def synthetic_tokenizer(tokens: int = QWEN_TOKENS) -> PreTrainedTokenizerBase:
    """Make a byte-level BPE tokenizer of a given size whose merges mean nothing; it takes any text.

    It costs what a real one of that size costs to load, and nothing need be downloaded.

    Args:
        tokens: at least the 256 bytes; at most their pairs and triples.
    """
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    # The characters that stand for bytes in byte-level BPE.
    printable = [
        *range(ord("!"), ord("~") + 1),
        *range(ord("¡"), ord("¬") + 1),
        *range(ord("®"), ord("ÿ") + 1),
    ]
    letters = [chr(code) for code in printable] + [
        chr(256 + number) for number in range(256 - len(printable))
    ]
    pairs = itertools.product(letters, letters)
    triples = ((first + second, third) for first, second, third in itertools.product(letters, repeat=3))
    merges = list(itertools.islice(itertools.chain(pairs, triples), max(0, tokens - len(letters))))
    vocabulary = {token: id for id, token in enumerate([*letters, *(left + right for left, right in merges)])}
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    content: dict[str, Any] = {
        "version": "1.0",
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": level,
        "post_processor": None,
        "decoder": level,
        "model": {"type": "BPE", "vocab": vocabulary, "merges": merges},
    }
    backend = Tokenizer.from_str(json.dumps(content))
    return cast(
        "PreTrainedTokenizerBase",
        PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|endoftext|>"),
    )


def save_babbling_model(folder: Path, *, layers: int = BABBLE_LAYERS) -> None:
    """Write a small language model of random weights, which babbles 2 s through the built-in codec, with a voice.

    Args:
        folder: to write it to.
        layers: of 1.0 million weights each; beside them are 1.2 million.
    """
    from importlib.resources import as_file, files

    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    from neucodec_tts.codec.neucodec import NeuCodec
    from neucodec_tts.prompts import SpeechConfig
    from neucodec_tts.tokens import SpeechVocabulary
    from neucodec_tts.voices import SpeakerPrompt, VoiceLibrary
    from neucodec_tts.voices.library import MODEL_VOICES

    codec = NeuCodec.from_pretrained("tiny")
    tokenizer = synthetic_tokenizer(512)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Qwen2ForCausalLM(
            Qwen2Config(
                vocab_size=len(tokenizer),
                hidden_size=256,
                intermediate_size=1024,
                num_hidden_layers=layers,
                num_attention_heads=4,
                num_key_value_heads=2,
                max_position_embeddings=2048,
                tie_word_embeddings=True,
            )
        )
        vocabulary = SpeechVocabulary.extend(
            tokenizer, model, codebook_size=codec.codebook_size, init="random", format="neutts"
        )
    model.save_pretrained(folder)
    vocabulary.save_tokenizer(tokenizer, folder, "vocab")
    SpeechConfig(
        "neutts-text",  # which needs no espeak-ng
        codec="tiny",
        codec_id=codec.codec_id,
        codebook_size=codec.codebook_size,
        sampling={"min_frames": BABBLE_FRAMES, "max_frames": BABBLE_FRAMES, "repetition_frames": 0},
    ).save(folder)
    with as_file(files("neucodec_tts") / "assets" / "demo.flac") as recording:
        voice = SpeakerPrompt.from_audio(codec, recording, text=_DEMO_TEXT)
    VoiceLibrary(folder / MODEL_VOICES).save(DEMO_VOICE, voice)


def random_speaker(
    size: Literal["full", "tiny"], device: str | None = None
) -> tuple[TextToSpeech, SpeakerPrompt]:
    """A pipeline with a language model of random weights, which babbles 3 s for each sentence, and a voice of 9 s.

    Args:
        size: "full" is the size of NeuTTS Air (Qwen2 of 24 layers, 217,000 tokens) with NeuCodec's, all weights random;
            "tiny" is a Qwen2 of 5 layers of 256 with the built-in codec. What they compute takes as long as if trained.
        device: the default is as of `NeuCodec.from_pretrained`.

    Raises:
        DeviceError: there is no such device.
    """
    import numpy as np
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    from neucodec_tts.codec.neucodec import NeuCodec
    from neucodec_tts.metrics.speed import random_codec
    from neucodec_tts.prompts import NeuTTSFormat
    from neucodec_tts.speech import Sampling, SpeechTokens, TextToSpeech
    from neucodec_tts.speech.registry import engine_loader
    from neucodec_tts.tokens import SpeechVocabulary
    from neucodec_tts.voices import SpeakerPrompt

    codec = random_codec(device) if size == "full" else NeuCodec.from_pretrained("tiny", device=device)
    tokenizer = synthetic_tokenizer(QWEN_TOKENS if size == "full" else 512)
    vocabulary = SpeechVocabulary.extend(tokenizer, codebook_size=codec.codebook_size)
    prompt_format = NeuTTSFormat(tokenizer, vocabulary, to_phones=None)
    torch.manual_seed(0)
    shape: dict[str, Any] = {
        "full": {
            "hidden_size": 896,
            "intermediate_size": 4864,
            "num_hidden_layers": 24,
            "num_attention_heads": 14,
        },
        "tiny": {
            "hidden_size": 256,
            "intermediate_size": 1024,
            "num_hidden_layers": 5,
            "num_attention_heads": 4,
        },
    }[size]
    config = Qwen2Config(
        vocab_size=vocabulary.required_rows,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        **shape,
    )
    model: Any = Qwen2ForCausalLM(config)
    engine_class = cast("Any", engine_loader("transformers"))
    engine = engine_class(model.to(codec.device), SpeechTokens(vocabulary, prompt_format.stop_ids))
    sampling = Sampling(min_frames=150, max_frames=150, repetition_frames=0)
    tts = TextToSpeech(engine, codec, prompt_format, vocabulary, sampling=sampling, watermark=False)
    codes = np.random.default_rng(0).integers(0, codec.codebook_size, 450)
    return tts, SpeakerPrompt(
        codes, "Please hold, and your call will be answered in the order it was received, she said."
    )


def write_random_decoder(folder: Path, *, int8: bool) -> Path:
    """Write NeuCodec's decoder with random weights as ONNX files; one that is there already stays.

    Args:
        folder: of the files.
        int8: with linear layers and convolutions in 8 bits, as for `neucodec_tts.codec.onnx.export.export`.
    """
    described = folder / "config.json"
    if described.exists():
        return folder
    import torch
    from transformers import NeuCodecConfig

    from neucodec_tts.codec.neucodec import NeuCodec
    from neucodec_tts.codec.onnx.export import export_decoders

    torch.manual_seed(0)
    # One layer of its encoder, which is not written.
    config = NeuCodecConfig(semantic_model_config={"model_type": "wav2vec2-bert", "num_hidden_layers": 1})
    codec = NeuCodec(config).eval().requires_grad_(False)
    export_decoders(codec, folder, int8=int8)
    said = codec.config.to_dict() | {"codec_id": codec.codec_id}
    described.write_text(json.dumps(said), encoding="utf-8")
    return folder
