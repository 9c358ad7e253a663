"""Speaking and streaming with an engine that speaks codes of real speech."""

from __future__ import annotations

import gc
import logging
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch

from neucodec_tts import StreamingDecoder
from neucodec_tts.codec.streaming import Decoded, Window
from neucodec_tts.errors import EngineError, PromptError
from neucodec_tts.metrics.scores import snr
from neucodec_tts.speech import Pauses
from neucodec_tts.voices import SpeakerPrompt
from tests.parity.ours import random_codec
from tests.parity.sizes import small_config
from tests.speech.scripted import Line, Stage

TEXT = (
    "Alice was beginning to get very tired of sitting by her sister. Once or twice she had peeped into the book!\n\n"
    "And what is the use of a book, thought Alice, without pictures?"
)
WAIT = 60  # seconds after which a test that would hang fails


@pytest.fixture(scope="module")
def thirds(speech_codes: np.ndarray) -> list[np.ndarray]:
    """Three pieces of real speech, of different lengths."""
    return [speech_codes[:150], speech_codes[150:270], speech_codes[270:430]]


def test_results_say_what_lies_where(stage: Stage, thirds: list[np.ndarray]):
    tts, engine = stage.tts(*map(stage.line, thirds))
    result = tts.speak(TEXT, seed=1)
    assert [segment.codes.tolist() for segment in result.segments] == [codes.tolist() for codes in thirds]
    assert [TEXT[segment.start_char : segment.end_char] for segment in result.segments] == [
        segment.text for segment in result.segments
    ]
    assert " ".join(" ".join(segment.text for segment in result.segments).split()) == " ".join(TEXT.split())
    assert result.codes.tolist() == np.concatenate(thirds).tolist()
    assert result.speech_tokens == 430
    assert result.prompt_tokens == sum(len(prompt) for prompt, _ in engine.asked)
    assert result.finish_reason == "stop"
    assert result.sample_rate == 24_000
    assert result.segments[0].start == 0
    assert result.segments[-1].end == pytest.approx(result.duration)
    assert all(a.end <= b.start for a, b in zip(result.segments, result.segments[1:], strict=False))


def test_pauses_are_as_long_as_they_should_be(stage: Stage, thirds: list[np.ndarray]):
    """Of each seam, silence that the segments bring included."""
    pauses = Pauses(sentence=0.8, paragraph=1.6)
    tts, _ = stage.tts(*map(stage.line, thirds), pauses=pauses)
    result = tts.speak(TEXT, seed=1)
    loudest = np.abs(result.samples).max()
    for (before, after), wanted in zip(
        zip(result.segments, result.segments[1:], strict=False), (0.8, 1.6), strict=True
    ):
        middle = round((before.end + after.start) / 2 * 24_000)
        loud = np.flatnonzero(np.abs(result.samples) > 0.02 * loudest)
        silence = (loud[loud > middle].min() - loud[loud < middle].max()) / 24_000
        assert silence == pytest.approx(wanted, abs=0.1)


def test_streamed_sound_is_as_long_and_within_the_streaming_contract(stage: Stage, thirds: list[np.ndarray]):
    tts, _ = stage.tts(*map(stage.line, thirds))
    whole = tts.speak(TEXT, seed=1)
    streams = []
    for ahead in (0.0, 10.0):
        again, _ = stage.tts(*map(stage.line, thirds))
        with again.stream(TEXT, seed=1, ahead_seconds=ahead) as stream:
            chunks = list(stream)
            assert stream.seed == 1
        assert all(chunk.dtype == np.float32 and chunk.size for chunk in chunks)
        streams.append(np.concatenate(chunks))
        assert stream.segments == whole.segments
    assert np.array_equal(streams[0], streams[1]), "how far ahead it runs changes nothing"
    streamed = streams[0]
    assert streamed.size == whole.samples.size
    for segment, codes in zip(whole.segments, thirds, strict=True):
        # Exactly what the streaming decoder gives for these codes, but for 5 ms at either end.
        decoder = StreamingDecoder(stage.codec)
        alone = torch.cat([decoder.push(codes), decoder.flush()]).numpy()
        start, end = round(segment.start * 24_000), round(segment.end * 24_000)
        kept = alone[alone.size - (end - start) :]
        assert np.array_equal(streamed[start + 120 : end - 120], kept[120:-120])
        # And close to the codes decoded at once; where phases drift apart, waveforms soon differ by this much.
        assert snr(torch.from_numpy(whole.samples[start:end]), torch.from_numpy(streamed[start:end])) > 3
    gaps = [(a.end, b.start) for a, b in zip(whole.segments, whole.segments[1:], strict=False)]
    assert all(not streamed[round(a * 24_000) : round(b * 24_000)].any() for a, b in gaps)


