"""Small tokenizers of the kinds that speech language models have, trained here on a little text.

The real ones cannot be shipped. These have the same parts (byte-level BPE, normalizer, pre-tokenizer, special
and added tokens, chat template), only with a vocabulary of about a thousand tokens.
"""

from __future__ import annotations

import json
from typing import Any

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM
from transformers.models.qwen2 import Qwen2Tokenizer

TEXT = """
Alice was beginning to get very tired of sitting by her sister on the bank, and of having nothing to do: once or
twice she had peeped into the book her sister was reading, but it had no pictures or conversations in it, "and what
is the use of a book," thought Alice, "without pictures or conversations?" So she was considering in her own mind (as
well as she could, for the hot day made her feel very sleepy and stupid), whether the pleasure of making a daisy-chain
would be worth the trouble of getting up and picking the daisies, when suddenly a White Rabbit with pink eyes ran
close by her. There was nothing so very remarkable in that; nor did Alice think it so very much out of the way to hear
the Rabbit say to itself, "Oh dear! Oh dear! I shall be late!"
həlˈoʊ wˈɜːld ðɪs ɪz ɐ tˈɛst ʌv ðə spˈiːtʃ mˈɑːdəl, ɪt kˈʊd biː wˈʌn pˌɪktʃɚ ɔːɹ tˈuː. user: assistant: system
Convert the text to speech: Cutting Knowledge Date: December 2023 Today Date: 26 Jul 2024
"""

# As Qwen2.5 and Llama 3 split text into words.
_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|DIGITS"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_QWEN_WORDS = _WORDS.replace("DIGITS", r"\p{N}")
_LLAMA_WORDS = _WORDS.replace("DIGITS", r"\p{N}{1,3}")

# Llama 3.2's own template, without its branches for tools and system messages.
LLAMA_CHAT_TEMPLATE = """{{- bos_token }}
{%- if not date_string is defined %}
    {%- if strftime_now is defined %}
        {%- set date_string = strftime_now("%d %b %Y") %}
    {%- else %}
        {%- set date_string = "26 Jul 2024" %}
    {%- endif %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{{- "Cutting Knowledge Date: December 2023\\n" }}
{{- "Today Date: " + date_string + "\\n\\n" }}
{{- "<|eot_id|>" }}
{%- for message in messages %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""


def _byte_level_bpe(words: str, normalizer: Any, vocab_size: int, ignore_merges: bool) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(words), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(TEXT.splitlines(), trainer)
    return tokenizer


def _specials(*names: str, special: bool = True) -> list[AddedToken]:
    return [AddedToken(name, special=special, normalized=False) for name in names]


def qwen_like(vocab_size: int = 600) -> Qwen2Tokenizer:
    """As Qwen2.5: NFC, no beginning-of-text token, special tokens and a few added ones that are not special."""
    trained = _byte_level_bpe(_QWEN_WORDS, normalizers.NFC(), vocab_size, ignore_merges=False)
    model = json.loads(trained.to_str())["model"]
    merges: Any = [tuple(merge) for merge in model["merges"]]
    tokenizer = Qwen2Tokenizer(vocab=model["vocab"], merges=merges, eos_token="<|endoftext|>")
    tokenizer.add_tokens(_specials("<|im_start|>", "<|im_end|>"), special_tokens=True)
    tokenizer.add_tokens(_specials("<tool_call>", "<|fim_prefix|>", special=False))
    return tokenizer


def llama_like(vocab_size: int = 600) -> PreTrainedTokenizerFast:
    """As Llama 3.2 Instruct: beginning-of-text token, headers, chat template with today's date in it."""
    trained = _byte_level_bpe(_LLAMA_WORDS, None, vocab_size, ignore_merges=True)
    trained.add_special_tokens(
        _specials(
            "<|begin_of_text|>",
            "<|end_of_text|>",
            "<|start_header_id|>",
            "<|end_header_id|>",
            "<|eot_id|>",
        )
    )
    trained.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing(
                single="<|begin_of_text|> $A",
                pair="<|begin_of_text|> $A <|begin_of_text|> $B",
                special_tokens=[("<|begin_of_text|>", trained.token_to_id("<|begin_of_text|>"))],
            ),
        ]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=trained, bos_token="<|begin_of_text|>", eos_token="<|eot_id|>"
    )
    tokenizer.chat_template = LLAMA_CHAT_TEMPLATE
    return tokenizer


def tiny_qwen(rows: int, tied: bool = True, width: int = 48) -> Qwen2ForCausalLM:
    """A random Qwen2 of one layer."""
    return Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=rows,
            hidden_size=width,
            intermediate_size=64,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=1,
            tie_word_embeddings=tied,
        )
    )


def tiny_llama(rows: int, tied: bool = False, width: int = 48) -> LlamaForCausalLM:
    """A random Llama of one layer."""
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=rows,
            hidden_size=width,
            intermediate_size=64,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=1,
            tie_word_embeddings=tied,
        )
    )
