"""Operators with gradients of their own equal what autograd makes of the plain ones."""

import torch

from model.gradients import Embed, Rotate
from model.transformer import rotary_table


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_rotating_turns_pairs_and_its_gradient_turns_them_back(tiny) -> None:
    cos, sin = rotary_table(tiny().config)[:5, :, None].unflatten(-1, (8,)).unbind(1)
    x, slope = normal(2, 5, 3, 8).requires_grad_(), normal(2, 5, 3, 8, seed=1)
    turned = Rotate.apply(x, cos, sin)
    pairs = torch.complex(*x.chunk(2, dim=-1)) * torch.complex(cos[..., 4:], sin[..., 4:])
    expected = torch.cat((pairs.real, pairs.imag), dim=-1)
    torch.testing.assert_close(turned, expected)
    torch.testing.assert_close(turned.norm(dim=-1), x.norm(dim=-1))
    found, = torch.autograd.grad(turned, x, slope)
    torch.testing.assert_close(found, torch.autograd.grad(expected, x, slope)[0])


def test_embedding_adds_its_gradient_to_what_the_weight_has() -> None:
    weight, tokens = normal(6, 4).requires_grad_(), torch.tensor([[1, 2, 1], [5, 2, 2]])
    slope = normal(2, 3, 4, seed=1)
    expected, = torch.autograd.grad(torch.nn.functional.embedding(tokens, weight), weight, slope)
    assert torch.equal(Embed.apply(weight, tokens), weight[tokens])
    Embed.apply(weight, tokens).backward(slope)
    torch.testing.assert_close(weight.grad, expected)
    given, weight.grad = weight.grad, torch.ones(6, 4)
    kept = weight.grad
    Embed.apply(weight, tokens).backward(slope)
    assert weight.grad is kept
    torch.testing.assert_close(kept, given + 1)
