"""Muon for the matrices inside a model, AdamW for all else, as one optimiser that the Trainer can drive and resume."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn


class MuonAndAdamW(torch.optim.Optimizer):
    """Muon (Jordan et al., 2024) with the step size of AdamW (Liu et al., 2025), so that one learning rate serves
    both.

    A small model that learns from nothing needs fewer steps with it. Embeddings, the output layer, norms and biases
    stay with AdamW.

    Args:
        params: groups of parameters, as any optimiser takes them.
        lr: peak learning rate.
        apart: matrices that Muon should leave alone.
        weight_decay: of those groups that name none.
        betas: of AdamW.
        momentum: of Muon.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        apart: Iterable[nn.Parameter] = (),
        weight_decay: float = 0.01,
        betas: tuple[float, float] = (0.9, 0.98),
        momentum: float = 0.95,
    ) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})
        left = {id(parameter) for parameter in apart}
        matrices, others = [], []
        for group in self.param_groups:
            inner = [p for p in group["params"] if p.ndim == 2 and id(p) not in left]
            outer = [p for p in group["params"] if p.ndim != 2 or id(p) in left]
            same = {"lr": group["lr"], "weight_decay": group["weight_decay"]}
            matrices += [{"params": inner, **same}] if inner else []
            others += [{"params": outer, **same}] if outer else []
        self.parts: list[torch.optim.Optimizer] = []
        if matrices:
            self.parts.append(Muon(matrices, lr=lr, momentum=momentum, adjust_lr_fn="match_rms_adamw"))
        if others:
            self.parts.append(torch.optim.AdamW(others, lr=lr, betas=betas))
        # The same dictionaries as the parts': a schedule that changes a learning rate here changes it there.
        self.param_groups = [group for part in self.parts for group in part.param_groups]

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step of both."""
        loss = None if closure is None else closure()
        for part in self.parts:
            part.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        """The states of both."""
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from `state_dict()`."""
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        self.param_groups = [group for part in self.parts for group in part.param_groups]


class Muon(torch.optim.Muon):
    """torch's own, in bfloat16. On a CPU without bfloat16, where that took twenty times as long, in float32."""

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step, with Nesterov's momentum."""
        on_cpu = all(p.device.type == "cpu" for group in self.param_groups for p in group["params"])
        if not on_cpu or has_bfloat16():
            return super().step(closure)
        loss = None if closure is None else closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                gradient = parameter.grad
                if gradient is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["momentum_buffer"] = torch.zeros_like(gradient)
                momentum = state["momentum_buffer"].lerp_(gradient, 1 - group["momentum"])
                update = orthogonalised(gradient.lerp(momentum, group["momentum"]), group)
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.add_(update, alpha=-group["lr"] * 0.2 * max(parameter.shape) ** 0.5)
        return loss


def has_bfloat16() -> bool:
    """True if the CPU has instructions for bfloat16."""
    return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()


def orthogonalised(matrix: Tensor, group: dict[str, Any]) -> Tensor:
    """Nearly orthogonal, by Newton and Schulz' iteration as `torch.optim.Muon` does it, in the dtype of `matrix`."""
    a, b, c = group["ns_coefficients"]
    tall = matrix.size(0) > matrix.size(1)
    x = matrix.T if tall else matrix
    x = x / x.norm().clamp(min=group["eps"])
    for _ in range(group["ns_steps"]):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if tall else x
