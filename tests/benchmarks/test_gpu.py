"""``make gpu`` at toy size on a CPU: every part, what is written, and what happens when a part fails."""

from __future__ import annotations

import pytest

import gpu
from card import report
from tests.benchmarks.scripts import invoke


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    out = tmp_path_factory.mktemp("results")
    assert gpu.work(gpu.NAMES, out, "toy", "cpu") == 0
    return report.read_results(out)


@pytest.mark.parametrize("name", gpu.NAMES)
def test_each_part(results, name):
    assert results[name]["status"] == "done", results[name]["traceback"]
    assert results[name]["rows"]
    for row in results[name]["rows"]:
        assert row.get("right", True), row
        assert not [key for key in row if key == "failed" or key.startswith("left out")], row


def test_the_page(results, tmp_path):
    """All tables, and nothing outside of the markers changes."""
    page = tmp_path / "page.md"
    text = gpu.PAGE.read_text()
    page.write_text(text)
    report.write_section(page, report.section(results, gpu.NAMES))
    written = page.read_text()
    assert written.split(report.BEGIN)[0] == text.split(report.BEGIN)[0]
    assert written.split(report.END)[1] == text.split(report.END)[1]
    for title in ("Correctness", "Encoding", "Decoding", "Streams", "Memory", "A ragged corpus"):
        assert f"## {title}\n\n| " in written
    assert "no card; torch" in written
    (tmp_path / "other.md").write_text("nothing")
    with pytest.raises(ValueError, match="has no section between"):
        report.write_section(tmp_path / "other.md", "text")


def test_the_page_of_the_docs_is_what_the_script_writes_without_results():
    """Until a card has run it, each goal stands there as not measured; afterwards a card is named."""
    text = gpu.PAGE.read_text().split(report.BEGIN)[1].split(report.END)[0]
    for goal, wanted, measured in report.goals({}):
        assert measured == "not measured"
        assert f"| {goal} | {wanted} |" in text
    assert "not measured" in text or "driver" in text


def test_a_part_that_fails_says_why(tmp_path, monkeypatch):
    """The others go on, and the table says what failed."""
    from card import correctness

    def broken(bench):
        raise RuntimeError("CUDA error: an illegal memory access\nand more")

    monkeypatch.setattr(correctness, "decoding", broken)
    assert gpu.work(["correct-decode", "memory"], tmp_path, "toy", "cpu") == 0
    results = report.read_results(tmp_path)
    assert results["correct-decode"]["why"] == "RuntimeError: CUDA error: an illegal memory access"
    assert results["memory"]["status"] == "done"
    assert "| correct-decode |  | failed | RuntimeError: CUDA error" in report.section(results, gpu.NAMES)
    assert gpu.missing(tmp_path, ["correct-decode", "memory", "encode"], "toy") == ["encode"]


def test_cases_without_time_are_left_out(tmp_path, monkeypatch):
    from dataclasses import replace

    parts = [replace(part, seconds=-1.0) for part in gpu.PARTS]
    monkeypatch.setattr(gpu, "PARTS", parts)
    gpu.work(["memory"], tmp_path, "toy", "cpu")
    results = report.read_results(tmp_path)
    assert results["memory"]["rows"] == [{"left out, for want of time": ["float32", "bfloat16"]}]
    assert "Left out, for want of time: float32, bfloat16." in report.section(results, gpu.NAMES)


def test_wrong_use(tmp_path):
    assert "there is no part 'speed'" in invoke(gpu.main, "speed", "--out", tmp_path).output


WORKER = """
import json, os, pathlib, sys, time
names = sys.argv[1 : sys.argv.index("--worker")]
out = pathlib.Path(sys.argv[sys.argv.index("--out") + 1])
for name in names:
    (out / "running").write_text(f"{name} 0")
    if name == "correct-decode":
        print("Segmentation fault", flush=True)
        time.sleep(SLEEP)
        os._exit(3)
    result = {"part": name, "size": "toy", "status": "done", "rows": [], "warnings": []}
    (out / f"{name}.json").write_text(json.dumps(result))
"""


@pytest.mark.parametrize(
    ("sleep", "why"), [(0, "the process ended with status 3"), (300, " s and was ended")]
)
def test_a_process_that_dies_or_hangs(tmp_path, monkeypatch, sleep, why):
    """Its part is marked, and the next process does the rest."""
    script = tmp_path / "worker.py"
    script.write_text(WORKER.replace("SLEEP", str(sleep)))
    monkeypatch.setattr(gpu, "__file__", str(script))
    monkeypatch.setattr(gpu, "_STARTING_SECONDS", 0.0)
    told: list[str] = []
    gpu.supervise(["machine", "correct-decode", "memory"], tmp_path, "toy", "cpu", told.append)
    results = report.read_results(tmp_path)
    assert told == ["machine", "correct-decode", "memory"]
    assert [results[name]["status"] for name in told] == ["done", "failed", "done"]
    assert results["correct-decode"]["why"].endswith(why)
    assert results["correct-decode"]["log"] == ["Segmentation fault"]
    assert not (tmp_path / "running").exists()
