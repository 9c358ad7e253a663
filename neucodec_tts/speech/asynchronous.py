"""The async twin of any engine, by way of a worker thread."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from neucodec_tts.speech.engine import FinishReason, Sampling, SpeechEngine, TokenStream


class AsyncEngine:
    """Makes an `AsyncSpeechEngine` of a `SpeechEngine`.

    One thread computes, a token of one generation at a time in turn, so that the event loop never waits and
    generations go on side by side. An engine that can batch on its own brings a twin of its own.

    Args:
        engine: computes. It must not be used otherwise meanwhile.
    """

    def __init__(self, engine: SpeechEngine) -> None:
        self._engine = engine
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="speech-engine")

    @property
    def context_length(self) -> int:
        """Tokens that prompt and speech may have together."""
        return self._engine.context_length

    def generate(self, prompt_ids: Sequence[int], sampling: Sampling) -> AsyncTokens:
        """Continue one prompt.

        Raises:
            EngineError: as for `SpeechEngine.generate`.
        """
        return AsyncTokens(self._engine.generate(prompt_ids, sampling), self._thread)

    def close(self) -> None:
        """Let the thread end; running generations cannot go on."""
        self._thread.shutdown(wait=True, cancel_futures=True)


class AsyncTokens:
    """Token ids of one running generation, awaited."""

    def __init__(self, tokens: TokenStream, thread: ThreadPoolExecutor) -> None:
        self._tokens = tokens
        self._thread = thread

    @property
    def finish_reason(self) -> FinishReason | None:
        """None until the last token has been taken."""
        return self._tokens.finish_reason

    def __aiter__(self) -> AsyncIterator[int]:
        return self

    async def __anext__(self) -> int:
        # StopIteration cannot pass through a future, so the end travels as None.
        token = await asyncio.get_running_loop().run_in_executor(self._thread, next, self._tokens, None)
        if token is None:
            raise StopAsyncIteration
        return token

    async def aclose(self) -> None:
        """Stop generating and free what it holds."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._tokens.close)