def test_the_first_sound_costs_one_chunk_of_tokens_and_one_decode(
    stage: Stage, thirds: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
):
    tts, engine = stage.tts(*map(stage.line, thirds))
    decoded: list[list[int]] = []
    decode = stage.codec.decode_windows

    def counted(windows: list[Window]) -> list[Decoded]:
        decoded.append([window.codes.numel() for window in windows])
        return decode(windows)

    monkeypatch.setattr(stage.codec, "decode_windows", counted)
    settings = tts.stream_settings
    with tts.stream(TEXT, seed=1, ahead_seconds=0) as stream:
        assert (engine.taken, decoded) == (0, [])
        first = next(stream)
        assert engine.taken == settings.first_chunk + settings.lookahead
        assert decoded == [[settings.first_chunk + settings.lookahead]]
        assert len(engine.asked) == 1
    # All of the chunk but the 5 ms that would be faded out if it were the end.
    assert first.size == settings.first_chunk * 480 - 120


def test_the_next_sentence_is_made_while_the_first_is_heard(stage: Stage, thirds: list[np.ndarray]):
    tts, engine = stage.tts(*map(stage.line, thirds))
    second = threading.Event()
    engine.on_token = lambda count: second.set() if count > len(thirds[0]) else None
    with tts.stream(TEXT, seed=1, ahead_seconds=60) as stream:
        next(stream)
        assert second.wait(WAIT)
    tts, engine = stage.tts(*map(stage.line, thirds))
    with tts.stream(TEXT, seed=1, ahead_seconds=0) as stream:
        next(stream)
        assert len(engine.asked) == 1


def test_leaving_a_stream_early_stops_the_engine(stage: Stage, thirds: list[np.ndarray]):
    for ahead in (0.0, 0.3):
        tts, engine = stage.tts(*map(stage.line, thirds))
        with tts.stream(TEXT, seed=1, ahead_seconds=ahead) as stream:
            next(stream)
        assert engine.closed == 1
        assert engine.taken < len(thirds[0])
        assert list(stream) == []
    tts, engine = stage.tts(*map(stage.line, thirds))
    stream = tts.stream(TEXT, seed=1, ahead_seconds=0)
    next(stream)
    del stream
    gc.collect()
    assert engine.closed == 1


def test_a_codec_of_another_rate():
    """As X-Codec 2, through which Llasa speaks, with 16 kHz out."""
    config = small_config()
    config.output_sampling_rate = 16_000
    stage = Stage.build(random_codec(config))
    codes = np.random.default_rng(0).integers(0, 65_536, 150)
    tts, _ = stage.tts(stage.line(codes))
    text = "Alice was beginning to get very tired of it."
    result = tts.speak(text, seed=1)
    assert (result.sample_rate, result.samples.size, result.duration) == (16_000, 150 * 320, 3.0)
    with tts.stream(text, seed=1) as stream:
        assert sum(chunk.size for chunk in stream) == 150 * 320
        assert stream.sample_rate == 16_000


def test_segments_are_told_as_they_are_ready(stage: Stage, thirds: list[np.ndarray]):
    tts, engine = stage.tts(*map(stage.line, thirds))
    told: list[tuple[int, int]] = []
    tts.speak(TEXT, batch_size=1, on_segment=lambda segment: told.append((segment.index, len(engine.asked))))
    assert told == [(0, 1), (1, 2), (2, 3)]


def test_every_sentence_is_in_the_same_voice(stage: Stage, thirds: list[np.ndarray]):
    voice = SpeakerPrompt(thirds[2], "That is what my voice sounds like.", codec_id=stage.codec.codec_id)
    tts, engine = stage.tts(*map(stage.line, thirds))
    result = tts.speak(TEXT, voice, seed=1)
    ids = stage.vocabulary.to_ids(voice.codes.tolist())
    assert len(engine.asked) == 3
    assert all(prompt[-len(ids) :] == ids for prompt, _ in engine.asked)
    assert [prompt for prompt, _ in engine.asked] == [
        stage.prompt_format.prompt_ids(segment.text, voice) for segment in result.segments
    ]


