"""The page at ``/speech``."""

from __future__ import annotations

from importlib.resources import files

from fastapi import APIRouter, Request
from fastapi.responses import Response

from neucodec_tts_vllm.server.answers import answering
from neucodec_tts_vllm.server.errors import ApiError

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


@router.api_route("/speech", methods=["GET", "HEAD"], include_in_schema=False)
async def page() -> Response:
    """Show a page for trying the server. The page is public; its requests need the key like any other."""
    return _file("index.html")


@router.api_route("/speech/{name}", methods=["GET", "HEAD"], include_in_schema=False)
@answering
async def part_of_page(request: Request) -> Response:
    """Send a file of the page."""
    name = request.path_params["name"]
    if name not in _FILES:
        raise ApiError(404, "the page has no such file")
    return _file(name)


def _file(name: str) -> Response:
    content = (files("neucodec_tts_vllm.server") / "static" / name).read_bytes()
    return Response(content, media_type=_TYPES[name.rpartition(".")[2]], headers=_HEADERS)
