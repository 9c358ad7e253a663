"""Find the speech in a recording, and judge the recording as a reference of a voice.

Everything is measured on frames of 20 ms, in dB relative to full scale. The thresholds were set on 200 clean
recordings of five speakers in five languages (four are warned of: imitations of monkeys), on the same made
noisy, clipped and narrow, and on 14 pieces of music (12 are warned of). Only recordings that no model could use are
refused.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import Any

import numpy as np

from neucodec_tts.errors import AudioError

Samples = np.ndarray[Any, Any]

SHORTEST, SHORT, LONG, LONGEST = 0.5, 3.0, 15.0, 30.0
"""Seconds: below the first and above the last is refused, outside the two others is warned of.

Neuphonic advises 3 to 15 s; a context of 2,048 tokens holds about 30 s, reference and new speech together.
"""

_FRAME_SECONDS = 0.02
_MARGIN_SECONDS = 0.1  # of quiet left at both ends
_PAUSE_SECONDS = 0.15  # the shortest quiet that counts as a pause to cut in
_INAUDIBLE = -60.0  # dBFS: nothing but the noise of a sound card
_QUIET = -33.0
_RANGE = 35.0  # dB below the loud frames that still belong to speech
_LITTLE_NOISE = 20.0  # dB between speech and what is heard in its gaps
_TELEPHONE = -50.0  # dB of the band above a telephone's relative to the band within
_STEADY = 0.2  # share of quiet frames below which sound is as steady as music
_TONAL = 0.06  # share of hissing frames below which it has no consonants
_CLIPPED_RUNS = 3  # flat tops a second that make it audible
_OFFSET = 0.01  # of full scale: more than converters leave by themselves
_EDGE_SECONDS = 0.06  # at either end of the recording
_WITHIN_A_WORD = 12.0  # dB below the loud frames: all of the edge is louder than that
_CHARACTERS_A_SECOND = (4.0, 28.0)


@dataclass(frozen=True)
class Advice:
    """One thing about a recording that a person can mend.

    Attributes:
        kind: ``"short"``, ``"long"``, ``"quiet"``, ``"clipped"``, ``"telephone"``, ``"noisy"``, ``"steady"``,
            ``"gaps"``, ``"offset"``, ``"begins"``, ``"ends"``, ``"cut"`` or ``"transcript"``.
        message: the fault and its mend, for people.
    """

    kind: str
    message: str


@dataclass(frozen=True)
class Examined:
    """The speech in a recording, and advice.

    Attributes:
        start: of the part to use, in seconds.
        end: of the part to use, in seconds.
        advice: faults that a person can mend.
        offset: a constant in all samples, to be taken out; 0 where there is none to speak of.
    """

    start: float
    end: float
    advice: tuple[Advice, ...]
    offset: float

    @property
    def seconds(self) -> float:
        """Length of the part to use."""
        return self.end - self.start


def examine(
    samples: Samples,
    sample_rate: int,
    *,
    name: str = "the recording",
    trim: bool = True,
    cut_to: float | None = None,
) -> Examined:
    """Find the speech in a recording and judge it.

    Args:
        samples: float (samples,) in [-1, 1], as recorded: resampling would hide clipping and bandwidth.
        sample_rate: in Hz.
        name: of the recording, in messages.
        trim: leave out the quiet before and after the speech, but for 0.1 s.
        cut_to: cut a recording that is longer than so many seconds at its last pause before that.

    Raises:
        AudioError: there is nothing to hear, or it is too short, or too long and not to be cut.
    """
    seconds = len(samples) / sample_rate
    if seconds < SHORTEST:
        raise AudioError(f"{name} is {seconds:.2f} s long; a voice needs {SHORT:g} to {LONG:g} s of speech")
    offset = float(samples.mean())
    offset = offset if abs(offset) >= _OFFSET else 0.0
    samples = samples - offset  # with it, quiet frames are as loud as others
    frame = max(1, round(_FRAME_SECONDS * sample_rate))
    levels = frame_levels(samples, frame)
    audible = levels[levels > _INAUDIBLE]
    if not len(audible):
        raise AudioError(
            f"{name} holds no speech: its loudest parts are at {levels.max():.0f} dB of full scale; check the "
            "microphone, or choose another recording"
        )
    loud = float(np.percentile(audible, 95))
    floor = float(np.percentile(levels, 5))
    active = levels > _threshold(loud, floor)
    first, last = int(np.argmax(active)), len(active) - int(np.argmax(active[::-1]))
    start, end = (
        (
            max(0.0, first * frame / sample_rate - _MARGIN_SECONDS),
            last * frame / sample_rate + _MARGIN_SECONDS,
        )
        if trim
        else (0.0, seconds)
    )
    end = min(end, seconds)
    advice: list[Advice] = []
    if cut_to is not None and end - start > cut_to:
        end = start + _last_pause(active[int(start * sample_rate / frame) :], frame / sample_rate, cut_to)
        advice.append(
            Advice(
                "cut",
                f"cut at {end:.1f} s, in a pause; the transcript must end with what is said until there",
            )
        )
    _check_length(end - start, name)

    used = slice(round(start * sample_rate), round(end * sample_rate))
    inside = slice(max(0, int(start * sample_rate / frame)), max(1, int(end * sample_rate / frame)))
    advice += _judge(samples[used], sample_rate, levels[inside], active[inside], floor, end - start)
    kinds = {one.kind for one in advice}
    if offset and "clipped" not in kinds:  # clipping shifts the mean by itself
        advice.append(
            Advice(
                "offset",
                f"all samples are shifted by {100 * offset:.1f} % of full scale, which is taken out; a sound card or a "
                "converter adds such a constant offset",
            )
        )
    if "steady" not in kinds:
        advice += _broken_words(levels, loud, floor, to_the_end=end > seconds - _EDGE_SECONDS)
    return Examined(start, end, tuple(advice), offset)


def _broken_words(levels: Samples, loud: float, floor: float, *, to_the_end: bool) -> list[Advice]:
    """Advice about a recording that begins or ends while somebody speaks."""
    advice = []
    edge = max(1, round(_EDGE_SECONDS / _FRAME_SECONDS))
    spoken = max(loud - _WITHIN_A_WORD, (loud + floor) / 2)
    for kind, there, verb in (("begins", levels[:edge], "begins"), ("ends", levels[-edge:], "ends")):
        if (kind == "begins" or to_the_end) and there.min() > spoken:
            advice.append(
                Advice(
                    kind,
                    f"it {verb} within a word; record again with a moment of quiet there, or cut it in a pause "
                    "and let the transcript hold just the words that are whole",
                )
            )
    return advice


def judge_transcript(text: str, seconds: float) -> Advice | None:
    """Say if a transcript is far too short or too long for the speech it is of.

    Args:
        text: the transcript.
        seconds: of speech.
    """
    # A Chinese, Japanese or Korean character stands for a syllable or more.
    weights = (3 if unicodedata.east_asian_width(letter) == "W" else 1 for letter in text if letter.isalnum())
    rate = sum(weights) / seconds
    least, most = _CHARACTERS_A_SECOND
    if least <= rate <= most:
        return None
    much = "little" if rate < least else "much"
    return Advice(
        "transcript",
        f"the transcript is {much} text for {seconds:.1f} s of speech; it must hold every word that is said, and none "
        "that is not, or the model repeats or drops words",
    )


def frame_levels(samples: Samples, frame: int) -> Samples:
    """Level of each whole frame in dB of full scale, float64 (frames,); digital silence is -120 dB."""
    count = max(1, len(samples) // frame)
    whole = np.asarray(samples[: count * frame], np.float64)
    power = (whole.reshape(count, -1) ** 2).mean(1)
    return 10 * np.log10(np.maximum(power, 1e-12))


def _threshold(loud: float, floor: float) -> float:
    """Level above which a frame belongs to speech: well below the loud ones, but above the noise."""
    return max(loud - _RANGE, floor + 0.25 * (loud - floor), _INAUDIBLE)


def _check_length(seconds: float, name: str) -> None:
    if seconds < SHORTEST:
        raise AudioError(
            f"{name} holds only {seconds:.2f} s of sound; a voice needs {SHORT:g} to {LONG:g} s of speech"
        )
    if seconds > LONGEST:
        raise AudioError(
            f"{name} is {seconds:.0f} s long, which leaves a model no room to speak in ({SHORT:g} to {LONG:g} s are "
            f"best); cut out a part, or have it cut at a pause (cut_to={LONG:g}, --cut)"
        )


def _last_pause(active: np.ndarray[Any, Any], frame_seconds: float, most: float) -> float:
    """Seconds from the start to the middle of the last pause that lies before `most` seconds.

    Without any pause after the first 3 s it is `most` itself.
    """
    limit = int(most / frame_seconds)
    needed = max(1, round(_PAUSE_SECONDS / frame_seconds))
    quiet = 0
    best = limit
    for index in range(limit):
        if not active[index]:
            quiet += 1
            continue
        if quiet >= needed and (index - quiet / 2) * frame_seconds >= SHORT:
            best = round(index - quiet / 2)
        quiet = 0
    if quiet >= needed and (limit - quiet / 2) * frame_seconds >= SHORT:
        best = round(limit - quiet / 2)
    return best * frame_seconds


def _judge(
    samples: Samples,
    sample_rate: int,
    levels: Samples,
    active: np.ndarray[Any, Any],
    floor: float,
    seconds: float,
) -> list[Advice]:
    """Advice about the part to use."""
    advice = []

    def advise(kind: str, message: str) -> None:
        advice.append(Advice(kind, message))

    if seconds < SHORT:
        advise("short", f"only {seconds:.1f} s of speech; {SHORT:g} to {LONG:g} s make a better likeness")
    if seconds > LONG:
        advise(
            "long",
            f"{seconds:.1f} s of speech leave a model little room to speak in; {SHORT:g} to {LONG:g} s are best, and "
            "it can be cut at a pause (cut_to=15, --cut)",
        )
    speech = _mean_level(levels[active]) if active.any() else float(levels.max())
    if speech < _QUIET:
        advise(
            "quiet",
            f"very quiet ({speech:.0f} dB of full scale); record closer, or make it {-20 - speech:.0f} dB louder",
        )
    clipped = _flat_tops(samples) / seconds >= _CLIPPED_RUNS
    if clipped:
        advise("clipped", "clipped: the loud parts are cut off flat; record again with less gain")
    if sample_rate < 16_000 or _upper_band(samples, sample_rate, speech) < _TELEPHONE:
        advise(
            "telephone", "muffled, as through a telephone: nothing above about 4 kHz; find a better recording"
        )
    steady = _share_of_quiet(levels) < _STEADY or _share_of_hisses(samples, sample_rate) < _TONAL
    if steady and not clipped:  # clipping makes speech steady
        advise("steady", "sounds as steady as music or noise, not like someone speaking; choose plain speech")
    elif speech - floor < _LITTLE_NOISE:
        advise(
            "noisy",
            f"noise, echo or music behind the voice, only {speech - floor:.0f} dB below it; record in a quiet room, "
            "the model imitates what it hears",
        )
    if active.mean() < 0.5:
        advise("gaps", "more than half of it is silence; a few sentences in one go are better")
    return advice


def _mean_level(levels: Samples) -> float:
    """Level of the mean power, in dB."""
    return float(10 * np.log10((10 ** (levels / 10)).mean()))


def _flat_tops(samples: Samples) -> int:
    """Number of places where at least three samples in a row stand at the largest value there is."""
    size = np.abs(samples)
    peak = float(size.max())
    if peak < 0.1:
        return 0
    at_peak = np.concatenate([[0], (size >= 0.997 * peak).astype(np.int8), [0]])
    edges = np.flatnonzero(np.diff(at_peak))
    return int(((edges[1::2] - edges[::2]) >= 3).sum())


def _upper_band(samples: Samples, sample_rate: int, speech: float) -> float:
    """Level of 4.4 to 7.5 kHz in the loud frames relative to 0.3 to 3.4 kHz, in dB."""
    size = 2 ** round(np.log2(0.032 * sample_rate))
    count = len(samples) // size
    if count == 0:
        return 0.0
    frames = np.asarray(samples[: count * size], np.float64).reshape(count, size)
    frames = frames[10 * np.log10(np.maximum((frames**2).mean(1), 1e-12)) > speech - 20]
    if not len(frames):
        return 0.0
    # Hisses hold most of what speech has up there, so the loudest tenth of that band counts.
    power = np.abs(np.fft.rfft(frames * np.hanning(size))) ** 2
    frequency = np.fft.rfftfreq(size, 1 / sample_rate)
    upper = power[:, (frequency > 4400) & (frequency < 7500)].sum(1)
    lower = power[:, (frequency > 300) & (frequency < 3400)].sum(1).mean()
    return float(10 * np.log10((np.percentile(upper, 90) + 1e-12) / (lower + 1e-12)))


def _share_of_quiet(levels: Samples) -> float:
    """Share of frames with less than half the mean power of the second around them.

    Speech has syllables and stops, so a quarter or more of its frames; music and noise have fewer.
    """
    power = 10 ** (levels / 10)
    return float((power < 0.5 * _around(power)).mean())


def _share_of_hisses(samples: Samples, sample_rate: int) -> float:
    """Share of frames that cross zero half as often again as the second around them: consonants, in speech."""
    frame = round(_FRAME_SECONDS * sample_rate)
    count = len(samples) // frame
    signs = np.signbit(samples[: count * frame].reshape(count, frame))
    crossings = (signs[:, 1:] != signs[:, :-1]).mean(1)
    return float((crossings > 1.5 * _around(crossings)).mean())


def _around(values: Samples) -> Samples:
    """Mean of the second around each frame."""
    window = np.ones(min(len(values), round(1 / _FRAME_SECONDS)))
    return np.convolve(values, window, "same") / np.convolve(np.ones(len(values)), window, "same")
