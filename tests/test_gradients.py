"""Operators with gradients of their own equal what autograd makes of the plain ones."""

import torch

from model.gradients import Embed, Gate, Rotate
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


def test_a_gate_and_its_gradient_are_those_of_the_plain_product_and_touch_nothing_given() -> None:
    gate, up = normal(3, 5).requires_grad_(), normal(3, 5, seed=1).requires_grad_()
    slope = normal(3, 5, seed=2)
    given = [each.detach().clone() for each in (gate, up, slope)]
    expected = gate / (1 + (-gate).exp()) * up
    found = Gate.apply(gate, up)
    torch.testing.assert_close(found, expected)
    for ours, plain in zip(torch.autograd.grad(found, (gate, up), slope),
                           torch.autograd.grad(expected, (gate, up), slope), strict=True):
        torch.testing.assert_close(ours, plain)
    assert all(torch.equal(*pair) for pair in zip(given, (gate, up, slope), strict=True))


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
