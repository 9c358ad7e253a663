"""What a constrained request may draw: against a token-by-token rule, in both runners' processors, and split."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from neucodec_tts_vllm.constraint import AllowedTokens, SpeechConstraint, constrain

WIDTH = 40
TOKENS = AllowedTokens(10, 30, (3, 35))


def allowed(tokens: AllowedTokens, id: int, frames: int, least: int, most: int | None) -> bool:
    """The rule, for one token."""
    if id in tokens.stop_ids:
        return frames >= least
    return tokens.first <= id < tokens.end and (most is None or frames < most)


def logits_of(rows: int) -> torch.Tensor:
    return torch.randn(rows, WIDTH, generator=torch.Generator().manual_seed(rows))


@given(
    first=st.integers(0, 30),
    size=st.integers(1, 15),
    stops=st.sets(st.integers(0, WIDTH - 1), min_size=1, max_size=3),
    rows=st.lists(st.tuples(st.booleans(), st.integers(0, 6)), min_size=1, max_size=5),
    least=st.integers(0, 4),
    more=st.none() | st.integers(1, 3),
    parts=st.integers(1, 7),
)
def test_only_allowed_logits_survive_and_a_split_vocabulary_says_the_same(
    first, size, stops, rows, least, more, parts
):
    end = min(first + size, WIDTH)
    stops = {stop for stop in stops if not first <= stop < end}
    tokens = AllowedTokens(first, end, tuple(sorted(stops)))
    most = None if more is None else least + more
    before = logits_of(len(rows))
    frames = torch.tensor([count for _, count in rows])
    settings = {
        "rows": torch.tensor([meant for meant, _ in rows]),
        "stop_blocked": frames < least,
        "codes_blocked": None if most is None else frames >= most,
    }
    whole = before.clone()
    constrain(whole, tokens, **settings)
    for row, (meant, count) in enumerate(rows):
        for id in range(WIDTH):
            expected = before[row, id] if not meant or allowed(tokens, id, count, least, most) else -torch.inf
            assert whole[row, id] == expected
    # Each rank of a tensor-parallel model holds some columns.
    split = []
    for shard in before.clone().chunk(parts, dim=1):
        split.append(shard.clone())
        constrain(split[-1], tokens, first_column=sum(part.shape[1] for part in split[:-1]), **settings)
    assert torch.equal(torch.cat(split, dim=1), whole)


def test_what_a_request_carries_survives_the_journey():
    for constraint in (SpeechConstraint(TOKENS), SpeechConstraint(TOKENS, 5, 9)):
        assert SpeechConstraint.from_extra_args({"other": 1, **constraint.to_extra_args()}) == constraint
    assert SpeechConstraint.from_extra_args(None) is None
    assert SpeechConstraint.from_extra_args({"session_id": "x"}) is None


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"neucodec_codes": 5}, "neucodec_codes"),
        ({"neucodec_codes": [5]}, "neucodec_codes"),
        ({"neucodec_codes": [5, "6"]}, "neucodec_codes"),
        ({"neucodec_codes": [-1, 6]}, "neucodec_codes"),
        ({"neucodec_codes": [0, 2**40]}, "neucodec_codes"),
        ({"neucodec_codes": [30, 10]}, "empty range"),
        ({"neucodec_stops": []}, "neucodec_stops"),
        ({"neucodec_stops": list(range(100, 200))}, "neucodec_stops"),
        ({"neucodec_stops": [True]}, "neucodec_stops"),
        ({"neucodec_stops": [12]}, "also a code"),
        ({"neucodec_min_frames": -1}, "neucodec_min_frames"),
        ({"neucodec_min_frames": float("nan")}, "neucodec_min_frames"),
        ({"neucodec_max_frames": 0}, "neucodec_max_frames"),
        ({"neucodec_min_frames": 9, "neucodec_max_frames": 5}, "neucodec_max_frames"),
    ],
)
def test_what_is_wrong_is_named(changed, said):
    with pytest.raises(ValueError, match=said):
        SpeechConstraint.from_extra_args({**SpeechConstraint(TOKENS).to_extra_args(), **changed})


# The processors, as the runners call them


@pytest.fixture(scope="module")
def processors():
    pytest.importorskip("vllm", reason="vLLM is not installed")
    from neucodec_tts_vllm import logits_processor

    return logits_processor


def params(constraint: SpeechConstraint | None) -> SimpleNamespace:
    return SimpleNamespace(extra_args=None if constraint is None else constraint.to_extra_args())


def config(vocab_size: int = WIDTH) -> SimpleNamespace:
    return SimpleNamespace(model_config=SimpleNamespace(get_vocab_size=lambda: vocab_size))


def survivors(logits: torch.Tensor) -> list[set[int]]:
    return [set(torch.isfinite(row).nonzero().flatten().tolist()) for row in logits]


def expected(constraint: SpeechConstraint | None, frames: int) -> set[int]:
    if constraint is None:
        return set(range(WIDTH))
    return {
        id
        for id in range(WIDTH)
        if allowed(constraint.tokens, id, frames, constraint.min_frames, constraint.max_frames)
    }


SPEECH = SpeechConstraint(TOKENS, min_frames=2, max_frames=4)
OTHER = SpeechConstraint(AllowedTokens(0, 5, (9,)))


def test_the_entry_point_suits_both_runners(processors):
    from importlib.metadata import entry_points

    from vllm.v1.sample.logits_processor import LogitsProcessor as RunnerV1
    from vllm.v1.worker.gpu.sample.logits_processor import LogitsProcessor as RunnerV2

    (found,) = entry_points(group="vllm.logits_processors", name="neucodec_tts")
    loaded = found.load()
    assert issubclass(loaded, RunnerV1)
    assert issubclass(loaded, RunnerV2)
    assert isinstance(loaded(config(), torch.device("cpu"), False), processors.SpeechProcessorV1)
    assert isinstance(loaded(config(), slots_of([1])), processors.SpeechProcessorV2)
    loaded.validate_params(params(None))
    loaded.validate_params(params(SPEECH))
    with pytest.raises(ValueError, match="neucodec_codes"):
        loaded.validate_params(SimpleNamespace(extra_args={"neucodec_codes": "all"}))


def test_v1_follows_requests_through_the_batch(processors):
    from vllm.v1.sample.logits_processor import BatchUpdate, MoveDirectionality

    processor = processors.SpeechProcessorV1(config(), torch.device("cpu"), False)
    assert not processor.is_argmax_invariant()
    outputs: dict[str, list[int]] = {"a": [], "b": [], "c": []}
    kinds = {"a": SPEECH, "b": None, "c": OTHER}

    def step(batch: list[str], update: BatchUpdate | None) -> None:
        processor.update_state(update)
        logits = logits_of(len(batch))
        assert survivors(processor.apply(logits)) == [
            expected(kinds[name], len(outputs[name])) for name in batch
        ]
        for name in batch:
            outputs[name].append(20)

    def added(row: int, name: str) -> tuple:
        return row, params(kinds[name]), [1, 2], outputs[name]

    step(["b"], BatchUpdate(1, [], [added(0, "b")], []))
    step(["b", "a"], BatchUpdate(2, [], [added(1, "a")], []))
    step(["b", "a"], None)
    step(["b", "a", "c"], BatchUpdate(3, [], [added(2, "c")], []))  # a has two frames and may stop
    step(["a", "b", "c"], BatchUpdate(3, [], [], [(0, 1, MoveDirectionality.SWAP)]))
    step(["a", "b", "c"], None)  # a must stop
    # a has ended; c takes its place.
    step(["c", "b"], BatchUpdate(2, [0], [], [(2, 0, MoveDirectionality.UNIDIRECTIONAL)]))
    step(["b"], BatchUpdate(1, [0], [], [(1, 0, MoveDirectionality.UNIDIRECTIONAL)]))
    assert processor._requests == {}
    # Preempted and resumed: what it has generated counts.
    outputs["a"] = [20, 20, 20]
    step(["b", "a"], BatchUpdate(2, [], [added(1, "a")], []))


def slots_of(prompt_lengths: list[int]) -> SimpleNamespace:
    """The part of ``LogitsProcRequestState`` that is looked at, as Model Runner V2 fills it."""
    return SimpleNamespace(
        device=torch.device("cpu"),
        max_num_reqs=len(prompt_lengths),
        vocab_size=WIDTH,
        prompt_len=SimpleNamespace(np=np.array(prompt_lengths, np.int32)),
    )


def context(rows: list[tuple[int, int]]) -> object:
    """Rows of (slot, position) as a step's ``LogitsContext``."""
    from vllm.v1.worker.gpu.sample.logits_processor import LogitsContext

    slots = list(dict.fromkeys(slot for slot, _ in rows))
    return LogitsContext(
        expanded_idx_mapping=torch.tensor([slot for slot, _ in rows], dtype=torch.int32),
        idx_mapping=torch.tensor(slots, dtype=torch.int32),
        idx_mapping_np=np.array(slots, np.int32),
        expanded_local_pos=torch.zeros(len(rows), dtype=torch.int32),
        input_ids=torch.zeros(len(rows), dtype=torch.int32),
        pos=torch.tensor([position for _, position in rows]),
        seq_lens_upper_bound_np=np.array([1 + max(p for s, p in rows if s == slot) for slot in slots]),
    )


