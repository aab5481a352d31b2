"""Root-mean-square norm; on a CPU with a gradient of its own where all is float32."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Unit(torch.autograd.Function):
    """x / sqrt(mean(x^2) + eps) over the last axis, in float32, with its own gradient.

    Few passes over memory; on a CPU forward and gradient take half the time of the operator that
    torch composes.
    """

    @staticmethod
    def forward(ctx, x: Tensor, eps: float) -> Tensor:  # noqa: ANN001
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        scale = (length.square() / x.shape[-1] + eps).rsqrt()
        unit = x * scale
        ctx.save_for_backward(unit, scale)
        return unit

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:  # noqa: ANN001
        unit, scale = ctx.saved_tensors
        along = gradient * unit
        mean = along.mean(-1, keepdim=True)
        torch.mul(unit, mean, out=along)  # a new tensor for each step would cost as much
        return torch.sub(gradient, along, out=along).mul_(scale), None


class RMSNorm(nn.Module):
    """Root-mean-square norm (Zhang & Sennrich 2019), computed in float32."""

    def __init__(self, width: int, eps: float):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        if self.by_hand(x):
            return Unit.apply(x, self.eps) * self.weight
        if x.dtype == self.weight.dtype == torch.float32:
            return F.rms_norm(x, x.shape[-1:], self.weight, self.eps)
        return self.weight * F.rms_norm(x.float(), x.shape[-1:], None, self.eps).to(x.dtype)

    def by_hand(self, x: Tensor) -> bool:
        """Whether `Unit` norms `x`: on a CPU and in float32, where it is learnt from.

        Beside products in bfloat16 also where it is only read: these would round apart what differs
        in a last bit, and a policy that has not moved would not have its rollout's log-probs.
        """
        return (x.device.type == "cpu" and x.dtype == self.weight.dtype == torch.float32
                and (torch.is_grad_enabled() or torch.is_autocast_enabled("cpu")))

    def apart(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """`x` normed, and a weight (D,) that what reads it has yet to multiply by, with `weighed`.

        Where the weight is learnt: its gradient is then read off those of the matrices that it is
        multiplied into, where a sum over all tokens would be one more pass over memory. Not where
        products round to bfloat16: they would round other factors than where nothing is learnt.
        """
        if (self.weight.requires_grad and self.by_hand(x)
                and not torch.is_autocast_enabled("cpu")):
            return Unit.apply(x, self.eps), self.weight
        return self(x), None


def weighed(project: nn.Module, x: Tensor, weight: Tensor | None) -> Tensor:
    """What `project` makes of `x` (..., D) times `weight` (D,), where there is one.

    A plain projection is then not called, so neither are its hooks.
    """
    if weight is None:
        return project(x)
    if isinstance(project, nn.Linear):
        return F.linear(x, project.weight * weight, project.bias)
    return project(x * weight)
