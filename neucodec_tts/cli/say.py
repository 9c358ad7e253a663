"""``neucodec-tts say``: text to speech."""

from __future__ import annotations

import codecs
import itertools
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from neucodec_tts.cli.environment import speak_in_one_thread_if_small
from neucodec_tts.cli.options import (
    BackendOption,
    DecoderOption,
    DeviceOption,
    ModelCodecOption,
    ModelOption,
    VoicesOption,
)
from neucodec_tts.cli.sinks import (
    STANDARD,
    check_stdout,
    loudspeaker_sink,
    play_speech,
    stdout_sink,
    write_stdout,
)
from neucodec_tts.cli.terminal import Stopwatch, Terminal, command, default_model, real_time
from neucodec_tts.errors import PromptError
from neucodec_tts.text import TextFormat

if TYPE_CHECKING:
    from neucodec_tts.speech import Sampling, Segment, SpeechResult, SpeechStream, TextToSpeech
    from neucodec_tts.voices import SpeakerPrompt

DEFAULT_OUTPUT = Path("speech.wav")


@command
def say(
    terminal: Terminal,
    text: Annotated[
        str | None,
        typer.Argument(metavar="TEXT", help="The text. The default is to read it from standard input."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="OUT",
            help="A .wav (.flac, .ogg, .opus, .mp3) file, or - for a WAV on standard output. "
            "The default is speech.wav, or the next free name.",
            show_default=False,
        ),
    ] = None,
    model: ModelOption = None,
    voice: Annotated[
        str | None,
        typer.Option(
            "--voice",
            "-v",
            metavar="VOICE",
            help="A name in your folder of voices or among the model's own, a voice's file, or a recording of 3 to "
            "15 s. The default is the one that the model names.",
            show_default=False,
        ),
    ] = None,
    voice_text: Annotated[
        str | None,
        typer.Option(
            "--voice-text",
            metavar="TEXT",
            help="The transcript of that recording, word for word. The default is the .txt file of the same name.",
            show_default=False,
        ),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            "--file", "-f", metavar="FILE", help="Read the text from a file (UTF-8).", show_default=False
        ),
    ] = None,
    stream: Annotated[
        bool,
        typer.Option(
            "--stream",
            help="Speak while generating: raw samples (16 bit, mono) to standard output, or to the loudspeaker if "
            "that is a terminal.",
        ),
    ] = False,
    play: Annotated[
        bool,
        typer.Option("--play", help="Speak through the loudspeaker while generating; needs sounddevice."),
    ] = False,
    seed: Annotated[
        int | None, typer.Option("--seed", help="Speak in the same way again.", show_default=False)
    ] = None,
    temperature: Annotated[
        float | None,
        typer.Option(
            "--temperature", help="Of the sampling; the model's own by default.", show_default=False
        ),
    ] = None,
    top_k: Annotated[
        int | None, typer.Option("--top-k", help="Draw from so many tokens; 0 for all.", show_default=False)
    ] = None,
    top_p: Annotated[
        float | None,
        typer.Option("--top-p", help="Draw from so much of the probability.", show_default=False),
    ] = None,
    min_p: Annotated[
        float | None,
        typer.Option(
            "--min-p",
            help="Leave out what is less likely than this share of the likeliest.",
            show_default=False,
        ),
    ] = None,
    repetition_penalty: Annotated[
        float | None,
        typer.Option(
            "--repetition-penalty", help="Above 1 makes what was said before less likely.", show_default=False
        ),
    ] = None,
    emotion: Annotated[
        str | None,
        typer.Option(
            "--emotion",
            metavar="EMOTION",
            help="Of NeuTTS-2E: angry, disgusted, fearful, happy, neutral, sad or surprised.",
            show_default=False,
        ),
    ] = None,
    codec: ModelCodecOption = None,
    decoder: DecoderOption = None,
    engine: Annotated[
        str | None,
        typer.Option(
            "--engine",
            metavar="NAME",
            help="The engine that runs the language model. The default is llama-cpp for a GGUF file, transformers "
            "for any other model.",
            show_default=False,
        ),
    ] = None,
    batch_size: Annotated[
        int, typer.Option("--batch-size", min=1, help="Sentences that are generated together.")
    ] = 4,
    watermark: Annotated[
        bool | None,
        typer.Option(
            "--watermark/--no-watermark",
            help="Mark the sound as synthetic, inaudibly. The default is to, where resemble-perth is installed.",
            show_default=False,
        ),
    ] = None,
    text_format: Annotated[
        TextFormat,
        typer.Option(
            "--text-format",
            help="markdown is reduced to the words that a person would read, plain is read with every mark, ssml is "
            "followed.",
        ),
    ] = "markdown",
    normalize: Annotated[
        bool | None,
        typer.Option(
            "--normalize/--no-normalize",
            help="Put written forms (money, dates, units ...) into words. The default is what the model was trained "
            "with.",
            show_default=False,
        ),
    ] = None,
    voices: VoicesOption = None,
    device: DeviceOption = None,
    backend: BackendOption = None,
) -> None:
    """Say a text, as in: say "Good morning."

    In the voice of a recording: say "Good morning." --model neuphonic/neutts-air --voice dave.wav --voice-text "The
    words of the recording." -o morning.wav
    """
    if sum((output is not None, stream, play)) > 1:
        raise typer.BadParameter("-o FILE, --stream and --play exclude each other")
    if text is not None and file is not None:
        raise typer.BadParameter("give the text either as an argument or by --file")
    to_stdout = stream and not sys.stdout.isatty()
    if terminal.json and to_stdout:
        raise typer.BadParameter(
            "--json and --stream both want standard output; use -o or --play with --json"
        )
    to_file = not (stream or play)
    from neucodec_tts.audio import check_output
    from neucodec_tts.text import check_text, speakable
    from neucodec_tts.voices.speaker import SpeakerPrompt

    # Mistakes that need no model are found before one is loaded.
    text = speakable(check_text(_read_text(text, file)))
    sink = None
    wav_to_stdout = output == STANDARD
    if wav_to_stdout:
        check_stdout(terminal)
    elif to_file:
        check_output(output or DEFAULT_OUTPUT)
    else:
        sink = stdout_sink() if to_stdout else loudspeaker_sink()
    model = default_model(terminal, model)
    speaker = None if voice is None else _voice(voice, voice_text, voices, model)
    with terminal.progress("loading the models"):
        from transformers.utils import logging

        from neucodec_tts.speech.text_to_speech import TextToSpeech

        logging.disable_progress_bar()  # this command has its own
        tts = TextToSpeech.from_pretrained(
            model,
            codec=codec,
            codec_backend=backend,
            decoder=decoder,
            engine=engine,
            device=device,
            voices=voices,
        )
        tts.watermarker(watermark)  # its packages take seconds to import
    speak_in_one_thread_if_small(tts)
    if isinstance(speaker, Recording):
        with terminal.progress("listening to the voice"):
            speaker = SpeakerPrompt.from_audio(tts.codec, speaker.path, speaker.transcript)
    sampling = _sampling(
        tts,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        repetition_penalty=repetition_penalty,
    )
    watch = Stopwatch()
    if sink is None:
        with watch, terminal.progress("speaking", len(text)) as advance:
            result = tts.speak(
                text,
                speaker,
                seed=seed,
                sampling=sampling,
                batch_size=batch_size,
                watermark=watermark,
                text_format=text_format,
                normalize=normalize,
                emotion=emotion,
                on_segment=_progress(advance),
            )
        if wav_to_stdout:
            write_stdout(result.samples, result.sample_rate)
        elif output is not None:
            result.save(output)
        target = output or _save_beside(result)
        _report(terminal, tts, target, result.duration, result, watch, wav_to_stdout)
        if output is None and sys.stdout.isatty():
            play_speech(terminal, [result])
        return
    speech = tts.stream(
        text,
        speaker,
        seed=seed,
        sampling=sampling,
        watermark=watermark,
        text_format=text_format,
        normalize=normalize,
        emotion=emotion,
    )
    with watch, speech:
        seconds = sink(speech, speech.sample_rate, terminal)
    _report(terminal, tts, None, seconds, speech, watch, to_stdout)


