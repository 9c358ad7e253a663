"""The real vLLM, in the process that asks: constraint, engine, batches, the command line and the example."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from neucodec_tts.audio import load_audio
from neucodec_tts.errors import CheckpointError, DeviceError, EngineError, PromptError
from neucodec_tts.speech import Sampling, SpeechEngine, TextToSpeech
from neucodec_tts.speech.registry import engine_loader

pytestmark = [pytest.mark.vllm, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[3]
ASSETS = ROOT / "neucodec_tts" / "assets"
TEXTS = [
    "Hello there.",
    "A second text, which has two sentences. Here is the other one of them!",
    "And a third.",
]


@pytest.fixture(scope="module")
def engine(llm):
    return llm.tts.engine


@pytest.fixture(scope="module")
def prompt(llm):
    return llm.tts.prompt_format.prompt_ids(TEXTS[0])


def raw(engine, prompts, params):
    """Straight from vLLM: token ids and finish reason of each."""
    outputs = engine.llm.generate(
        [{"prompt_token_ids": list(prompt)} for prompt in prompts], params, use_tqdm=False
    )
    return [(list(output.outputs[0].token_ids), output.outputs[0].finish_reason) for output in outputs]


def test_it_is_an_engine_and_registered(engine):
    assert isinstance(engine, SpeechEngine)
    loader: object = engine_loader("vllm")
    assert loader is type(engine)
    assert engine.context_length == 2048


def test_speech_and_text_share_a_batch(engine, prompt):
    """Requests for speech get codes only, those beside them are as if the processor were not there."""
    from vllm import SamplingParams

    from neucodec_tts_vllm.sampling import allowed_tokens, sampling_params

    allowed = allowed_tokens(engine.tokens)
    plain = SamplingParams(temperature=0, max_tokens=30, ignore_eos=True, detokenize=False)
    speech = [sampling_params(Sampling(seed=seed, max_frames=30), allowed, 1000) for seed in range(3)]
    alone = raw(engine, [prompt], [plain])[0]
    mixed = raw(engine, [prompt] * 5, [speech[0], plain, speech[1], plain, speech[2]])
    assert mixed[1] == mixed[3] == alone
    for ids, _ in (mixed[0], mixed[2], mixed[4]):
        assert all(allowed.first <= token < allowed.end or token in allowed.stop_ids for token in ids)


def test_penalties_are_those_of_the_engine_transformers(engine, prompt):
    """Greedy, so that nothing but the logits decides."""
    from neucodec_tts_transformers import TransformersEngine

    other = TransformersEngine.load(
        engine.llm.model_config.model, engine.tokens, device="cpu", dtype="float32"
    )
    for penalty in (1.0, 1.3, 2.0):
        sampling = Sampling(temperature=0, max_frames=40, repetition_frames=0, repetition_penalty=penalty)
        assert engine.generate(prompt, sampling).collect() == other.generate(prompt, sampling).collect()


def test_shortest_longest_and_stop(engine, prompt):
    """With the logits of the stop raised far above all others, only the constraint can keep it from stopping."""
    from vllm import SamplingParams

    from neucodec_tts_vllm import SpeechConstraint
    from neucodec_tts_vllm.sampling import allowed_tokens

    allowed = allowed_tokens(engine.tokens)
    (stop,) = allowed.stop_ids

    def run(bias: float, constraint: SpeechConstraint) -> tuple[int, str]:
        params = SamplingParams(
            max_tokens=50,
            stop_token_ids=[stop],
            logit_bias={stop: bias},
            extra_args=constraint.to_extra_args(),
            detokenize=False,
        )
        ids, reason = raw(engine, [prompt], [params])[0]
        return len([token for token in ids if token != stop]), reason

    assert run(100, SpeechConstraint(allowed)) == (0, "stop")
    assert run(100, SpeechConstraint(allowed, min_frames=7)) == (7, "stop")
    assert run(-100, SpeechConstraint(allowed, max_frames=9)) == (9, "stop")
    assert run(-100, SpeechConstraint(allowed)) == (50, "length")


def test_a_malformed_constraint_is_refused_before_it_runs(engine, prompt):
    from vllm import SamplingParams
    from vllm.exceptions import VLLMValidationError

    with pytest.raises(VLLMValidationError, match="neucodec_stops"):
        raw(engine, [prompt], [SamplingParams(extra_args={"neucodec_codes": [1, 5]}, detokenize=False)])


def test_a_stream_and_a_batch_give_the_same(engine, prompt):
    """Seeds decide, not company."""
    cases = [(prompt, Sampling(seed=seed, max_frames=20 + seed, min_frames=15)) for seed in range(3)]
    together = dict(engine.generate_batch([ids for ids, _ in cases] * 4, [how for _, how in cases] * 4))
    alone = [engine.generate(*case).collect() for case in cases]
    assert [together[index] for index in range(12)] == alone * 4
    assert len({tuple(one.ids) for one in alone}) == 3


def test_prompts_in_pieces_and_preempted_requests_count_their_frames(engine, llm):
    """More than a step and than the cache hold; the processor must know how far each request is."""
    prompts = [llm.tts.prompt_format.prompt_ids(f"{number} " + "word " * 60) for number in range(10)]
    settings = [
        Sampling(temperature=0, min_frames=n, max_frames=n + 3, repetition_frames=0)
        for n in range(200, 300, 10)
    ]
    before = preemptions(engine)
    together = dict(engine.generate_batch(prompts, settings))
    assert preemptions(engine) > before
    for index, (prompt, sampling) in enumerate(zip(prompts, settings, strict=True)):
        assert together[index] == engine.generate(prompt, sampling).collect()
        assert 0 <= len(together[index].ids) - sampling.min_frames <= 3
    # One prompt longer than what the others leave of a step.
    long = [llm.tts.prompt_format.prompt_ids(f"{number} " + "word " * 800) for number in range(4)]
    assert sum(map(len, long)) > 2048
    least = Sampling(temperature=0, min_frames=10, max_frames=12)
    together = dict(engine.generate_batch(long, [least] * 4))
    assert [together[index] for index in range(4)] == [
        engine.generate(each, least).collect() for each in long
    ]


def preemptions(engine) -> float:
    (counter,) = (metric for metric in engine.llm.get_metrics() if metric.name == "vllm:num_preemptions")
    return counter.value


def test_two_streams_side_by_side_and_one_left_early(engine, prompt):
    settings = [Sampling(seed=seed, max_frames=30, min_frames=30) for seed in (1, 2, 3)]
    expected = [engine.generate(prompt, each).collect().ids for each in settings]
    first, second, third = (engine.generate(prompt, each) for each in settings)
    got: list[list[int]] = [[], []]
    next(third)
    third.close()
    for a, b in zip(first, second, strict=True):
        got[0].append(a)
        got[1].append(b)
    assert got == expected[:2]
    assert engine._running == {}
    assert not engine.llm.llm_engine.has_unfinished_requests()


def test_a_loop_is_ended(engine, prompt):
    """Greedy decoding of this model goes round; the same at every length of the loop's tail."""
    sampling = Sampling(temperature=0, repetition_frames=40, min_frames=1000)
    stream = engine.generate(prompt, sampling).collect()
    ((_, batch),) = engine.generate_batch([prompt], [sampling])
    assert stream == batch
    assert stream.finish_reason == "repetition"
    assert len(stream.ids) < 1000
    assert not engine.llm.llm_engine.has_unfinished_requests()