def test_the_default_voice_speaks_where_none_is_given(stage: Stage, thirds: list[np.ndarray]):
    voices = [
        SpeakerPrompt(codes, "That is what my voice sounds like.", codec_id=stage.codec.codec_id)
        for codes in thirds[:2]
    ]
    tts, engine = stage.tts(stage.line(thirds[2]), default_voice=voices[0])
    tts.speak("Alice was late.", seed=1)
    tts.speak("Alice was late.", voices[1], seed=1)
    prompts = [stage.prompt_format.prompt_ids("Alice was late.", voice) for voice in voices]
    assert [prompt for prompt, _ in engine.asked] == prompts
    assert tts.find_voice(None) is voices[0]


# -- generations that do not end well ---------------------------------------------------------------------


def test_what_does_not_end_well_is_generated_again(stage: Stage, thirds: list[np.ndarray]):
    good, bad = stage.line(thirds[0]), stage.line(thirds[1], "repetition")
    tts, engine = stage.tts(bad, good)
    result = tts.speak("Alice was late indeed.", seed=1)
    assert [(s.attempts, s.finish_reason) for s in result.segments] == [(2, "stop")]
    assert result.codes.tolist() == thirds[0].tolist()
    assert engine.asked[0][1].seed != engine.asked[1][1].seed
    tts, engine = stage.tts(bad, good)
    result = tts.speak("Alice was late indeed.", seed=1, retries=0)
    assert (len(engine.asked), result.finish_reason) == (1, "repetition")


def test_what_never_ends_well_is_kept_with_a_warning(
    stage: Stage, thirds: list[np.ndarray], caplog: pytest.LogCaptureFixture
):
    tts, _ = stage.tts(stage.line(thirds[0], "length"))
    with caplog.at_level(logging.WARNING, "neucodec_tts"):
        result = tts.speak("Alice was late indeed.", seed=1)
    assert [(s.attempts, s.finish_reason) for s in result.segments] == [(2, "length")]
    assert "did not stop and was ended (3.0 s); words may be missing" in caplog.text


def test_a_sentence_too_long_for_the_context_is_spoken_in_halves(stage: Stage, thirds: list[np.ndarray]):
    text = "Alice was beginning to get very tired of sitting by her sister, and of having nothing to do."
    room = stage.prompt_format.prompt_ids(text)
    tts, engine = stage.tts(
        stage.line(thirds[0], "length"),
        stage.line(thirds[1]),
        stage.line(thirds[2]),
        context_length=len(room) + 450,
    )
    result = tts.speak(text, seed=1)
    assert [segment.text for segment in result.segments] == [text[:63], text[64:]]
    assert [segment.attempts for segment in result.segments] == [2, 2]
    assert len(engine.asked) == 3


def test_no_codes_at_all(stage: Stage):
    tts, engine = stage.tts(Line([]))
    with pytest.raises(
        EngineError, match=r"gave no speech codes for 'Alice was late\.'; another seed may help"
    ):
        tts.speak("Alice was late", seed=1)
    assert len(engine.asked) == 2, "once more, with other random numbers"
    tts, _ = stage.tts(Line([]))
    with pytest.raises(EngineError, match="gave no speech codes"):
        list(tts.stream("Alice was late", seed=1))


def test_nothing_but_text(stage: Stage):
    """From an engine that lets tokens of text through."""
    tts, _ = stage.tts(Line([1, 2, 3] * 20))
    with pytest.raises(EngineError, match="gave no speech codes"):
        tts.speak("Alice was late", seed=1)
    tts, _ = stage.tts(Line([1, 2, 3] * 20))
    with pytest.raises(EngineError, match="gave no speech codes"):
        list(tts.stream("Alice was late", seed=1))


def test_text_between_codes_is_left_out(stage: Stage, thirds: list[np.ndarray]):
    ids = stage.vocabulary.to_ids(thirds[0].tolist())
    mixed = [part for token in ids for part in (token, 5)]
    text = "Alice was beginning to get very tired of it."
    tts, _ = stage.tts(Line(mixed))
    assert tts.speak(text, seed=1).codes.tolist() == thirds[0].tolist()
    tts, _ = stage.tts(Line(mixed))
    stream = tts.stream(text, seed=1)
    assert sum(chunk.size for chunk in stream) == 150 * 480
    assert stream.segments[0].codes.tolist() == thirds[0].tolist()


