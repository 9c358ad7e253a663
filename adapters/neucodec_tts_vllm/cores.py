"""The cores that vLLM's CPU engine leaves to the codec."""

from __future__ import annotations

import logging
import os
from typing import Any

logger = logging.getLogger(__name__)

_LEAST_SHARE = 0.25


def spare_cores(vllm_config: Any) -> list[int] | None:
    """Return the cores that vLLM leaves to the codec; None where the codec may use all.

    vLLM binds each of its threads to a core of its own and waits for the slowest of them in every layer, so other work
    on such a core holds up the whole model. Where vLLM binds no threads, or leaves so few cores that the codec would
    hardly get ahead, nothing is bound.
    """
    try:
        from vllm.utils.ompmultiprocessing import OMPProcessManager

        manager = OMPProcessManager(vllm_config)
        bound = {core for cores in getattr(manager, "cpu_lists", ()) for core in cores}
        left = set(getattr(manager, "reserved_cpu_list", ()))
        allowed = os.sched_getaffinity(0)
    except Exception as error:  # vLLM's inside, and another version's may be another
        logger.debug("vLLM does not say which cores it computes on: %r", error)
        return None
    if not bound:
        return None
    spare = sorted((left or allowed - bound) & allowed)
    if len(spare) < _LEAST_SHARE * (len(bound) + len(spare)):
        logger.info(
            "vLLM computes on %d cores and leaves %d; the codec computes wherever it finds time "
            "(VLLM_CPU_NUM_OF_RESERVED_CPU leaves it more)",
            len(bound),
            len(spare),
        )
        return None
    logger.info("the codec computes on the cores that vLLM leaves: %s", spare)
    return spare
