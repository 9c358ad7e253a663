"""``neucodec-tts voice``: a recording to a voice."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from neucodec_tts.cli.options import (
    BackendOption,
    CodecOption,
    DeviceOption,
    DtypeOption,
    Precision,
    VoicesOption,
)
from neucodec_tts.cli.terminal import Terminal, command, load_codec

CUT_TO_SECONDS = 15.0


@command
def voice(
    terminal: Terminal,
    reference: Annotated[
        Path,
        typer.Argument(
            metavar="REF",
            help="A recording of one person speaking, or codes of one (.pt, .npy, .safetensors).",
        ),
    ],
    output: Annotated[
        str,
        typer.Option(
            "--output", "-o", metavar="NAME", help="A name in your folder of voices, or a .safetensors file."
        ),
    ],
    text: Annotated[
        str | None,
        typer.Option(
            "--text",
            "-t",
            metavar="TEXT",
            help="The transcript, word for word. The default is the .txt file of the same name.",
            show_default=False,
        ),
    ] = None,
    language: Annotated[
        str | None,
        typer.Option(
            "--language", "-l", metavar="CODE", help="Of the recording, as espeak calls it: en-us, de ..."
        ),
    ] = None,
    cut: Annotated[
        bool,
        typer.Option(
            "--cut",
            help=f"Cut a recording of more than {CUT_TO_SECONDS:g} s at its last pause before that; the text is then "
            "what is said up to the cut.",
        ),
    ] = False,
    trim: Annotated[
        bool, typer.Option("--trim/--no-trim", help="Leave out the quiet before and after the speech.")
    ] = True,
    voices: VoicesOption = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the voice of that name.")] = False,
    codec_name: CodecOption = None,
    device: DeviceOption = None,
    backend: BackendOption = None,
    dtype: DtypeOption = Precision.float32,
) -> None:
    """Make a voice from a recording.

    Take 3 to 15 s of clean, natural speech of one person; warnings name what could be better. The voice is one small
    file that holds the codes and the transcript, and `say --voice NAME` speaks in it. NeuTTS' reference codes (.pt)
    become voices, too.
    """
    from neucodec_tts.errors import PromptError
    from neucodec_tts.files import check_writable
    from neucodec_tts.voices.library import VOICE_SUFFIXES, VoiceLibrary, check_name
    from neucodec_tts.voices.speaker import SpeakerPrompt, transcript_beside

    to_file = output.lower().endswith(".safetensors")
    if not to_file:
        try:
            check_name(output)
        except PromptError as problem:
            raise typer.BadParameter(f"-o: {problem}") from problem
    if not reference.exists():
        raise PromptError(f"{reference}: no such file; check the path (now in {Path.cwd()})")
    if text is None:
        text = transcript_beside(reference)
    if not (text or "").strip() and reference.suffix.lower() != ".safetensors":
        raise typer.BadParameter(
            f"--text is missing: say what is spoken in {reference}, or write it into "
            f"{reference.with_suffix('.txt')}"
        )
    library = VoiceLibrary(voices)
    if not to_file and output in library and not overwrite:
        raise PromptError(
            f"there is a voice {output!r} in {library.folder} already; take another name, or --overwrite"
        )
    if to_file:
        check_writable(output, PromptError)
    where = ""
    if reference.suffix.lower() in VOICE_SUFFIXES:
        made = SpeakerPrompt.load(reference, text=text, language=language)
    else:
        codec = load_codec(terminal, codec_name, device, backend=backend, dtype=dtype)
        made = SpeakerPrompt.from_audio(
            codec,
            reference,
            text or "",
            language=language,
            trim=trim,
            cut_to=CUT_TO_SECONDS if cut else None,
        )
        where = f" (encoded on {codec.device})"
    if to_file:
        target = Path(output)
        made.save(target)
    else:
        target = library.save(output, made, overwrite=overwrite)
    terminal.result(
        {
            "voice": None if to_file else output,
            "file": target,
            "seconds": made.duration,
            "codes": len(made),
            "text": made.text,
            "language": made.language,
            "codec_id": made.codec_id,
            "metadata": made.metadata,
            "advice": [{"kind": advice.kind, "message": advice.message} for advice in made.advice],
        }
    )
    named = "the voice" if to_file else f"the voice {output!r}"
    terminal.say(
        f"made {named} from {reference}: {made.duration:.1f} s of speech, {len(made)} codes, in {target}{where}"
    )
