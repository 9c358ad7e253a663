"""The names of the models that a server speaks with: vLLM's own, those of LoRA adapters, and OpenAI's."""

from __future__ import annotations

from typing import Any

from neucodec_tts_vllm.server.errors import ApiError

OPENAI_MODELS = frozenset(("tts-1", "tts-1-hd", "gpt-4o-mini-tts"))
"""Names that OpenAI's clients ask for by default; here they mean the model that is served."""


class ModelNames:
    """Finds what a request's ``model`` means.

    Args:
        served: vLLM's register of the names that it serves; None takes any name.
        strict: refuse OpenAI's names.
    """

    def __init__(self, served: Any = None, strict: bool | None = False) -> None:
        self._served = served
        self._strict = strict

    def names(self) -> list[str]:
        """Return the names of the models that are served, LoRA adapters included."""
        if self._served is None:
            return []
        return [*(model.name for model in self._served.base_model_paths), *self._served.lora_requests]

    def name_of(self, lora: Any) -> str | None:
        """The name of what speaks: an adapter's, or that of the model itself; None where none is known."""
        if lora is not None:
            return str(lora.lora_name)
        return next(iter(self.names()), None)

    async def lora(self, model: str | None) -> Any:
        """The LoRA adapter of a name, found as vLLM's own routes find it; None for the model itself.

        Raises:
            ApiError: nothing of that name is served.
        """
        if self._served is None or not model or self._served.is_base_model(model):
            return None
        if model in OPENAI_MODELS and not self._strict:
            return None
        found = self._served.lora_requests.get(model)
        if found is None:
            found = await self._resolved(model)
        if found is None:
            raise ApiError(
                404, f"the model {model!r:.200} is not served here; GET /v1/models lists what is", "model"
            )
        return found

    async def _resolved(self, model: str) -> Any:
        """An adapter that vLLM's resolvers find and load, where its owner allows that; None if there is none.

        Raises:
            ApiError: there is one, and it cannot be loaded.
        """
        from vllm import envs

        if not envs.VLLM_ALLOW_RUNTIME_LORA_UPDATING:
            return None
        found = await self._served.resolve_lora(model)
        problem = getattr(found, "error", None)
        if problem is None:
            return found
        if problem.code == 400:
            raise ApiError(400, f"the adapter {model!r:.200} cannot be loaded", "model")
        return None
