"""Ray: many machines prepare one data set.

`prepare` is the engine "ray" of ``neucodec-tts prepare``. It needs the extra ``[ray]``.
"""

from neucodec_tts_ray.engine import prepare

__all__ = ["prepare"]
