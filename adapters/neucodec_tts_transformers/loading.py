"""Load a causal language model, with errors that say what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from transformers import AutoModelForCausalLM

from neucodec_tts.codec.checkpoints.hub import HubOptions, locate
from neucodec_tts.codec.devices import default_device
from neucodec_tts.errors import CheckpointError, DeviceError

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def load_model(
    model: str,
    *,
    device: str | None,
    dtype: str | None,
    hub: HubOptions,
    options: dict[str, Any],
) -> PreTrainedModel:
    """Load `AutoModelForCausalLM` to a device.

    Raises:
        CheckpointError: there is no such model, it cannot be downloaded, or it is damaged.
        DeviceError: there is no such device.
    """
    target = torch.device(device) if device else default_device()
    wanted = dtype or ("float32" if target.type == "cpu" else "bfloat16")
    # Asked first, because it fails at once where there is no network; transformers would try for 24 s.
    location = locate(model, hub)
    if location.find("config.json") is None:
        raise CheckpointError(f"{model} holds no config.json; it is not a model that transformers can load")
    try:
        loaded = AutoModelForCausalLM.from_pretrained(
            str(location.folder or location.name),
            dtype=wanted,
            **hub.keywords(),
            **options,
        )
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, ImportError) as error:
        raise CheckpointError(f"{model} cannot be loaded as a causal language model: {error}") from error
    except Exception as error:  # safetensors raises a class of its own, which derives from Exception only
        if type(error).__module__.startswith("safetensors"):
            raise CheckpointError(
                f"the weights of {model} are damaged: {error}; download them again"
            ) from error
        raise
    try:
        return cast("Any", loaded).to(target)  # transformers wraps `to` so that its types lack self
    except (RuntimeError, AssertionError) as error:
        raise DeviceError(f"{model} cannot be moved to {str(target)!r}: {error}") from error
