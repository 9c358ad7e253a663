"""The engine llama-cpp, by the contract that all engines have, on real llama.cpp."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, RepetitionPenaltyLogitsProcessor

from neucodec_tts.built_in import speech_model
from neucodec_tts.errors import CheckpointError, DeviceError, EngineError, VocabularyError
from neucodec_tts.speech import Sampling, SpeechEngine, SpeechTokens, TextToSpeech
from neucodec_tts.speech.loading import SpeechModel
from neucodec_tts.tokens import SpeechVocabulary
from neucodec_tts_llamacpp import LlamaCppEngine, runtime
from neucodec_tts_llamacpp import engine as engine_module
from neucodec_tts_llamacpp.conversion import convert_to_gguf

pytestmark = pytest.mark.llamacpp

TEXTS = [
    "The train leaves at nine.",
    "Please take a seat, it is never late.",
    "Good.",
    "How do you do today?",
]


@pytest.fixture(scope="module")
def model() -> SpeechModel:
    return SpeechModel.load("tiny")


@pytest.fixture(scope="module")
def prompts(model) -> list[list[int]]:
    return [model.prompt_format.prompt_ids(text) for text in TEXTS]


def allowed(logits: torch.Tensor, tokens: SpeechTokens) -> torch.Tensor:
    """Logits (steps, vocabulary) of codes and stop tokens; all others are -inf."""
    span = tokens.vocabulary.id_range
    assert span is not None
    chosen = [*range(*span), *tokens.stop_ids]
    return torch.full_like(logits, -torch.inf).index_copy(-1, torch.tensor(chosen), logits[:, chosen])


@pytest.mark.parametrize("size", [3, 255, 257, 5_000, 65_537])
def test_the_likeliest_logits(size):
    values = np.random.default_rng(size).standard_normal(size).astype(np.float32)
    values[size // 2] = -np.inf
    for count in {1, 2, 18, 50, size} & set(range(1, size + 1)):
        found = engine_module._likeliest(values, count)
        assert np.array_equal(found, np.argsort(-values, kind="stable")[:count])
        for place in (0, size - 1):
            damaged = values.copy()
            damaged[place] = np.nan
            assert place in engine_module._likeliest(damaged, count)
            damaged[:] = np.nan
            assert len(engine_module._likeliest(damaged, count)) == count


def test_it_is_an_engine(tiny_engine):
    assert isinstance(tiny_engine, SpeechEngine)
    assert tiny_engine.context_length == 1024


def test_steps_are_those_of_transformers(tiny_engine, model, prompts):
    """Greedy, step by step along what transformers says: at least 99 of 100 next codes are the same."""
    theirs = AutoModelForCausalLM.from_pretrained(speech_model("tiny"), dtype=torch.float32).eval()
    greedy = Sampling(temperature=0, max_frames=120)
    same, steps = 0, 0
    for prompt in prompts:
        spoken = tiny_engine.generate(prompt, greedy).collect().ids
        with torch.no_grad():
            logits = theirs(torch.tensor([prompt + spoken])).logits[0, len(prompt) - 1 : -1]
        same += int((allowed(logits, model.tokens).argmax(-1) == torch.tensor(spoken)).sum())
        steps += len(spoken)
    assert steps > 200
    assert same / steps >= 0.99


def test_seeds_draw_what_they_draw_in_transformers(tiny_engine, prompts):
    from neucodec_tts_transformers import TransformersEngine

    other = TransformersEngine.load(speech_model("tiny"), tiny_engine.tokens, device="cpu")
    sampling = Sampling(temperature=0.5, top_p=0.9, max_frames=12, seed=7)
    ours = [tiny_engine.generate(prompt, sampling).collect().ids for prompt in prompts]
    theirs = [other.generate(prompt, sampling).collect().ids for prompt in prompts]
    alike = [a == b for x, y in zip(ours, theirs, strict=True) for a, b in zip(x, y, strict=False)]
    assert np.mean(alike) > 0.9  # one code that rounding decides changes those after it


@pytest.mark.parametrize("penalty", [0.9, 1.3])
def test_penalties_are_those_of_transformers(tiny_engine, model, prompts, penalty):
    """Greedy, step by step along what the engine says, whose next code transformers' own penalty must prefer.

    A penalty below 1 asks for what has been said: with 0.95 instead of 0.9 only 94 % of the steps agree.
    """
    theirs = AutoModelForCausalLM.from_pretrained(speech_model("tiny"), dtype=torch.float32).eval()
    plain = Sampling(temperature=0, max_frames=60, repetition_frames=0)
    same, steps = 0, 0
    for prompt in prompts:
        spoken = tiny_engine.generate(prompt, replace(plain, repetition_penalty=penalty)).collect().ids
        assert spoken != tiny_engine.generate(prompt, plain).collect().ids
        ids = torch.tensor([prompt + spoken])
        with torch.no_grad():
            logits = theirs(ids).logits
        penalise = RepetitionPenaltyLogitsProcessor(penalty)
        for place, code in enumerate(spoken, len(prompt)):
            expected = allowed(penalise(ids[:, :place], logits[:, place - 1]), model.tokens)
            same += int(expected.argmax()) == code
            steps += 1
    assert steps > 100
    assert same / steps >= 0.98


def test_a_batch_gives_each_prompt_what_it_gets_alone(tiny_engine, prompts):
    many = [*prompts, *prompts]
    samplings = [Sampling(temperature=0, max_frames=10 + 7 * n) for n in range(len(many))]
    together = dict(tiny_engine.generate_batch(many, samplings))
    alone = [tiny_engine.generate(*each).collect() for each in zip(many, samplings, strict=True)]
    assert [together[index].finish_reason for index in range(len(many))] == [
        one.finish_reason for one in alone
    ]
    pairs = [(together[index].ids, one.ids) for index, one in enumerate(alone)]
    assert all(len(a) == len(b) for a, b in pairs)
    assert np.mean([a == b for x, y in pairs for a, b in zip(x, y, strict=True)]) > 0.95


def test_a_seed_reproduces_and_another_does_not(tiny_engine, prompts):
    def codes(seed):
        return tiny_engine.generate(prompts[0], Sampling(seed=seed, max_frames=30)).collect().ids

    assert codes(1) == codes(1)
    assert codes(1) != codes(2)
    assert codes(None) != codes(None)


def test_lengths_and_loops(tiny_engine, prompts):
    vocabulary = tiny_engine.tokens.vocabulary
    short = tiny_engine.generate(prompts[2], Sampling(max_frames=5, seed=1)).collect()
    assert (len(short.ids), short.finish_reason) == (5, "length")
    long = tiny_engine.generate(
        prompts[2], Sampling(min_frames=150, max_frames=400, seed=1, repetition_frames=0)
    )
    spoken = long.collect()
    assert 150 <= len(spoken.ids) <= 400
    assert all(vocabulary.is_code(spoken.ids))
    # The likeliest code after the likeliest code, without an end: a loop, or the end of the context.
    looped = tiny_engine.generate(prompts[2], Sampling(temperature=0, min_frames=900, repetition_frames=20))
    assert looped.collect().finish_reason in ("repetition", "length")


def test_the_prompt_of_a_voice_is_computed_once(tiny_gguf, tiny_engine):
    tts = TextToSpeech.from_pretrained(tiny_gguf, device="cpu", watermark=False)
    sampling = replace(tts.sampling, max_frames=10)

    def computed(text: str, voice: str, seed: int = 1) -> int:
        engine = tts.engine
        assert isinstance(engine, LlamaCppEngine)
        before = engine.runtime.computed
        tts.speak(text, voice, seed=seed, sampling=sampling, retries=0)
        return engine.runtime.computed - before

    first = computed("It rains today.", "michael")
    again = computed("It snows tonight.", "michael")
    assert again < first - 100  # the voice is longer than the text
    other = computed("It rains today.", "heart")
    assert other > again
    assert computed("It hails now.", "heart") < other - 100
    assert computed("It thaws soon.", "michael") < first - 100  # the first voice has not been forgotten
    # The same codes, whether the voice was computed or found.
    kept = tts.speak("It rains today.", "michael", seed=3, sampling=sampling, retries=0).segments[0].codes
    anew = TextToSpeech.from_pretrained(tiny_gguf, device="cpu", watermark=False)
    fresh = anew.speak("It rains today.", "michael", seed=3, sampling=sampling, retries=0).segments[0].codes
    assert np.mean(kept == fresh) > 0.8


def test_voices_with_the_same_words_do_not_replace_each_other(tiny_gguf, model):
    engine = LlamaCppEngine.load(str(tiny_gguf), model.tokens, device="cpu", max_batch=1, threads=1)
    ids = list(model.tokens.vocabulary.ids)
    words, first, second = ids[:70], ids[100:250], ids[300:450]

    def computed(prompt: list[int]) -> int:
        before = engine.runtime.computed
        engine.generate(prompt, Sampling(max_frames=1, min_frames=1, seed=1)).collect()
        return engine.runtime.computed - before

    assert computed([*words, *first, 5]) >= 221
    assert 151 <= computed([*words, *second, 5]) < 160  # the words are not computed again
    assert computed([*words, *first, 6]) < 10
    assert computed([*words, *second, 6]) < 10


def test_a_stream_that_is_left_gives_its_place_back(tiny_gguf, model, prompts):
    engine = LlamaCppEngine.load(str(tiny_gguf), model.tokens, device="cpu", max_batch=2, threads=1)
    sampling = Sampling(seed=1, max_frames=20)
    expected = engine.generate(prompts[0], sampling).collect()
    running = [engine.generate(prompt, sampling) for prompt in prompts[:2]]
    assert [next(each) for each in running]
    with pytest.raises(
        EngineError, match=r"2 generations run already; close one, or load .* larger max_batch"
    ):
        next(engine.generate(prompts[2], sampling))
    # Two that take turns are not mixed up.
    assert [*running[0]] == expected.ids[1:]
    running[1].close()
    assert engine.generate(prompts[0], sampling).collect() == expected
    dropped = engine.generate_batch(prompts, [sampling] * len(prompts))
    next(dropped)
    dropped.close()  # type: ignore[attr-defined]
    assert len(dict(engine.generate_batch(prompts, [sampling] * len(prompts)))) == len(prompts)


def test_more_threads_than_places_wait_their_turn(tiny_gguf, model, prompts):
    engine = LlamaCppEngine.load(str(tiny_gguf), model.tokens, device="cpu", max_batch=2, threads=1)
    samplings = [Sampling(seed=seed, max_frames=15) for seed in range(6)]
    alone = [engine.generate(prompts[seed % 3], each).collect() for seed, each in enumerate(samplings)]
    with ThreadPoolExecutor(6) as pool:
        streams = pool.map(
            lambda seed: engine.generate(prompts[seed % 3], samplings[seed]).collect(), range(6)
        )
        assert list(streams) == alone
        batches = pool.map(
            lambda seed: dict(engine.generate_batch(prompts[:3], [samplings[seed]] * 3)), range(6)
        )
        assert [len(each) for each in batches] == [3] * 6


def test_places_that_nobody_gives_back(tiny_gguf, model, prompts, monkeypatch):
    monkeypatch.setattr(engine_module, "_STUCK_SECONDS", 0.2)
    engine = LlamaCppEngine.load(str(tiny_gguf), model.tokens, device="cpu", max_batch=1, threads=1)
    held = engine.generate(prompts[0], Sampling(seed=1))
    with ThreadPoolExecutor(1) as pool:
        pool.submit(next, held).result()
    with pytest.raises(EngineError, match="1 generations run already"):
        next(engine.generate(prompts[1], Sampling(seed=1)))
    held.close()
    assert next(engine.generate(prompts[1], Sampling(seed=1, max_frames=1)))
    engine.runtime.close()
    with pytest.raises(EngineError, match="the model has been closed; load it again"):
        next(engine.generate(prompts[1], Sampling(seed=1)))


@pytest.mark.slow
def test_a_program_may_end_while_it_speaks(tiny_gguf):
    script = """
