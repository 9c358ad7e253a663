"""What the plugin costs plain text: the turns of two writers, and what is made of their answers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import plugin as script
from neucodec_tts.errors import EngineError
from plugin import PlainTextCost, measure_plain_text

WRITER = """
import json, sys, time
without = "--without-plugin" in sys.argv
print(json.dumps({"ready": True, "plugin": PLUGIN}), flush=True)
for number, line in enumerate(sys.stdin):
    asked = json.loads(line)
    with open(sys.argv[1], "a") as diary:
        print(f"{'without' if without else 'with'} {asked['seed']}", file=diary)
    tokens = asked["requests"] * asked["tokens"]
    seconds = tokens / (100 if without else 80)
    answer = {"seconds": seconds, "processor_seconds": seconds, "tokens": tokens, "digest": DIGEST}
    print(json.dumps(answer), flush=True)
"""


def writer(plugin: str = "not without", digest: str = "asked['seed']") -> list[str]:
    """A program that says of itself what it took; nothing is computed, so nothing depends on the machine."""
    return [sys.executable, "-c", WRITER.replace("PLUGIN", plugin).replace("DIGEST", digest)]


def test_turns_alternate_and_are_compared_pair_by_pair(tmp_path):
    diary = tmp_path / "diary"
    notes: list[str] = []
    cost = measure_plain_text(
        str(diary), turns=3, requests=2, tokens=5, writer=writer(), advance=notes.append
    )
    started = [note for note in notes if note.startswith("starting")]
    assert cost.with_plugin == pytest.approx([80] * 3)
    assert cost.without_plugin == pytest.approx([100] * 3)
    assert cost.loss == pytest.approx(0.2)
    assert cost.more_work == pytest.approx(0.25)
    assert cost.work_without_plugin == pytest.approx([10] * 3)
    assert cost.same_tokens
    # Each goes the other way round than the one before, after one to warm up each time that they have started.
    ways = [line.split() for line in diary.read_text().splitlines()]
    assert [seed for _, seed in ways] == [str(turn) for turn in (0, 1, 2, 0, 3) for _ in range(2)]
    firsts = [way for way, _ in ways[::2]]
    assert firsts == ["with", "without", "with", "with", "without"]
    assert {way for way, _ in ways} == {"with", "without"}
    assert started == [f"starting vLLM {way} the plugin" for way in ("with", "without", "without", "with")]


def test_a_machine_that_is_busier_in_some_turns_changes_little():
    cost = PlainTextCost([50, 9, 100, 7, 7, 1], [50, 10, 100, 7, 7, 2], [1, 2, 3] * 2, [1, 2, 3] * 2, True)
    assert (cost.loss, cost.more_work) == (0, 0)


def test_being_started_first_is_no_cost_of_the_plugin():
    cost = PlainTextCost([11, 12, 11, 9, 9, 8], [10] * 6, [9, 9, 9, 11, 11, 11], [10] * 6, True)
    assert cost.loss == pytest.approx(0)
    assert cost.more_work == pytest.approx(0)


def test_other_tokens_are_noticed(tmp_path):
    cost = measure_plain_text(str(tmp_path / "diary"), turns=1, writer=writer(digest="without"))
    assert not cost.same_tokens


@pytest.mark.parametrize(("plugin", "said"), [("False", "not loaded the plugin"), ("True", "it was hidden")])
def test_a_comparison_of_the_same_is_none(tmp_path, plugin, said):
    with pytest.raises(EngineError, match=said):
        measure_plain_text(str(tmp_path / "diary"), turns=1, writer=writer(plugin))


@pytest.mark.parametrize("begun", [False, True])
def test_what_a_writer_that_ends_has_said_is_quoted(tmp_path, begun):
    ready = "print('{\"plugin\": true}'.replace('true', str('--without-plugin' not in sys.argv).lower()))"
    program = f"import sys; {ready if begun else 'pass'}; sys.exit('no memory')"
    with pytest.raises(EngineError, match="vLLM has ended: no memory"):
        measure_plain_text(str(tmp_path), turns=1, writer=[sys.executable, "-c", program])


def test_the_plugin_can_be_hidden_and_nothing_else_is():
    """In a process of its own, as vLLM's workers read the same file."""
    pytest.importorskip("vllm", reason="vLLM is not installed")
    look = """
import importlib.metadata as metadata
def found(group): return len(metadata.entry_points(group=group))
before = found("vllm.logits_processors"), found("console_scripts")
from plain_text_writer import hide_plugin
hide_plugin()
print(before[0], found("vllm.logits_processors"), before[1] - found("console_scripts"))
"""
    done = subprocess.run(
        [sys.executable, "-c", look],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(script.__file__).parent,
    )
    assert done.stdout.split() == ["1", "0", "0"]
