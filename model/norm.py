"""Root-mean-square norm; on a CPU with a gradient of its own where all is float32."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Normalise(torch.autograd.Function):
    """x / sqrt(mean(x^2) + eps) x weight over the last axis, in float32, with its own gradient.

    Few passes over memory; on a CPU forward and gradient take half the time of the operator that
    torch composes.
    """

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, eps: float) -> Tensor:  # noqa: ANN001
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        scale = (length.square() / x.shape[-1] + eps).rsqrt()
        unit = x * scale
        ctx.save_for_backward(unit, scale, weight)
        return unit * weight

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor, None]:  # noqa: ANN001
        unit, scale, weight = ctx.saved_tensors
        along = gradient * unit
        mean = (along @ weight)[..., None] / unit.shape[-1]
        by_weight = along.flatten(0, -2).sum(0)
        torch.mul(gradient, weight, out=along)  # a new tensor for each step would cost as much
        return along.addcmul_(unit, mean, value=-1).mul_(scale), by_weight, None


class RMSNorm(nn.Module):
    """Root-mean-square norm (Zhang & Sennrich 2019), computed in float32."""

    def __init__(self, width: int, eps: float):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        if x.dtype == self.weight.dtype == torch.float32:
            # A compiler fuses torch's own operator with what stands around it.
            if (torch.is_grad_enabled() and x.device.type == "cpu"
                    and not torch.compiler.is_compiling()):
                return Normalise.apply(x, self.weight, self.eps)
            return F.rms_norm(x, x.shape[-1:], self.weight, self.eps)
        return self.weight * F.rms_norm(x.float(), x.shape[-1:], None, self.eps).to(x.dtype)