import sys
from neucodec_tts import TextToSpeech
tts = TextToSpeech.from_pretrained(sys.argv[1], device="cpu", watermark=False)
speech = tts.stream("They are all gone. " * 20, seed=1, ahead_seconds=60)
print(next(speech).size)
"""
    command = [sys.executable, "-c", script, str(tiny_gguf)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout) > 0


def test_what_is_refused(tiny_engine, tiny_gguf, model, prompts):
    with pytest.raises(EngineError, match=r"leaves no room for speech in the model's context of 1024"):
        tiny_engine.generate([2] * 1024, Sampling())
    with pytest.raises(EngineError, match=r"token id 16446, but the model has ids 0 to 16445"):
        tiny_engine.generate([16_446], Sampling())
    with pytest.raises(EngineError, match=r"2 prompts came with 1 samplings"):
        tiny_engine.generate_batch(prompts[:2], [Sampling()])
    load = LlamaCppEngine.load
    with pytest.raises(EngineError, match=r"dtype is 'float32', but a GGUF file has its own"):
        load(str(tiny_gguf), model.tokens, dtype="float32")
    with pytest.raises(EngineError, match=r"no option n_gpu"):
        load(str(tiny_gguf), model.tokens, n_gpu=1)
    with pytest.raises(EngineError, match=r"threads is 0; it must be at least 1"):
        load(str(tiny_gguf), model.tokens, threads=0)
    with pytest.raises(CheckpointError, match=r"is not in GGUF; make it so: neucodec-tts convert"):
        load(speech_model("tiny"), model.tokens)
    foreign = SpeechTokens(SpeechVocabulary(range(65, 65 + 32_768)), (62,))
    with pytest.raises(VocabularyError, match=r"the model has 16,446 embedding rows"):
        load(str(tiny_gguf), foreign)
    with pytest.raises(VocabularyError, match="stop token has id 99999, but the model has only 16,446"):
        load(str(tiny_gguf), SpeechTokens(model.tokens.vocabulary, (99_999,)))


def test_a_gpu_that_is_not_there(llama_cpp, tiny_gguf, model):
    if llama_cpp.llama_supports_gpu_offload():
        pytest.skip("this llama.cpp was built for a GPU")
    with pytest.raises(DeviceError, match="computes on the CPU only"):
        LlamaCppEngine.load(str(tiny_gguf), model.tokens, device="cuda")


def test_a_small_context_ends_the_speech(tiny_gguf, model, prompts):
    engine = LlamaCppEngine.load(str(tiny_gguf), model.tokens, device="cpu", context_length=64, threads=1)
    assert engine.context_length == 64
    spoken = engine.generate(prompts[0], Sampling(min_frames=60, seed=1)).collect()
    assert len(spoken.ids) == 64 - len(prompts[0])
    assert spoken.finish_reason == "length"


@pytest.mark.parametrize("quantization", ["q8_0", "q4_0"])
def test_quantized_weights(quantization, model, prompts, tmp_path):
    """llama.cpp 0.3.36's own choice of memory for them crashes on processors with AMX."""
    path = convert_to_gguf("tiny", tmp_path / "tiny", quantization).file
    engine = LlamaCppEngine.load(str(path), model.tokens, device="cpu")
    spoken = dict(engine.generate_batch(prompts, [Sampling(temperature=0, max_frames=20)] * len(prompts)))
    assert all(len(spoken[place].ids) == 20 for place in range(len(prompts)))


