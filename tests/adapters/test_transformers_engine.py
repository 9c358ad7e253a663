"""The decoding loop against transformers' own, alone and in batches."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import LogitsProcessorList, MinPLogitsWarper

from neucodec_tts.errors import CheckpointError, DeviceError, EngineError, VocabularyError
from neucodec_tts.speech import Sampling, SpeechEngine, SpeechTokens
from neucodec_tts.speech.registry import engine_loader, engine_names
from neucodec_tts.tokens import SpeechVocabulary
from neucodec_tts_transformers import CodesOnly, TransformersEngine
from tests.speech.small_models import small_engine
from tests.tokens.small_tokenizers import tiny_llama, tiny_qwen

PROMPTS = [[1, 2, 3, 4], [5] * 20 + [6, 7], [8], [9, 10, 11, 12, 13, 14, 15]]
STOP, FIRST = 100, 101


@pytest.fixture(scope="module")
def engine() -> TransformersEngine:
    return small_engine()


def test_it_is_an_engine_and_registered(engine):
    assert isinstance(engine, SpeechEngine)
    assert "transformers" in engine_names()
    assert engine_loader("transformers") is TransformersEngine


def test_an_unknown_engine_is_refused_with_those_there_are():
    with pytest.raises(EngineError, match=r"no engine 'tensorflow'.*transformers"):
        engine_loader("tensorflow")


@pytest.mark.parametrize("frames", [(0, 40), (30, 40)])
@pytest.mark.parametrize("prompt", PROMPTS)
def test_greedy_equals_generate_of_transformers(engine, prompt, frames):
    least, most = frames
    theirs = engine.model.generate(
        torch.tensor([prompt]),
        do_sample=False,
        max_new_tokens=most,
        logits_processor=LogitsProcessorList(
            [CodesOnly(engine.tokens, len(prompt), min_frames=least, max_frames=most)]
        ),
        eos_token_id=STOP,
        pad_token_id=0,
    )[0, len(prompt) :].tolist()
    sampling = Sampling(temperature=0, min_frames=least, max_frames=most, repetition_frames=0)
    ours = engine.generate(prompt, sampling).collect()
    stopped = theirs[-1] == STOP
    assert ours.ids == (theirs[:-1] if stopped else theirs)
    assert ours.finish_reason == ("stop" if stopped else "length")
    assert least <= len(ours.ids) <= most


def test_a_batch_gives_each_prompt_what_it_gets_alone(engine):
    samplings = [Sampling(seed=seed, max_frames=30 + 10 * seed) for seed in range(len(PROMPTS))]
    together = dict(engine.generate_batch(PROMPTS, samplings))
    alone = [engine.generate(*each).collect() for each in zip(PROMPTS, samplings, strict=True)]
    assert [together[index] for index in range(len(PROMPTS))] == alone
    assert len({len(one.ids) for one in alone}) > 1  # rows did leave the batch at different times


def test_more_prompts_than_fit_into_a_batch(engine):
    small = TransformersEngine(engine.model, engine.tokens, max_batch=2)
    samplings = [Sampling(seed=3, max_frames=12)] * len(PROMPTS)
    assert dict(small.generate_batch(PROMPTS, samplings)) == dict(engine.generate_batch(PROMPTS, samplings))


def test_a_seed_reproduces_and_another_does_not(engine):
    def codes(seed):
        return engine.generate(PROMPTS[0], Sampling(seed=seed, max_frames=40)).collect().ids

    assert codes(1) == codes(1)
    assert codes(1) != codes(2)
    assert codes(None) != codes(None)


def test_tokens_are_distributed_as_the_model_says(engine):
    """Of the 10 likeliest codes after a prompt, each comes as often as its probability among them says."""
    prompt, draws = PROMPTS[0], 2000
    with torch.no_grad():
        logits = engine.model(torch.tensor([prompt])).logits[0, -1, FIRST : FIRST + 256].double() / 0.8
    best = logits.topk(10)
    expected = torch.zeros(256, dtype=torch.double)
    expected[best.indices] = best.values.softmax(0)
    prompts, samplings = [prompt] * draws, []
    for seed in range(draws):
        samplings.append(Sampling(temperature=0.8, top_k=10, min_frames=1, max_frames=1, seed=seed))
    large = TransformersEngine(engine.model, engine.tokens, max_batch=500)
    first = [result.ids[0] - FIRST for _, result in large.generate_batch(prompts, samplings)]
    counts = torch.bincount(torch.tensor(first), minlength=256).double()
    assert counts[expected == 0].sum() == 0
    # Five standard deviations of a binomial distribution.
    deviation = (draws * expected * (1 - expected)).sqrt()
    assert bool(((counts - draws * expected).abs() <= 5 * deviation + 1e-9).all())


def test_top_p_leaves_only_the_likeliest(engine):
    with torch.no_grad():
        logits = engine.model(torch.tensor([PROMPTS[0]])).logits[0, -1, FIRST : FIRST + 256].double()
    probabilities = logits.softmax(0).sort(descending=True)
    kept = int((probabilities.values.cumsum(0) < 0.3).sum()) + 1
    allowed = set(probabilities.indices[:kept].tolist())
    assert 1 < kept < 200
    drawn = set()
    for seed in range(100):
        sampling = Sampling(top_k=0, top_p=0.3, min_frames=1, max_frames=1, seed=seed)
        drawn.add(engine.generate(PROMPTS[0], sampling).collect().ids[0] - FIRST)
    # The stop takes a little of the probability that is not in this sum; one code more may then be drawn.
    assert len(drawn - allowed) <= 1
    assert len(drawn) > 1


@pytest.mark.parametrize("penalty", [0.7, 1.3, 4.0])
@pytest.mark.parametrize("prompt", [[1, FIRST + 3, FIRST + 200, STOP, 5], PROMPTS[1]])
def test_repetition_penalty_is_that_of_transformers(engine, prompt, penalty):
    """Codes and stops of the prompt count, and so do those that have been drawn."""
    theirs = engine.model.generate(
        torch.tensor([prompt]),
        do_sample=False,
        max_new_tokens=40,
        repetition_penalty=penalty,
        logits_processor=LogitsProcessorList([CodesOnly(engine.tokens, len(prompt), max_frames=40)]),
        eos_token_id=STOP,
        pad_token_id=0,
    )[0, len(prompt) :].tolist()
    penalised = Sampling(temperature=0, max_frames=40, repetition_frames=0, repetition_penalty=penalty)
    plain = Sampling(temperature=0, max_frames=40, repetition_frames=0)
    alone = engine.generate(prompt, penalised).collect()
    assert alone.ids == [token for token in theirs if token != STOP]
    together = dict(engine.generate_batch([prompt, PROMPTS[0], prompt], [penalised, plain, plain]))
    assert together[0] == alone
    assert together[2] == engine.generate(prompt, plain).collect()


def test_min_p_is_that_of_transformers(engine):
    prompt, share = PROMPTS[0], 0.5
    with torch.no_grad():
        logits = engine.model(torch.tensor([prompt])).logits[:, -1, FIRST : FIRST + 256].float() / 0.8
    kept = MinPLogitsWarper(share)(torch.LongTensor([prompt]), logits)[0].isfinite().nonzero()[:, 0].tolist()
    assert 1 < len(kept) < 200
    drawn = set()
    for seed in range(300):
        sampling = Sampling(temperature=0.8, top_k=0, min_p=share, min_frames=1, max_frames=1, seed=seed)
        drawn.add(engine.generate(prompt, sampling).collect().ids[0] - FIRST)
    assert drawn <= set(kept)
    assert len(drawn) > min(len(kept), 30) / 2


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("min_p", -0.1),
        ("min_p", 1.5),
        ("min_p", float("nan")),
        ("repetition_penalty", 0.0),
        ("repetition_penalty", -1.0),
        ("repetition_penalty", float("inf")),
    ],
)
def test_settings_out_of_range(field, value):
    with pytest.raises(EngineError, match=field):
        Sampling(**{field: value})


def test_nothing_but_codes_is_ever_drawn(engine):
    for seed in range(20):
        ids = (
            engine.generate(PROMPTS[1], Sampling(temperature=3.0, top_k=0, seed=seed, max_frames=20))
            .collect()
            .ids
        )
        assert all(FIRST <= token < FIRST + 256 for token in ids)


def test_streaming_computes_no_more_than_is_asked_for(engine, monkeypatch):
    steps: list[object] = []
    inner = engine._head
    monkeypatch.setattr(engine, "_head", inner)  # restored afterwards
    forward = engine.model.forward
    monkeypatch.setattr(engine.model.base_model, "forward", _counted(engine.model.base_model.forward, steps))
    stream = engine.generate(PROMPTS[0], Sampling(seed=1, min_frames=10, max_frames=10))
    assert steps == []
    for expected in (1, 2, 3):
        next(stream)
        assert len(steps) == expected
    stream.close()
    assert list(stream) == []
    assert len(steps) == 3
    assert forward is not None


def _counted(function, calls):
    def counting(*arguments, **named):
        calls.append(1)
        return function(*arguments, **named)

    return counting


def test_gradients_stay_as_the_caller_has_them(engine):
    stream = engine.generate(PROMPTS[0], Sampling(seed=1, max_frames=5))
    next(stream)
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()


def test_a_loop_is_stopped_with_its_reason():
    """Layers that add nothing leave the last token's own embedding, which is likest to itself."""
    engine = small_engine(tied=True)
    with torch.no_grad():
        for name, parameter in engine.model.named_parameters():
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                parameter.zero_()
        embeddings = engine.model.get_input_embeddings().weight
        embeddings /= embeddings.norm(dim=1, keepdim=True)
    result = engine.generate([150], Sampling(temperature=0, max_frames=200, repetition_frames=20)).collect()
    assert result.finish_reason == "repetition"
    assert result.ids == [150] * 20


