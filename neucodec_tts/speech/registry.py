"""Engines by name. A package brings one by an entry point in the group ``neucodec_tts.engines``."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import Any, Protocol, cast

from neucodec_tts.codec.checkpoints.hub import HubOptions
from neucodec_tts.errors import EngineError
from neucodec_tts.speech.engine import SpeechEngine, SpeechTokens

GROUP = "neucodec_tts.engines"


class EngineLoader(Protocol):
    """The object that an entry point refers to: a class, or anything else with this method."""

    def load(
        self,
        model: str,
        tokens: SpeechTokens,
        *,
        device: str | None = None,
        dtype: str | None = None,
        hub: HubOptions | None = None,
        **options: Any,
    ) -> SpeechEngine:
        """Load a model.

        Args:
            model: a folder or hub id.
            tokens: the codes and stops of its tokenizer.
            device: None lets the engine choose.
            dtype: floating-point format of the weights; None lets the engine choose.
            hub: how a repository of the hub is reached.
            options: the engine's own.

        Raises:
            CheckpointError: there is no such model, or it is damaged.
            VocabularyError: it lacks tokens.
            EngineError: an option is unknown, or the engine does not start.
        """
        ...


def engine_names() -> list[str]:
    """List the names of the engines that are installed."""
    return sorted(_installed())


def engine_loader(name: str) -> EngineLoader:
    """Return the engine called `name`.

    Raises:
        EngineError: none is called so, or its package does not import; the message says what is installed.
    """
    installed = _installed()
    if name not in installed:
        known = ", ".join(sorted(installed)) or "none"
        raise EngineError(
            f"there is no engine {name!r} here; installed: {known}; a package brings one by an entry point in the "
            f"group {GROUP}"
        )
    try:
        return cast("EngineLoader", installed[name].load())
    except (ImportError, AttributeError) as error:
        raise EngineError(
            f"the engine {name!r} ({installed[name].value}) cannot be imported: {error}; install what it needs"
        ) from error


def _installed() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}
