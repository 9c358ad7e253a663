"""Decoding many streams at once."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from itertools import chain

from torch import Tensor

from neucodec_tts.codec.codes import Codes
from neucodec_tts.codec.streaming import Decoded, Stream, StreamingCodec, StreamSettings, Window


class DecodeScheduler:
    """Many streams at different positions, their windows decoded in batches.

    Each stream sounds as on a ``StreamingDecoder`` of its own, up to rounding.

    Args:
        codec: decodes.
        settings: of every stream; the defaults are those of ``StreamingDecoder``.
        max_batch_frames: largest padded size of one batch, in frames.
        max_padding: largest share of a batch that may be padding, which is computed like anything else.
        decode: decodes a batch of windows; ``codec.decode_windows`` by default, and ``FixedShapeDecoder`` is another.
        on_failure: called with the name of a stream whose window could not be decoded, and the error. The stream is
            dropped, the others go on. By default the error is raised, and the windows of its batch are lost.
    """

    def __init__(
        self,
        codec: StreamingCodec,
        settings: StreamSettings | None = None,
        *,
        max_batch_frames: int = 4096,
        max_padding: float = 0.2,
        decode: Callable[[list[Window]], list[Decoded]] | None = None,
        on_failure: Callable[[Hashable, Exception], None] | None = None,
    ) -> None:
        self.codec = codec
        self.settings = settings or StreamSettings()
        self.max_batch_frames = max_batch_frames
        self.max_padding = max_padding
        self._decode = decode or codec.decode_windows
        self._on_failure = on_failure
        self._streams: dict[Hashable, Stream] = {}
        # Names of streams with a window to decode, longest waiting first: those without any sound yet, and the others.
        self._silent: dict[Hashable, None] = {}
        self._sounding: dict[Hashable, None] = {}

    def __len__(self) -> int:
        """Number of streams that have not ended."""
        return len(self._streams)

    @property
    def ready(self) -> int:
        """Number of streams with a window to decode."""
        return len(self._silent) + len(self._sounding)

    def begin(self, name: Hashable, settings: StreamSettings) -> None:
        """Begin the stream ``name`` with settings of its own."""
        self.drop(name)
        self._streams[name] = Stream(settings, self.codec.output_hop_length)

    def push(self, name: Hashable, codes: Codes) -> None:
        """Add codes (frames,) to the stream ``name``, which begins with its first codes.

        Raises:
            CodesError: they are not codes of this codec; all streams go on as if they had not come.
        """
        if len(codes):
            checked = self.codec.check_codes(codes, f"stream {name!r}")
            self._streams.setdefault(name, Stream(self.settings, self.codec.output_hop_length)).push(checked)
            self._queue(name)

    def finish(self, name: Hashable) -> None:
        """No more codes will come for the stream ``name``; it is forgotten once its last samples are handed out."""
        stream = self._streams.get(name)
        if stream is not None:
            stream.finish()
            if stream.done:
                self.drop(name)
            else:
                self._queue(name)

    def drop(self, name: Hashable) -> None:
        """Forget the stream ``name`` at once."""
        for names in (self._streams, self._silent, self._sounding):
            names.pop(name, None)

    def step(self) -> dict[Hashable, Tensor]:
        """Decode one batch of windows, at most one of each stream; streams without any sound yet come first.

        Call it again until it returns nothing: between two calls new codes may be pushed.

        Returns:
            New samples of the streams in the batch, float32 (n,); empty when no stream had a window ready.
        """
        batch = self._next_batch()
        if not batch:
            return {}
        try:
            decoded = self._decoded(batch)
        except Exception:
            for name, _, _ in batch:
                self._queue(name)
            raise
        samples = {}
        for (name, stream, window), result in zip(batch, decoded, strict=True):
            if result is None:
                continue
            samples[name] = stream.play(window, result)
            if stream.done:
                self.drop(name)
            else:
                self._queue(name)  # behind those that still wait
        return samples

    def _queue(self, name: Hashable) -> None:
        """Let a stream wait its turn if it has something to decode."""
        stream = self._streams[name]
        if stream.ready:
            (self._sounding if stream.started else self._silent).setdefault(name)

    def _next_batch(self) -> list[tuple[Hashable, Stream, Window]]:
        """The window that has waited longest, and those after it that are about as long."""
        chosen: list[Hashable] = []
        longest = frames = 0
        lookback = None
        for name in chain(self._silent, self._sounding):
            stream = self._streams[name]
            if lookback is None:
                lookback = stream.settings.lookback
            elif stream.settings.lookback != lookback:
                continue
            length = stream.next_length
            padded = max(longest, length) * (len(chosen) + 1)
            too_much = (
                padded > self.max_batch_frames or padded - (frames + length) > self.max_padding * padded
            )
            if chosen and too_much:
                continue
            chosen.append(name)
            longest, frames = max(longest, length), frames + length
        batch = []
        for name in chosen:
            self._silent.pop(name, None)
            self._sounding.pop(name, None)
            stream = self._streams[name]
            window = stream.next_window()
            assert window is not None
            batch.append((name, stream, window))
        return batch

    def _decoded(self, batch: list[tuple[Hashable, Stream, Window]]) -> Sequence[Decoded | None]:
        """Samples of each window; None for one that fails, whose stream is then gone."""
        try:
            return self._decode([window for _, _, window in batch])
        except Exception as error:
            if self._on_failure is None:
                raise
            if len(batch) > 1:  # find out whose it is
                return [result for item in batch for result in self._decoded([item])]
            name = batch[0][0]
            self.drop(name)
            self._on_failure(name, error)
            return [None]