def _save_beside(result: SpeechResult) -> Path:
    """Save it under the first free name of speech.wav, speech-2.wav, speech-3.wav and so on."""
    for number in itertools.count(1):
        path = DEFAULT_OUTPUT if number == 1 else DEFAULT_OUTPUT.with_stem(f"{DEFAULT_OUTPUT.stem}-{number}")
        try:
            path.open("xb").close()  # the name is taken in one step, so that no other command takes it, too
            break
        except FileExistsError:
            continue
    try:
        result.save(path)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return path


def _read_text(text: str | None, file: Path | None) -> str:
    """The text: what was given, or a file's, or standard input's."""
    if text is not None and text != "-":
        return text
    try:
        if file is not None:
            content = file.read_bytes()
        elif sys.stdin.isatty():
            raise typer.BadParameter("give a text: as an argument, by --file, or on standard input")
        else:
            content = sys.stdin.buffer.read()
    except OSError as problem:
        raise PromptError(f"{file} cannot be read: {problem.strerror or problem}") from problem
    where = "on standard input" if file is None else f"in {file}"
    if b"\0" in content[:2] or content[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        # UTF-16 without a mark is UTF-8, too, with a zero beside each letter.
        little = content[:1] not in (b"\0", codecs.BOM_UTF16_BE[:1])
        order = "utf-16le" if little else "utf-16be"
        raise PromptError(f"the text {where} is UTF-16, or no text; convert it: iconv -f {order} -t utf-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        raise PromptError(
            f"the text {where} is not UTF-8 (byte {problem.start}); convert it: iconv -f ENCODING -t utf-8, where "
            "ENCODING is the one it was saved in, such as windows-1252"
        ) from problem


@dataclass(frozen=True)
class Recording:
    """A voice that is yet to be made of a recording."""

    path: Path
    transcript: str


def _voice(voice: str, transcript: str | None, library: Path | None, model: str) -> SpeakerPrompt | Recording:
    """A voice of the library, of the model or of a file, or the recording that one will be made of."""
    from neucodec_tts.voices.library import VOICE_SUFFIXES, VoiceLibrary
    from neucodec_tts.voices.speaker import SpeakerPrompt, transcript_beside

    path = Path(voice).expanduser()
    suffix = path.suffix.lower()
    if suffix in VOICE_SUFFIXES:
        return SpeakerPrompt.load(path, text=transcript)
    if not suffix:
        if transcript is not None:
            raise PromptError(
                f"the voice {voice!r} of the library has its transcript already; leave out --voice-text"
            )
        return VoiceLibrary(library).find(voice, model_voices=VoiceLibrary.of_model(model))
    if not path.is_file():
        raise PromptError(f"the voice {voice}: there is no such file (now in {Path.cwd()})")
    if transcript is None:
        transcript = transcript_beside(path)
    if not (transcript or "").strip():
        raise PromptError(
            f"what is said in {voice}? give --voice-text, or write it into {path.with_suffix('.txt').name} beside it"
        )
    return Recording(path, transcript or "")


def _sampling(tts: TextToSpeech, **changes: Any) -> Sampling:
    """The model's defaults with what was given instead."""
    return replace(tts.sampling, **{name: value for name, value in changes.items() if value is not None})


def _progress(advance: Callable[[int], None]) -> Callable[[Segment], None]:
    """Moves a bar over the characters of the text."""
    done = 0

    def move(segment: Segment) -> None:
        nonlocal done
        advance(segment.end_char - done)
        done = segment.end_char

    return move


def _report(
    terminal: Terminal,
    tts: TextToSpeech,
    output: Path | None,
    seconds: float,
    spoken: SpeechResult | SpeechStream,
    watch: Stopwatch,
    to_stdout: bool,
) -> None:
    segments = spoken.segments
    listed = [
        {name: value for name, value in asdict(segment).items() if name != "codes"}
        | {"speech_tokens": segment.speech_tokens}
        for segment in segments
    ]
    terminal.result(
        {
            "output": output,
            "audio_seconds": seconds,
            "sample_rate": tts.sample_rate,
            "device": tts.decoder.device_name,
            "seed": spoken.seed,
            "watermarked": spoken.watermarked,
            "warnings": spoken.warnings,
            "segments": listed,
            "prompt_tokens": sum(segment.prompt_tokens for segment in segments),
            "speech_tokens": sum(segment.speech_tokens for segment in segments),
            "work_seconds": watch.seconds,
        }
    )
    where = f"to {output}" if output is not None else "as a stream"
    if output == STANDARD:
        where = "to standard output"
    speed = real_time(watch.seconds, seconds, tts.decoder.device_name)
    line = (
        f"said {len(segments)} sentence{'s' if len(segments) != 1 else ''} {where}: {seconds:.2f} s of speech "
        f"({speed}), {'with' if spoken.watermarked else 'without'} a watermark, seed {spoken.seed}"
    )
    # Standard output holds the samples then.
    (terminal.note if to_stdout else terminal.say)(line)
