"""Upstream's answers, and our codec with upstream's weights."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from neucodec_tts import NeuCodec
from tests.parity import cases
from tests.parity.reference import Answers, Question, Request, ask_upstream
from tests.parity.sizes import (
    OTHER_DECODERS,
    SMALL_WINDOW,
    full_config,
    full_distilled_config,
    small_config,
    small_distilled_config,
)


@pytest.fixture(scope="session")
def upstream(request: pytest.FixtureRequest) -> Path:
    """Python of the environment that holds upstream: $NEUCODEC_TTS_UPSTREAM_PYTHON, or the one that we make."""
    named = os.environ.get("NEUCODEC_TTS_UPSTREAM_PYTHON")
    return Path(named) if named else request.getfixturevalue("upstream_python")


@pytest.fixture(scope="session")
def audio_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Recordings at every sample rate, and one in stereo; name to path."""
    return cases.write_files(tmp_path_factory.mktemp("audio"))


@pytest.fixture(scope="session")
def small_answers(
    upstream: Path, audio_files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Answers]:
    """Upstream's answers, from small models with random weights.

    "whole" and "distilled" are asked everything; "normalized" is a distilled model whose semantic encoder hears
    normalised recordings, and lies outside its checkpoint. The names of `OTHER_DECODERS` have decoders of other rates
    and depths.
    """
    distilled = replace(small_distilled_config(), attention_window=SMALL_WINDOW)
    normalized = replace(distilled, normalize_waveform=True)
    questions = {
        "whole": Question(tmp_path_factory.mktemp("whole"), small_config(), cases.everything(audio_files)),
        **{
            name: Question(
                tmp_path_factory.mktemp(name),
                small_config(rate, layers),
                Request(
                    {"speech": cases.calibration()},
                    {},
                    cases.code_sequences() | cases.ragged_codes(),
                    cases.calibration(),
                ),
            )
            for name, (rate, layers) in OTHER_DECODERS.items()
        },
        "distilled": Question(
            tmp_path_factory.mktemp("distilled"), distilled, cases.everything_distilled(audio_files)
        ),
        "normalized": Question(
            tmp_path_factory.mktemp("normalized"),
            normalized,
            Request(cases.ragged(), {}, {}, cases.calibration()),
            seed=1,
            save="without_semantic",
        ),
    }
    return dict(zip(questions, ask_upstream(upstream, *questions.values()), strict=True))


@pytest.fixture(scope="session")
def answers(small_answers: dict[str, Answers]) -> Answers:
    """Upstream's answers to all cases, from a small model with random weights."""
    return small_answers["whole"]


@pytest.fixture(scope="session")
def codec(answers: Answers) -> NeuCodec:
    """Our codec, with upstream's weights from upstream's file."""
    return NeuCodec.from_pretrained(answers.checkpoint)


@pytest.fixture(scope="session")
def all_full_answers(upstream: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Answers]:
    """Upstream's answers from the released sizes, the whole model and the distilled one."""
    return ask_upstream(
        upstream,
        Question(tmp_path_factory.mktemp("full"), full_config(), cases.full_size(), extra_semantic_layers=1),
        Question(
            tmp_path_factory.mktemp("full_distilled"),
            full_distilled_config(),
            cases.full_size(distilled=True),
        ),
    )


@pytest.fixture(scope="session")
def full_answers(all_full_answers: list[Answers]) -> Answers:
    """Those of the whole model."""
    return all_full_answers[0]


@pytest.fixture(scope="session")
def full_distilled_answers(all_full_answers: list[Answers]) -> Answers:
    """Those of the distilled model."""
    return all_full_answers[1]