@pytest.mark.parametrize(
    ("features", "others"), [(b"AVX2 = 1 | ", True), (b"AVX2 = 1 | AMX_INT8 = 1 | ", False)]
)
def test_amx_is_not_used(features, others, tiny_gguf, monkeypatch):
    api, found = runtime.binding(), []

    def load(path, options):
        found.append(options.use_extra_bufts)

    monkeypatch.setattr(api, "llama_print_system_info", lambda: features)
    monkeypatch.setattr(api, "llama_model_load_from_file", load)
    with pytest.raises(CheckpointError):
        runtime.Runtime(str(tiny_gguf), None, sequences=1, context_length=64, threads=1, gpu=False)
    assert found == [others]


@pytest.mark.parametrize("keep", [0.5, 0.95])
def test_a_file_that_ends_too_early(keep, tiny_gguf, model, tmp_path):
    cut = tmp_path / "cut.gguf"
    whole = tiny_gguf.read_bytes()
    cut.write_bytes(whole[: int(len(whole) * keep)])
    with pytest.raises(
        CheckpointError, match=r"cannot be loaded by llama\.cpp: .*; download or convert it again"
    ):
        LlamaCppEngine.load(str(cut), model.tokens, device="cpu")


def test_a_reduced_file_that_ends_too_early(converted, tmp_path):
    tokens = SpeechModel.load(str(converted["qwen2"])).tokens
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(converted["qwen2"].read_bytes()[:-4096])
    with pytest.raises(CheckpointError, match=r"download"):
        LlamaCppEngine.load(str(cut), tokens, device="cpu")


@pytest.mark.slow
def test_without_llama_cpp_the_extra_is_named(tiny_gguf):
    code = (
        "import sys; sys.modules['llama_cpp'] = None\n"
        "from neucodec_tts import TextToSpeech\n"
        f"TextToSpeech.from_pretrained({str(tiny_gguf)!r}, device='cpu')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "EngineError: llama.cpp is not installed" in done.stderr
    assert "pip install 'neucodec-tts[laptop]'" in done.stderr