def test_an_engine_that_never_stops_is_stopped(stage: Stage, caplog: pytest.LogCaptureFixture):
    line = stage.line([5, 6, 7])
    line.endless = True
    tts, engine = stage.tts(line)
    with caplog.at_level(logging.WARNING, "neucodec_tts"):
        stream = tts.stream("Alice was late", seed=1)
        samples = sum(chunk.size for chunk in stream)
    limit = engine.asked[0][1].max_frames
    assert limit is not None
    assert (engine.taken, engine.closed) == (limit, 1)
    assert samples == limit * 480
    assert stream.segments[0].finish_reason == "length"
    assert "did not stop" in caplog.text


def test_an_engine_that_breaks_in_the_middle(stage: Stage, thirds: list[np.ndarray]):
    for ahead in (0.0, 10.0):
        line = stage.line(thirds[0])
        line.problem = EngineError("the engine has lost its model")
        tts, engine = stage.tts(line)
        heard = []
        with pytest.raises(EngineError, match="lost its model"):
            heard += list(tts.stream(TEXT, seed=1, ahead_seconds=ahead))
        tts, engine = stage.tts(line)
        stream = tts.stream(TEXT, seed=1, ahead_seconds=ahead)
        assert next(stream).size > 0
        with pytest.raises(EngineError, match="lost its model"):
            list(stream)
        assert engine.closed == 1


# -- wrong use ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the text is empty"),
        (" \n\t ", "the text is empty"),
        ("🙂 🙂", "nothing to pronounce in '🙂 🙂'"),
        ("... — ?!", "nothing to pronounce"),
        ("a\ud83d", "half a character"),
        (b"bytes", "must be a string, not bytes"),
        (None, "must be a string, not NoneType"),
    ],
)
def test_nothing_to_speak(stage: Stage, text, message: str):
    tts, engine = stage.tts(stage.line([1]))
    for call in (tts.speak, tts.stream):
        with pytest.raises(PromptError, match=message):
            call(text)
    assert engine.asked == []


def test_settings_that_make_no_sense(stage: Stage):
    tts, _ = stage.tts(stage.line([1]))
    with pytest.raises(EngineError, match="batch_size is 0"):
        tts.speak("Hi", batch_size=0)
    with pytest.raises(EngineError, match="retries -1"):
        tts.speak("Hi", retries=-1)


def test_symbols_between_words_are_no_hindrance(stage: Stage, thirds: list[np.ndarray]):
    tts, _ = stage.tts(stage.line(thirds[0]))
    result = tts.speak("*** 🙂\n\nAlice was late. ... 🙂 ***\n\n--", seed=1, text_format="plain")
    assert len(result.segments) == 1
    assert result.segments[0].text == "*** 🙂\n\nAlice was late. ... 🙂 ***\n\n--"


def test_hundred_thousand_characters_begin_at_once(stage: Stage, thirds: list[np.ndarray]):
    """The first sound of a book waits for its first sentence only."""
    tts, engine = stage.tts(stage.line(thirds[0]))
    with tts.stream(
        "Alice was beginning to get very tired of it. " * 2300, seed=1, ahead_seconds=0
    ) as stream:
        assert next(stream).size > 0
    assert len(engine.asked) == 1


def test_a_result_can_be_saved(stage: Stage, thirds: list[np.ndarray], tmp_path):
    from neucodec_tts.audio import load_audio

    tts, _ = stage.tts(stage.line(thirds[0]))
    result = tts.speak("Alice was late", seed=1)
    result.save(tmp_path / "alice.wav")
    samples, rate = load_audio(tmp_path / "alice.wav")
    assert rate == 24_000
    assert np.abs(samples - result.samples).max() < 1e-4
    assert not result.watermarked


def test_markup_and_final_marks(stage: Stage, thirds: list[np.ndarray]):
    tts, engine = stage.tts(*(stage.line(third) for third in thirds))
    result = tts.speak("**Alice** was late 🙂\n\n```\nx = 1\n```", seed=1)
    assert [segment.text for segment in result.segments] == ["Alice was late."]
    assert result.warnings == ("a block of code of 1 line is not read",)
    ssml = 'Alice was <phoneme ph="leɪt">late</phoneme>'
    assert tts.speak(ssml, seed=1, text_format="ssml").segments[0].text == "Alice was late."
    assert len(engine.asked) == 2


