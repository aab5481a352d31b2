"""Operators with gradients of their own, where fewer passes over memory pay."""

import torch
import torch.nn.functional as F
from torch import Tensor


class Rotate(torch.autograd.Function):
    """Turn each pair (c, c + C/2) of `x` (..., C) by an angle of its own.

    cos, sin (..., C): of each channel's angle, the sine negative for the first half of them. The
    gradient is turned back by the same angle.
    """

    @staticmethod
    def forward(ctx, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:  # noqa: ANN001
        ctx.save_for_backward(cos, sin)
        return turned(x, cos, sin, 1)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None, None]:  # noqa: ANN001
        return turned(gradient, *ctx.saved_tensors, -1), None, None


def turned(x: Tensor, cos: Tensor, sin: Tensor, way: int) -> Tensor:
    """`x` turned forth (`way` 1) or back (-1)."""
    if torch.compiler.is_compiling():  # A compiler reads the halves where they lie.
        x, cos, sin = (each.unflatten(-1, (2, -1)) for each in (x, cos, sin))
        return (x * cos + way * x.flip(-2) * sin).flatten(-2)
    return (x * cos).addcmul_(x.roll(x.shape[-1] // 2, dims=-1), sin, value=way)


class Gate(torch.autograd.Function):
    """silu(`gate`) x `up`, both (..., D): keeps these two alone, and half of what it makes is
    written over what it made before.
    """

    @staticmethod
    def forward(ctx, gate: Tensor, up: Tensor) -> Tensor:  # noqa: ANN001
        ctx.save_for_backward(gate, up)
        return F.silu(gate).mul_(up)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ANN001
        gate, up = ctx.saved_tensors
        by_gate = gradient * up
        torch.ops.aten.silu_backward.grad_input(by_gate, gate, grad_input=by_gate)
        return by_gate, F.silu(gate).mul_(gradient)


class Embed(torch.autograd.Function):
    """Rows of `weight` (V, D) at `tokens`, whose gradient is added to the weight's in place.

    Where the vocabulary is tied its gradient is there already; a second one of (V, D) would be the
    largest tensor of a training step.
    """

    @staticmethod
    def forward(ctx, weight: Tensor, tokens: Tensor) -> Tensor:  # noqa: ANN001
        ctx.save_for_backward(tokens)
        ctx.weight = weight
        return weight[tokens]

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, None]:  # noqa: ANN001
        (tokens,), weight = ctx.saved_tensors, ctx.weight
        total = torch.zeros_like(weight) if weight.grad is None else weight.grad
        total.index_add_(0, tokens.flatten(), gradient.flatten(0, -2))
        return (total if weight.grad is None else None), None
