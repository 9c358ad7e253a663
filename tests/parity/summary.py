"""The agreement of ours and theirs, printed at the end of a run.

A plugin of pytest's, and nothing that has to import torch: where tests run in several processes, the one that prints
has run none of them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

_REFERENCES = ("upstream", "upstream_distilled", "transformers")


class Checked(NamedTuple):
    """One comparison, by the test of this name; see ``Agreement``."""

    test: str
    items: int
    codes: int
    equal: int
    worst_distance: float
    worst_snr: float


CHECKED: list[Checked] = []
"""The comparisons of this run."""


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In one of several processes: hand over what was checked here."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["checked"] = [tuple(each) for each in CHECKED]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """In the process that prints: take it."""
    CHECKED.extend(Checked(*each) for each in getattr(node, "workeroutput", {}).get("checked", ()))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print a line for the codes and one for the samples of each reference."""
    lines = []
    for reference in _REFERENCES:
        for kind, wanted in (("codes", True), ("audio", False)):
            rows = [
                each for each in CHECKED if f"test_{reference}." in each.test and bool(each.codes) == wanted
            ]
            if not rows:
                continue
            items, codes = sum(each.items for each in rows), sum(each.codes for each in rows)
            line = f"{reference:<20}{kind:<12}{items:>7}"
            if wanted:
                share = 100 * sum(each.equal for each in rows) / codes
                line += f"{codes:>9}{share:>9.3f} %{max(each.worst_distance for each in rows):>16.1e}"
            else:
                line += f"{'':>36}{min(each.worst_snr for each in rows):>9.1f} dB"
            lines.append(line)
    if lines:
        terminalreporter.section("parity")
        terminalreporter.write_line(
            f"{'reference':<20}{'compared':<12}{'items':>7}{'codes':>9}{'equal':>11}"
            f"{'worst distance':>16}{'lowest SNR':>12}"
        )
        for line in lines:
            terminalreporter.write_line(line)