@pytest.mark.parametrize(
    ("prompt_ids", "said"),
    [([], "empty"), ([1] * 2048, "no room"), ([-1], "token id -1"), ([10**6], "1000000")],
)
def test_prompts_that_cannot_be_continued_are_refused(engine, prompt_ids, said):
    with pytest.raises(EngineError, match=said):
        engine.generate(prompt_ids, Sampling())


def test_texts_in_a_batch_sound_as_each_alone(llm, voice):
    texts, voices, seeds = TEXTS * 4, [voice, None] * 6, list(range(12))
    items = {item.index: item for item in llm.speak(texts, voices, seed=seeds)}
    assert sorted(items) == list(range(12))
    for index in (0, 1, 5, 10):
        alone = llm.tts.speak(texts[index], voices[index], seed=seeds[index])
        got = items[index].speech()
        assert got.codes.tolist() == alone.codes.tolist()
        assert got.seed == seeds[index]
        assert np.allclose(got.samples, alone.samples, atol=1e-4)
    assert len(items[1].speech().segments) == 2


def test_voices_that_the_model_brings_go_by_their_names(llm):
    (named,) = llm.speak(TEXTS[:1], "resident", seed=[1])
    assert named.speech().codes.tolist() == llm.tts.speak(TEXTS[0], "resident", seed=1).codes.tolist()
    with pytest.raises(PromptError, match="the model itself brings resident"):
        next(llm.speak(TEXTS[:1], ["nobody"])).speech()


def test_texts_that_fail_leave_the_others_alone(llm, voice):
    def texts():
        yield TEXTS[0]
        yield " ... "
        yield TEXTS[2]

    stranger = replace(voice, codec_id="neucodec-another")
    found = {item.index: item for item in llm.speak(texts(), [None, None, stranger], seed=1, in_flight=1)}
    assert found[0].speech().samples.size
    with pytest.raises(PromptError, match="nothing to pronounce"):
        found[1].speech()
    with pytest.raises(PromptError, match="another"):
        found[2].speech()
    assert list(llm.speak([])) == []


def test_fewer_voices_or_seeds_than_texts_are_refused_at_once(llm, voice):
    with pytest.raises(EngineError, match="1 voices for 3 texts"):
        llm.speak(TEXTS, [voice])
    with pytest.raises(EngineError, match="2 seeds for 3 texts"):
        llm.speak(TEXTS, voice, seed=[1, 2])
    with pytest.raises(EngineError, match="single string"):
        llm.speak("Hello there.")
    # Nobody knows how many a generator has; those beyond the last seed fail, and the others are spoken.
    found = {item.index: item for item in llm.speak(iter(TEXTS), voice, seed=[1, 2])}
    assert found[0].speech().samples.size
    with pytest.raises(EngineError, match="2 seeds and more texts"):
        found[2].speech()