def test_v2_follows_slots_rows_and_draft_tokens(processors):
    state = slots_of([7, 5, 9, 4])
    processor = processors.SpeechProcessorV2(config(), state)
    kinds = {0: SPEECH, 1: None, 2: OTHER}
    for slot, kind in kinds.items():
        assert processor.add_request(slot, params(kind)) is (kind is not None)
    processor.apply_staged_writes()

    def check(rows: list[tuple[int, int]]) -> None:
        logits = processor.apply(logits_of(len(rows)), context(rows))
        prompt = state.prompt_len.np
        assert survivors(logits) == [
            expected(kinds[slot], position + 1 - int(prompt[slot])) for slot, position in rows
        ]

    check([(1, 8)])  # no speech at all
    check([(0, 6)])  # speech only: the first token
    check([(2, 20), (0, 8), (1, 5)])  # mixed, in any order; slot 0 may stop
    check([(0, 10), (1, 5)])  # slot 0 must stop
    check([(0, 6), (0, 7), (0, 8), (0, 9), (0, 10), (2, 9)])  # five rows of one request: draft tokens
    # A slot is given to another request.
    kinds[0] = None
    assert processor.add_request(0, params(None)) is False
    processor.apply_staged_writes()
    check([(0, 6), (2, 9)])


def test_v2_keeps_no_more_kinds_of_speech_than_slots(processors):
    processor = processors.SpeechProcessorV2(config(), slots_of([1, 1, 1]))
    for first in range(30):
        processor.add_request(first % 3, params(SpeechConstraint(AllowedTokens(first, first + 5, (39,)))))
    assert len(processor._kinds) <= 4
    processor.apply_staged_writes()
    logits = processor.apply(logits_of(3), context([(0, 1), (1, 1), (2, 1)]))
    assert survivors(logits) == [{39, *range(first, first + 5)} for first in (27, 28, 29)]


@pytest.mark.parametrize("runner", ["v1", "v2"])
def test_codes_that_the_model_lacks_do_not_forbid_everything(processors, runner, caplog):
    constraint = SpeechConstraint(AllowedTokens(WIDTH - 5, WIDTH + 5, (3,)))
    if runner == "v1":
        from vllm.v1.sample.logits_processor import BatchUpdate

        processor = processors.SpeechProcessorV1(config(), torch.device("cpu"), False)
        processor.update_state(BatchUpdate(1, [], [(0, params(constraint), [1], [])], []))
        logits = processor.apply(logits_of(1))
    else:
        processor = processors.SpeechProcessorV2(config(), slots_of([1]))
        assert processor.add_request(0, params(constraint)) is False
        logits = processor.apply(logits_of(1), context([(0, 1)]))
    assert survivors(logits) == [set(range(WIDTH))]
    assert "has 40 tokens" in caplog.text
