"""A voice for bots of Pipecat: ``NeuCodecTTSService``. Needs ``neucodec-tts[pipecat]`` and a server."""

from neucodec_tts_pipecat.service import NeuCodecTTSService, NeuCodecTTSSettings

__all__ = ["NeuCodecTTSService", "NeuCodecTTSSettings"]
