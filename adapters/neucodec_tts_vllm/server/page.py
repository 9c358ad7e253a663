"""The page at ``/speech``, and the two routes that it alone needs."""

from __future__ import annotations

import asyncio
from importlib.resources import files

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from neucodec_tts.voices.recording import examine
from neucodec_tts_vllm.server.errors import ApiError
from neucodec_tts_vllm.server.recordings import decode_recording
from neucodec_tts_vllm.server.routes import answering, limited, service_of
from neucodec_tts_vllm.server.samples import MEDIA_TYPE

router = APIRouter(tags=["Speech"])

_TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript"}
_FILES = ("page.css", "page.js", "speaking.js", "picture.js", "voices.js", "recording.js", "capture.js")
_HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "media-src blob:; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Permissions-Policy": "microphone=(self)",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


@router.get("/speech", include_in_schema=False)
async def page() -> Response:
    """Show a page for trying the server. The page is public; its requests need the key like any other."""
    return _file("index.html")


@router.get("/speech/{name}", include_in_schema=False)
@answering
async def part_of_page(request: Request) -> Response:
    """Send a file of the page."""
    name = request.path_params["name"]
    if name not in _FILES:
        raise ApiError(404, "the page has no such file")
    return _file(name)


@router.post("/v1/audio/voices/check")
@answering
async def check_recording(request: Request) -> Response:
    """Judge a recording as that of a voice, and keep nothing of it. The body is the recording itself."""
    service = service_of(request)
    service.check_room()
    data = await limited(request, service.settings.max_upload_bytes)
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
    sample = await service_of(request).samples.of(request.path_params["name"])
    return Response(sample, media_type=MEDIA_TYPE, headers={"Cache-Control": "no-store"})


def _file(name: str) -> Response:
    content = (files("neucodec_tts_vllm.server") / "static" / name).read_bytes()
    return Response(content, media_type=_TYPES[name.rpartition(".")[2]], headers=_HEADERS)