def test_only_rows_of_codes_are_computed_where_that_is_the_same():
    for make in (tiny_qwen, tiny_llama):
        engine = TransformersEngine(make(400), SpeechTokens(SpeechVocabulary(range(101, 357)), (100,)))
        assert engine._head.computes_rows_only


def test_a_model_that_changes_its_logits_is_computed_in_full():
    from transformers import CohereConfig, CohereForCausalLM

    torch.manual_seed(0)
    model = CohereForCausalLM(
        CohereConfig(
            vocab_size=400,
            hidden_size=48,
            intermediate_size=64,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=1,
            logit_scale=0.25,
        )
    )
    engine = TransformersEngine(model, SpeechTokens(SpeechVocabulary(range(101, 357)), (100,)))
    assert not engine._head.computes_rows_only
    ids = torch.tensor([PROMPTS[0]])
    with torch.no_grad():
        expected = model(ids).logits[:, -1]
    logits = engine._head(ids, None, None, None)
    assert torch.allclose(logits[:, :-1], expected[:, 101:357])
    assert torch.allclose(logits[:, -1], expected[:, 100])


def test_scattered_codes_give_the_same_as_contiguous_ones():
    """The same rows in another order are the same model."""
    order = np.random.default_rng(0).permutation(256)
    plain = small_engine()
    torch.manual_seed(0)
    scattered = small_engine()
    output = scattered.model.get_output_embeddings().weight.data
    inputs = scattered.model.get_input_embeddings().weight.data
    for table in (output, inputs):
        table[101 + torch.from_numpy(order)] = table[101:357].clone()
    engine = TransformersEngine(scattered.model, SpeechTokens(SpeechVocabulary(101 + order), (100,)))
    assert not engine.tokens.vocabulary.is_contiguous
    sampling = Sampling(seed=5, max_frames=30)
    expected = plain.tokens.vocabulary.to_codes(plain.generate(PROMPTS[0], sampling).collect().ids)
    assert engine.tokens.vocabulary.to_codes(engine.generate(PROMPTS[0], sampling).collect().ids) == expected


