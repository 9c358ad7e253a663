"""A voice for agents of LiveKit: ``neucodec_tts_livekit.TTS``. Needs ``neucodec-tts[livekit]`` and a server."""

from neucodec_tts_livekit.tts import TTS, ChunkedStream, SynthesizeStream

__all__ = ["TTS", "ChunkedStream", "SynthesizeStream"]
