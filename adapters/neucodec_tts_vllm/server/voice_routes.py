"""``/v1/audio/voices`` and ``/v1/audio/models``."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException

from neucodec_tts.voices.recording import examine
from neucodec_tts_vllm.server.answers import answering
from neucodec_tts_vllm.server.arrivals import bounded, is_for_omni, service_of
from neucodec_tts_vllm.server.encoding import MEDIA_TYPES
from neucodec_tts_vllm.server.errors import ApiError
from neucodec_tts_vllm.server.recordings import decode_recording
from neucodec_tts_vllm.server.samples import SAMPLE_FORMAT

router = APIRouter(tags=["Speech"])


@router.get("/v1/audio/models")
@answering
async def list_models(request: Request) -> Response:
    """List the models that speak, as Open WebUI asks for them."""
    return JSONResponse(
        {"models": [{"id": name, "name": name} for name in service_of(request).models.names()]}
    )


@router.get("/v1/audio/voices")
@answering
async def list_voices(request: Request) -> Response:
    """List the voices that go by name: objects as Open WebUI reads them, or names as vLLM-Omni's clients do."""
    found = service_of(request).voices
    described = await found.listed()
    names_only = is_for_omni(request)
    voices = [voice["name"] if names_only else {"id": voice["name"], **voice} for voice in described]
    return JSONResponse(
        {"voices": voices, "uploaded_voices": described, "default_voice": found.default or None}
    )


@router.post("/v1/audio/voices")
@answering
async def upload_voice(request: Request) -> Response:
    """Keep the voice of a recording: a form with ``audio_sample``, ``name`` and ``ref_text``."""
    service = service_of(request)
    service.check_room()
    limit = service.settings.max_upload_bytes
    try:
        form = await bounded(request, limit + 65536).form(max_files=1, max_fields=20, max_part_size=65536)
    except MultiPartException as error:
        raise ApiError(400, f"the form cannot be read: {error.message}") from error
    try:
        sample = form.get("audio_sample", form.get("file"))
        name, text = form.get("name"), form.get("ref_text", form.get("text"))
        if not isinstance(sample, UploadFile):
            raise ApiError(
                400, "the recording is missing: send a form with the file audio_sample", "audio_sample"
            )
        if not isinstance(name, str) or not name:
            raise ApiError(400, "the voice needs a name", "name")
        if not isinstance(text, str) or not text.strip():
            raise ApiError(
                400, "ref_text is missing: what is said in the recording, word for word", "ref_text"
            )
        data = await sample.read(limit + 1)
        if len(data) > limit:
            raise ApiError(
                413,
                f"the recording is larger than the {limit:,} bytes that this server takes",
                "audio_sample",
            )
        consent = form.get("consent")
        metadata = {"consent": consent[:200]} if isinstance(consent, str) and consent else {}
        with service.admitted():
            voice = await service.voices.add(name, data, text, metadata)
    finally:
        await form.close()
    return JSONResponse({"success": True, "voice": voice})


@router.delete("/v1/audio/voices/{name}")
@answering
async def delete_voice(request: Request) -> Response:
    """Forget a voice."""
    name = request.path_params["name"]
    await service_of(request).voices.remove(name)
    return JSONResponse({"success": True, "message": f"the voice {name!r} has been deleted"})


@router.post("/v1/audio/voices/check")
@answering
async def check_recording(request: Request) -> Response:
    """Judge a recording as that of a voice, and keep nothing of it. The body is the recording itself."""
    service = service_of(request)
    service.check_room()
    data = await bounded(request, service.settings.max_upload_bytes).body()
    with service.admitted():
        samples, rate = await asyncio.to_thread(decode_recording, data, service.settings.max_voice_seconds)
        found = await asyncio.to_thread(examine, samples, rate)
    return JSONResponse(
        {
            "seconds": round(found.seconds, 2),
            "advice": [{"kind": one.kind, "message": one.message} for one in found.advice],
        }
    )


@router.get("/v1/audio/voices/{name}/sample")
@answering
async def sample_voice(request: Request) -> Response:
    """Speak a sentence in a voice, or send what has been spoken before."""
    sample = await service_of(request).sample(request.path_params["name"])
    return Response(sample, media_type=MEDIA_TYPES[SAMPLE_FORMAT], headers={"Cache-Control": "no-store"})
