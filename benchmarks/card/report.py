"""The tables of ``docs/benchmarks_gpu.md`` from the results of the parts."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"

Row = dict[str, Any]
Results = Mapping[str, Mapping[str, Any]]

# The published times of upstream's model card, in seconds for a second of audio: encoder, decoder.
_CARD_ENCODE, _CARD_DECODE = 0.030, 0.003


def read_results(folder: Path) -> dict[str, dict[str, Any]]:
    """What the parts have written, by their names."""
    found = {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}
    return {name: result for name, result in found.items() if isinstance(result, dict) and "status" in result}


def write_section(page: Path, text: str) -> None:
    """Put ``text`` between the markers of a page.

    Raises:
        ValueError: the page lacks the markers.
    """
    whole = page.read_text(encoding="utf-8")
    before, begin, rest = whole.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page} has no section between {BEGIN} and {END}")
    page.write_text(f"{before}{BEGIN}\n\n{text.strip()}\n\n{END}{after}", encoding="utf-8")


def section(results: Results, order: list[str]) -> str:
    """All tables, in Markdown."""
    parts = [_machine(results), "## Goals", _goals(results)]
    parts += ["## Correctness", _correctness(results, order)]
    for title, name, table in (
        ("Encoding", "encode", _grid),
        ("Decoding", "decode", _grid),
        ("A ragged corpus", "ragged", _ragged),
        ("Streams", "streams", _streams),
        ("Memory", "memory", _memory),
        ("`torch.compile`", "compile", _compiled),
    ):
        if name in results:
            parts += [f"## {title}", _result(results[name], table)]
    return "\n\n".join(part for part in parts if part)


def _result(result: Mapping[str, Any], table: Callable[[list[Row]], str]) -> str:
    if result["status"] != "done":
        return f"Failed: {result['why']}"
    rows = [row for row in result["rows"] if not any(key.startswith("left out") for key in row)]
    left = [
        str(each) for row in result["rows"] for key in row if key.startswith("left out") for each in row[key]
    ]
    text = table(rows) if rows else "Nothing was measured."
    return text + (f"\n\nLeft out, for want of time: {', '.join(left)}." if left else "")


def _machine(results: Results) -> str:
    rows = results.get("machine", {}).get("rows")
    if not rows:
        return "The machine is not known."
    row = rows[0]
    card = f"{row['card']} ({_gib(row['memory'])}), driver {row['driver']}" if "card" in row else "no card"
    peaks = ", ".join(f"{each['dtype']} {each['tflops']:.3g}" for each in rows[1:])
    return (
        f"{results['machine']['date']}: {card}; torch {row['torch']}, transformers {row['transformers']}, Triton "
        f"{row['triton'] or 'not installed'}, Python {row['python']}. Random weights, {results['machine']['size']} "
        f"size. Peak of matrix products, TFLOP/s: {peaks}."
    )


def goals(results: Results) -> list[tuple[str, str, str]]:
    """Each goal, what it asks for, and what was measured."""
    ragged = [row for row in _rows(results, "ragged") if "times_real_time" in row]
    decode = [row for row in _rows(results, "decode") if "times_real_time" in row]
    encode = [row for row in _rows(results, "encode") if "times_real_time" in row]
    streams = [row for row in _rows(results, "streams") if "batch_ms" in row]
    halves = [row["times_real_time"] for row in decode if row["dtype"] != "float32"]
    ratios = [row["ratio"] for row in ragged if "ratio" in row]
    first = [row["batch_ms"]["median"] for row in streams if row["streams"] == 1]
    most = [row for row in streams if row["streams"] == 1000]

    def best(values: list[float], unit: str) -> str:
        return f"{max(values):,.0f}{unit}" if values else "not measured"

    thousand = [
        f"{'yes' if row['real_time'] else 'no'}, {row['batch_ms']['p99']:.1f} ms ({row['dtype']})"
        for row in most
    ]
    return [
        ("a ragged corpus, beside transformers one by one", "20 times", best(ratios, " times")),
        (
            "a ragged corpus",
            "1,500 times real time",
            best([row["times_real_time"] for row in ragged], " times"),
        ),
        ("decoding in half precision", "10,000 times real time", best(halves, " times")),
        ("a chunk of one stream", "under 2 ms", f"{min(first):.2f} ms" if first else "not measured"),
        (
            "1,000 streams in real time, 99th percentile of a batch",
            "yes, under 50 ms",
            "; ".join(thousand) or "not measured",
        ),
        (
            "encoding, seconds for a second",
            f"{_CARD_ENCODE / 10:g}, a tenth of the model card's",
            _seconds([row["times_real_time"] for row in encode]),
        ),
        (
            "decoding, seconds for a second",
            f"{_CARD_DECODE / 10:g}, a tenth of the model card's",
            _seconds([row["times_real_time"] for row in decode]),
        ),
    ]


def _seconds(times: list[float]) -> str:
    return f"{1 / max(times):.2g}" if times else "not measured"


def _goals(results: Results) -> str:
    return _table(["goal", "wanted", "measured"], [list(goal) for goal in goals(results)])


def _rows(results: Results, name: str) -> list[Row]:
    rows: list[Row] = results.get(name, {}).get("rows", [])
    return rows


_SPEED = ("machine", "encode", "decode", "ragged", "streams", "memory", "compile")


def _correctness(results: Results, order: list[str]) -> str:
    lines = []
    for name in order:
        if name in _SPEED or name not in results:
            continue
        result = results[name]
        if result["status"] != "done":
            lines.append([name, "", "failed", result["why"]])
            continue
        for row in result["rows"]:
            right = "yes" if row.get("right") else f"**no**, wanted {row.get('wanted', '')}"
            lines.append([name, row.get("what", ""), right, _details(row)])
        lines += [[name, "", "warning", warning] for warning in result.get("warnings", [])]
    return _table(["part", "what", "right", "result"], lines)


def _details(row: Row) -> str:
    found = []
    if "codes" in row:
        found.append(f"{row['codes'] - row['differ']:,} of {row['codes']:,} codes equal")
    if "codes_equal" in row:
        found.append(
            f"{100 * row['codes_equal']:.1f} % of codes, {100 * row['digits_equal']:.1f} % of digits equal"
        )
    if row.get("snr") is not None:
        found.append("equal" if row["snr"] >= 1000 else f"{row['snr']:.1f} dB")
    found += [
        f"{name.replace('_', ' ')}: {'yes' if row[name] else 'no'}"
        for name in ("fused", "merged", "graphs_in_use")
        if name in row
    ]
    return ", ".join(found)


def _grid(rows: list[Row]) -> str:
    lines = []
    for row in rows:
        if "failed" in row:
            lines.append([row["dtype"], str(row["batch"]), row["failed"], "", "", "", ""])
            continue
        theirs = row.get("transformers")
        lines.append(
            [
                row["dtype"],
                str(row["batch"]),
                _number(row["times_real_time"]),
                f"{100 * row['share_of_peak']:.1f} %",
                _gib(row["memory"]),
                _number(theirs) if isinstance(theirs, float) else str(theirs),
                f"{row['ratio']:.2f}" if "ratio" in row else "",
            ]
        )
    heads = ["format", "batch", "times real time", "of the peak", "memory", "transformers, float32", "ratio"]
    return _table(heads, lines)


def _ragged(rows: list[Row]) -> str:
    return _table(
        ["format", "utterances", "seconds", "times real time", "transformers one by one", "ratio"],
        [
            [
                row["dtype"],
                str(row["utterances"]),
                _number(row["seconds"]),
                _number(row["times_real_time"]),
                _number(row["transformers"])
                if isinstance(row["transformers"], float)
                else row["transformers"],
                f"{row['ratio']:.2f}" if "ratio" in row else "",
            ]
            for row in rows
        ],
    )


def _streams(rows: list[Row]) -> str:
    lines = []
    for row in rows:
        if "failed" in row:
            lines.append([row["dtype"], str(row["streams"]), row["failed"], "", "", "", ""])
            continue
        lines.append(
            [
                row["dtype"],
                str(row["streams"]),
                "yes" if row["real_time"] else "no",
                f"{100 * row['load']:.1f} %",
                *(
                    f"{row[key]['median']:.2f}, {row[key]['p99']:.2f} ms"
                    for key in ("batch_ms", "chunk_delay_ms")
                ),
                "yes" if row["graphs"] else "no",
            ]
        )
    heads = [
        "format",
        "streams",
        "in real time",
        "busy",
        "a batch: median, 99 %",
        "a chunk waits: median, 99 %",
        "graphs",
    ]
    return _table(heads, lines)


def _memory(rows: list[Row]) -> str:
    return _table(
        ["format", "weights", "one stream", "recorded shapes of streams"],
        [
            [row["dtype"], *(_gib(row[key]) for key in ("weights", "of_a_stream", "fixed_shapes"))]
            for row in rows
        ],
    )


def _compiled(rows: list[Row]) -> str:
    return _table(
        ["format", "batch", "in use", "compiling", "plain, times real time", "compiled"],
        [
            [
                row["dtype"],
                str(row["batch"]),
                "yes" if row["used"] else "no",
                f"{row['compiling']:.0f} s",
                _number(row["plain"]),
                _number(row["compiled"]),
            ]
            for row in rows
        ],
    )


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _gib(count: int | None) -> str:
    if count is None:
        return "not measured"
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"


def _table(heads: list[str], lines: list[list[str]]) -> str:
    rows = [heads, ["---"] * len(heads), *lines]
    return "\n".join(
        "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in row) + " |"
        for row in rows
    )
