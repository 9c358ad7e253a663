"""The door that vLLM opens for HTTP routes: loaded when ``VLLM_PLUGINS`` names ``neucodec_tts``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from argparse import Namespace

    from fastapi import FastAPI


class SpeechPlugin:
    """An ``EndpointPlugin`` of vLLM."""

    name = "neucodec_tts"
    required_tasks = ("generate",)

    def attach_router(self, app: FastAPI) -> None:
        """Add the routes for speech."""
        from neucodec_tts_vllm.server import lifecycle, page, routes, sessions, voice_routes
        from neucodec_tts_vllm.server.arrivals import OMNI_PREFIX

        for router in (routes.router, voice_routes.router, sessions.router):
            app.include_router(router)
            app.include_router(router, prefix=OMNI_PREFIX, include_in_schema=False)
        app.include_router(lifecycle.router)  # /speech/ready comes before /speech/FILE
        app.include_router(page.router)

    async def init_state(self, engine_client: Any, state: Any, args: Namespace) -> None:
        """Load what the routes need.

        Raises:
            NeuCodecError: the model is none that speaks; the server does not start then.
        """
        from neucodec_tts_vllm.server.lifecycle import finish_before_engine
        from neucodec_tts_vllm.server.service import SpeechService

        state.neucodec_tts = await SpeechService.start(engine_client, state, args)
        finish_before_engine(engine_client, state.neucodec_tts)
