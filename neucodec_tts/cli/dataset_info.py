"""The report of ``neucodec-tts info`` on a data set."""

from __future__ import annotations

import math
from pathlib import Path

from neucodec_tts.cli.terminal import Terminal
from neucodec_tts.errors import NeuCodecError

PICTURE = "statistics.png"
_BARS = 15
_BAR_WIDTH = 40
_SPEAKERS = 8


def show_dataset(terminal: Terminal, folder: str, plot: Path | None) -> None:
    """Print hours, speakers, lengths and use of the codes, and draw them.

    Args:
        terminal: where to print.
        folder: the data set, a path or a URL.
        plot: the picture to draw; None draws it into the data set, if that is on this machine and can be.

    Raises:
        NeuCodecError: the data set is damaged or not complete, or the picture that was asked for cannot be drawn.
    """
    from neucodec_tts.dataset import describe
    from neucodec_tts.dataset.statistics import BIN_SECONDS

    with terminal.progress("counting") as advance:
        found = describe(folder, lambda done, total: advance(1))
    manifest = found.manifest
    most = math.log2(max(2, min(found.code_counts.size, manifest.frames)))
    picture = _draw(terminal, folder, plot, found)
    terminal.result(
        {
            "dataset": folder,
            "rows": manifest.rows,
            "hours": manifest.hours,
            "frames": manifest.frames,
            "codec": manifest.codec,
            "settings": manifest.settings,
            "source": manifest.source,
            "tokens": manifest.tokens,
            "content": manifest.content,
            "rejects": manifest.rejects,
            "seconds": {"shortest": found.shortest, "median": found.median, "longest": found.longest},
            "lengths": {"bin_seconds": BIN_SECONDS, "utterances": found.lengths.tolist()},
            "speakers": found.speakers,
            "without_speaker": found.without_speaker,
            "without_text": found.without_text,
            "characters": found.characters,
            "codes": {
                "used": found.used_codes,
                "codebook_size": found.code_counts.size,
                "entropy_bits": found.entropy_bits,
                "most_bits": most,
            },
            "training_tokens": found.tokens,
            "longest_example": found.longest_example,
            "picture": picture,
        }
    )
    hours = manifest.hours
    said = f"{hours:.2f} h" if hours >= 0.1 else f"{manifest.seconds:.1f} s"
    terminal.say(
        f"data set   {folder}: {said} of speech, {manifest.rows} utterances, {len(manifest.shards)} shards"
    )
    terminal.say(f"codec      {manifest.codec['codec_id']}, {manifest.codec['frame_rate']:g} codes a second")
    if manifest.rejects:
        counted = ", ".join(f"{reason} {count}" for reason, count in manifest.rejects.items())
        terminal.say(f"left out   {sum(manifest.rejects.values())}: {counted}")
    speakers = [f"{name} {share:.2f} h" for name, share in list(found.speakers.items())[:_SPEAKERS]]
    if len(found.speakers) > _SPEAKERS:
        speakers.append(f"{len(found.speakers) - _SPEAKERS} more")
    unknown = f"{found.without_speaker} utterances without" if found.without_speaker else ""
    terminal.say(
        f"speakers   {len(found.speakers)}: {', '.join([*speakers, *([unknown] if unknown else [])])}"
    )
    terminal.say(
        f"text       {manifest.rows - found.without_text} utterances, {found.characters} characters"
        + (f"; {found.without_text} without" if found.without_text else "")
    )
    if manifest.tokens is not None:
        terminal.say(
            f"training   {found.tokens} tokens for {manifest.tokens['model']} "
            f"({manifest.tokens['prompt_format']}), the longest example {found.longest_example}"
        )
    terminal.say(
        f"codes      {found.used_codes} of {found.code_counts.size} occur in {manifest.frames} frames; entropy "
        f"{found.entropy_bits:.2f} bits, of {most:.2f} there could be"
    )
    terminal.say(f"lengths    {found.shortest:.2f} to {found.longest:.2f} s, half below {found.median:.2f} s")
    for line in histogram(found.lengths.tolist(), BIN_SECONDS):
        terminal.say(line)
    if picture is not None:
        terminal.say(f"picture    {picture}")


def histogram(counts: list[int], bin_seconds: float) -> list[str]:
    """Lines of a bar chart, of at most fifteen bars: bins are put together, and empty ones before the first left
    out."""
    if not any(counts):
        return []
    together = -(-len(counts) // _BARS)
    grouped = [sum(counts[start : start + together]) for start in range(0, len(counts), together)]
    first = next(index for index, count in enumerate(grouped) if count)
    width = together * bin_seconds
    most, digits = max(grouped), len(str(max(grouped)))
    return [
        f"  {index * width:5.0f} to {(index + 1) * width:3.0f} s  {count:{digits}d}  "
        + "█" * -(-count * _BAR_WIDTH // most)
        for index, count in enumerate(grouped)
        if index >= first
    ]


def _draw(terminal: Terminal, folder: str, plot: Path | None, found: object) -> Path | None:
    from neucodec_tts.dataset import Statistics
    from neucodec_tts.dataset.statistics import BIN_SECONDS
    from neucodec_tts.metrics.plot_dataset import plot_dataset

    assert isinstance(found, Statistics)
    if plot is None and "://" in folder:
        return None
    target = Path(folder) / PICTURE if plot is None else plot
    manifest = found.manifest
    title = (
        f"{Path(folder).resolve().name}: {manifest.hours:.2f} h, {manifest.rows} utterances, "
        f"{len(found.speakers)} speakers"
    )
    below = (
        f"{found.used_codes} of {found.code_counts.size} codes in {manifest.frames} frames, entropy "
        f"{found.entropy_bits:.2f} bits"
    )
    try:
        plot_dataset(target, found.lengths, BIN_SECONDS, found.code_counts, title, below)
    except NeuCodecError as problem:
        if plot is not None:
            raise
        terminal.note(f"no picture: {problem}")
        return None
    return target