def test_a_model_with_too_few_rows_is_refused():
    with pytest.raises(VocabularyError, match=r"300 embedding rows.*356"):
        TransformersEngine(tiny_qwen(300), SpeechTokens(SpeechVocabulary(range(101, 357)), (100,)))
    with pytest.raises(VocabularyError, match="stop token has id 399"):
        TransformersEngine(tiny_qwen(380), SpeechTokens(SpeechVocabulary(range(101, 357)), (399,)))


def test_prompts_that_cannot_be_continued_are_refused(engine):
    for prompt, message in (
        ([], "empty"),
        ([1, 400], "token id 400"),
        ([-1], "token id -1"),
        ([1] * engine.context_length, "no room"),
    ):
        with pytest.raises(EngineError, match=message):
            engine.generate(prompt, Sampling())
    with pytest.raises(EngineError, match="2 prompts came with 1"):
        engine.generate_batch([[1], [2]], [Sampling()])


def test_the_context_is_a_limit(engine):
    room = 7
    result = engine.generate(
        [1] * (engine.context_length - room), Sampling(seed=1, min_frames=room, repetition_frames=0)
    ).collect()
    assert (len(result.ids), result.finish_reason) == (room, "length")


def test_nan_is_named():
    engine = small_engine()
    with torch.no_grad():
        engine.model.get_output_embeddings().weight.fill_(torch.nan)
    with pytest.raises(EngineError, match="NaN"):
        engine.generate([1], Sampling(seed=1)).collect()


