"""Upstream's answers, and our codec with upstream's weights."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from neucodec_tts import NeuCodec
from tests.parity import cases
from tests.parity.comparisons import CHECKED
from tests.parity.reference import Answers, ask_upstream
from tests.parity.sizes import small_config


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
def answers(
    upstream: Path, audio_files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Answers:
    """Upstream's answers to all cases, from a small model with random weights."""
    return ask_upstream(
        upstream, tmp_path_factory.mktemp("upstream"), small_config(), cases.everything(audio_files)
    )


@pytest.fixture(scope="session")
def codec(answers: Answers) -> NeuCodec:
    """Our codec, with upstream's weights from upstream's file."""
    return NeuCodec.from_pretrained(answers.checkpoint)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print how far ours and theirs agreed: the figures of the README."""
    if not CHECKED:
        return
    terminalreporter.section("parity")
    terminalreporter.write_line(
        f"{'reference':<14}{'compared':<12}{'items':>7}{'codes':>9}{'equal':>11}"
        f"{'worst distance':>16}{'lowest SNR':>12}"
    )
    for reference in ("upstream", "transformers"):
        for kind, wanted in (("codes", True), ("audio", False)):
            rows = [a for test, a in CHECKED if f"test_{reference}." in test and bool(a.codes) == wanted]
            if not rows:
                continue
            items, codes = sum(a.items for a in rows), sum(a.codes for a in rows)
            line = f"{reference:<14}{kind:<12}{items:>7}"
            if wanted:
                share = 100 * sum(a.equal for a in rows) / codes
                line += f"{codes:>9}{share:>9.3f} %{max(a.worst_distance for a in rows):>16.1e}"
            else:
                line += f"{'':>36}{min(a.worst_snr for a in rows):>9.1f} dB"
            terminalreporter.write_line(line)