def test_silence_is_spoken_again_and_warned_of(
    stage: Stage, thirds: list[np.ndarray], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    decode = stage.codec.decode

    def softly(codes, **options):  # as a model speaks that gives codes of silence
        sounds = decode(codes, **options)
        return [
            0 * sound if int(item[0]) == int(thirds[0][0]) else sound
            for item, sound in zip(codes, sounds, strict=True)
        ]

    monkeypatch.setattr(stage.codec, "decode", softly)
    tts, engine = stage.tts(stage.line(thirds[0]), stage.line(thirds[1]))
    result = tts.speak("Alice was late indeed.", seed=1)
    assert len(engine.asked) == 2
    assert [segment.attempts for segment in result.segments] == [2]
    assert np.abs(result.samples).max() > 0.01
    assert caplog.text == ""

    tts, engine = stage.tts(stage.line(thirds[0]))
    result = tts.speak("Alice was late indeed.", seed=1, retries=2)
    assert len(engine.asked) == 3
    assert "speech for 'Alice was late indeed.' is silent (3.0 s)" in caplog.text


def test_streamed_silence_is_followed_by_another_attempt(
    stage: Stage, thirds: list[np.ndarray], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    decode = stage.codec.decode_windows
    silent = {int(code) for code in thirds[0]} - {int(code) for third in thirds[1:] for code in third}
    hush = sorted(silent)[:1] * 150

    def softly(windows):
        return [
            replace(done, audio=0 * done.audio) if int(window.codes[0]) == hush[0] else done
            for window, done in zip(windows, decode(windows), strict=True)
        ]

    monkeypatch.setattr(stage.codec, "decode_windows", softly)
    text = "Alice was late indeed.\n\nAlice was late indeed."
    tts, engine = stage.tts(stage.line(hush), stage.line(thirds[1]), stage.line(thirds[2]))
    stream = tts.stream(text, seed=1, ahead_seconds=0)
    sound = np.concatenate(list(stream))
    assert len(engine.asked) == 3
    assert [(segment.attempts, segment.codes.tolist()) for segment in stream.segments] == [
        (2, thirds[1].tolist()),
        (1, thirds[2].tolist()),
    ]
    assert not sound[: 150 * 480].any()
    for segment in stream.segments:  # the record tells where it lies
        assert np.abs(sound[round(segment.start * 24_000) : round(segment.end * 24_000)]).max() > 0.01
    assert len(sound) == round(stream.segments[-1].end * 24_000)
    assert caplog.text == ""

    tts, engine = stage.tts(stage.line(hush))
    sound = np.concatenate(list(tts.stream("Alice was late indeed.", seed=1, retries=2)))
    assert (len(engine.asked), sound.any()) == (3, False)
    assert "speech for 'Alice was late indeed.' is silent (3.0 s)" in caplog.text
    tts, engine = stage.tts(stage.line(hush), stage.line(thirds[1]))
    assert not np.concatenate(list(tts.stream("Alice was late indeed.", seed=1, retries=0))).any()


def test_a_stream_takes_back_what_ends_before_its_first_sound(
    stage: Stage, thirds: list[np.ndarray], caplog: pytest.LogCaptureFixture
):
    for bad in (Line([]), stage.line(thirds[1][:9])):
        tts, engine = stage.tts(bad, stage.line(thirds[0]))
        stream = tts.stream("Alice was late indeed.", seed=1)
        assert sum(chunk.size for chunk in stream) == 150 * 480
        assert [segment.codes.tolist() for segment in stream.segments] == [thirds[0].tolist()]
        assert len(engine.asked) == 2
    assert caplog.text == ""


def test_a_stream_keeps_what_has_been_heard(
    stage: Stage, thirds: list[np.ndarray], caplog: pytest.LogCaptureFixture
):
    tts, engine = stage.tts(stage.line(thirds[1], "repetition"), stage.line(thirds[0]))
    stream = tts.stream("Alice was late indeed.", seed=1)
    assert sum(chunk.size for chunk in stream) == len(thirds[1]) * 480
    assert (len(engine.asked), stream.segments[0].finish_reason) == (1, "repetition")
    assert "went round in a loop" in caplog.text