def test_stops_must_exist_and_be_no_codes():
    vocabulary = SpeechVocabulary(range(101, 357))
    with pytest.raises(EngineError, match="no stop tokens"):
        SpeechTokens(vocabulary, ())
    with pytest.raises(EngineError, match="also a code"):
        SpeechTokens(vocabulary, (100, 105))


def test_loading(tmp_path, engine):
    engine.model.save_pretrained(tmp_path / "model")
    loaded = TransformersEngine.load(str(tmp_path / "model"), engine.tokens, device="cpu", max_batch=3)
    assert loaded.max_batch == 3
    assert loaded.device.type == "cpu"
    sampling = Sampling(seed=1, max_frames=20)
    assert loaded.generate(PROMPTS[0], sampling).collect() == engine.generate(PROMPTS[0], sampling).collect()
    weights = tmp_path / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="model"):
        TransformersEngine.load(str(tmp_path / "model"), engine.tokens)
    with pytest.raises(CheckpointError):
        TransformersEngine.load(str(tmp_path / "nothing"), engine.tokens)


def test_a_device_that_does_not_exist(tmp_path, engine):
    engine.model.save_pretrained(tmp_path / "model")
    with pytest.raises(DeviceError, match="cuda:77"):
        TransformersEngine.load(str(tmp_path / "model"), engine.tokens, device="cuda:77")


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": -1},
        {"temperature": float("nan")},
        {"temperature": float("inf")},
        {"top_p": 0},
        {"top_p": 1.5},
        {"top_p": float("nan")},
        {"top_k": -1},
        {"top_k": 1.5},
        {"min_frames": 10, "max_frames": 5},
        {"max_frames": 0},
        {"seed": 1.5},
        {"repetition_frames": -1},
    ],
)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(EngineError, match=str(next(reversed(wrong)))):
        Sampling(**wrong)


def test_the_cache_goes_by_the_name_that_the_model_has_for_it():
    """transformers 5.24 calls it ``cache``, and warns of ``past_key_values``, which goes in 5.40."""
    from inspect import signature

    plain, other = small_engine(), small_engine()
    name = "cache" if "cache" in signature(other.model.forward).parameters else "past_key_values"
    for module in (other.model, other.model.base_model):
        original = module.forward

        def forward(*arguments, cache=None, original=original, **others):
            if others.pop("past_key_values", None) is not None:
                raise TypeError("forward() got an unexpected keyword argument 'past_key_values'")
            return original(*arguments, **{name: cache}, **others)

        module.forward = forward
    sampling = Sampling(seed=1, max_frames=20)
    renamed = TransformersEngine(other.model, other.tokens)
    assert renamed._head.computes_rows_only
    assert renamed.generate(PROMPTS[0], sampling).collect() == plain.generate(PROMPTS[0], sampling).collect()


@pytest.mark.filterwarnings("error")
def test_generating_gives_no_warning_of_transformers():
    assert small_engine().generate(PROMPTS[0], Sampling(seed=1, max_frames=5)).collect().ids