def test_batches_are_marked_by_the_same_setting(llm):
    pytest.importorskip("perth", reason='needs pip install "neucodec-tts[watermark]"')
    (plain,) = llm.speak(TEXTS[:1], seed=1)
    (marked,) = llm.speak(TEXTS[:1], seed=1, watermark=True)
    assert (plain.speech().watermarked, marked.speech().watermarked) == (False, True)
    assert marked.speech().samples.size == plain.speech().samples.size
    assert not np.array_equal(marked.speech().samples, plain.speech().samples)


def test_a_batch_left_early_frees_the_engine(llm):
    items = llm.speak(["Some text that is said."] * 30, seed=1)
    next(items)
    items.close()
    assert llm._engine._running == {}
    assert not llm._engine.llm.llm_engine.has_unfinished_requests()


def test_the_prefix_of_a_voice_is_computed_once(engine, llm, voice):
    """What two texts of one voice have in common comes out of vLLM's cache, to the last whole block."""
    from vllm import SamplingParams

    params = SamplingParams(max_tokens=1, detokenize=False)
    first, second = (llm.tts.prompt_format.prompt_ids(text, voice) for text in TEXTS[:2])
    block = engine.llm.llm_engine.vllm_config.cache_config.block_size
    common = next(index for index, pair in enumerate(zip(first, second, strict=False)) if pair[0] != pair[1])
    engine.llm.reset_prefix_cache()
    cached = [
        engine.llm.generate([{"prompt_token_ids": ids}], params, use_tqdm=False)[0].num_cached_tokens
        for ids in (first, second)
    ]
    assert cached == [0, common // block * block]


def test_the_example_voices_a_book_and_goes_on_where_it_stopped(
    llm, tmp_path, monkeypatch, capsys, speaking_model
):
    spec = importlib.util.spec_from_file_location("voice_book", ROOT / "examples" / "voice_book.py")
    assert spec is not None
    assert spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "voice_book", example)
    spec.loader.exec_module(example)
    monkeypatch.setattr(example.SpeechLLM, "from_pretrained", lambda model: llm)  # one engine is enough
    book = tmp_path / "book.txt"
    book.write_text(
        "A tale.\n\nCHAPTER I. Begin\n\nIt began\nhere.\n\nCHAPTER II\n\nIt ended.\n", encoding="utf-8"
    )
    arguments = [str(book), "--model", str(speaking_model), "--output", str(tmp_path / "out")]
    assert example.main(arguments) == 0
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["001-a-tale.flac", "002-chapter-i-begin.flac", "003-chapter-ii.flac"]
    (tmp_path / "out" / names[1]).unlink()
    capsys.readouterr()
    assert example.main(arguments) == 0
    assert capsys.readouterr().out.startswith(names[1])
    assert example.main(arguments) == 0
    assert "nothing to do" in capsys.readouterr().out


def test_the_command_says_it_with_this_engine(llm, speaking_model, tmp_path):
    """A vLLM of its own, as anybody starts it; what it says is what the same seed says here."""
    text = "The command speaks. It speaks twice."
    command = [sys.executable, "-m", "neucodec_tts", "say", text, "--engine", "vllm", "--seed", "3"]
    command += ["--model", str(speaking_model), "--voice", "resident", "--no-watermark", "--json"]
    environment = {**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1"}
    done = subprocess.run(
        [*command, "-o", str(tmp_path / "a.wav")], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)  # nothing of vLLM's among it
    expected = llm.tts.speak(text, "resident", seed=3)
    samples, rate = load_audio(tmp_path / "a.wav")
    assert rate == told["sample_rate"] == 24_000
    assert told["speech_tokens"] == expected.speech_tokens
    assert [segment["text"] for segment in told["segments"]] == ["The command speaks.", "It speaks twice."]
    assert np.allclose(samples, expected.samples, atol=2e-3)
    assert "Traceback" not in done.stderr


def test_what_cannot_be_loaded_is_named_before_vllm_starts(engine, tmp_path):
    tokens = engine.tokens
    with pytest.raises(CheckpointError, match="nothing"):
        type(engine).load(str(tmp_path / "nothing"), tokens)
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match=r"config\.json"):
        type(engine).load(str(tmp_path / "empty"), tokens)


def test_another_device_is_refused(engine, speaking_model):
    with pytest.raises(DeviceError, match="tpu"):
        type(engine).load(str(speaking_model), engine.tokens, device="tpu")
    with pytest.raises(DeviceError, match="CUDA_VISIBLE_DEVICES"):
        type(engine).load(str(speaking_model), engine.tokens, device="cpu:1")


def test_another_engine_is_refused(codec):
    from neucodec_tts_vllm import SpeechLLM
    from tests.speech.small_models import small_tts

    tts: TextToSpeech = small_tts(codec)
    with pytest.raises(EngineError, match="TransformersEngine"):
        SpeechLLM(tts)
