"""Optimizers and schedules: orthogonal updates, decay, hand-computed steps and rates."""

import pytest
import torch
from torch import nn

from training.models import frozen, fused
from training.muon import Muon, orthogonalised
from training.optimizer import (
    adamw,
    clip_gradients,
    fine_tuning,
    linear,
    muon_and_adamw,
    set_rate,
    take_step,
)
from training.options import Common


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(3, 32, 32), (2, 48, 16), (2, 16, 48)])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_orthogonalised_takes_singular_values_near_one(shape, scale) -> None:
    x = scale * normal(*shape)
    result = orthogonalised(x)
    values = torch.linalg.svdvals(result)
    assert result.shape == x.shape
    assert values.max() < 1.25
    # Of a square matrix the very smallest value may be too close to zero for five iterations.
    assert values.quantile(0.1) > 0.6


def test_orthogonalised_keeps_singular_vectors() -> None:
    u, _, v = torch.linalg.svd(normal(1, 12, 12), full_matrices=False)
    x = u @ torch.diag_embed(torch.linspace(0.5, 2.0, 12)) @ v
    inside = u.mT @ orthogonalised(x) @ v.mT
    off = inside - torch.diag_embed(inside.diagonal(dim1=-2, dim2=-1))
    assert off.abs().max() < 1e-4
    assert inside.diagonal(dim1=-2, dim2=-1).min() > 0.6


def test_matrices_of_a_batch_do_not_touch_each_other() -> None:
    x = normal(4, 8, 6)
    torch.testing.assert_close(orthogonalised(x)[2:3], orthogonalised(x[2:3]))
    assert not orthogonalised(torch.zeros(1, 4, 4)).any()


def test_muon_reduces_a_quadratic() -> None:
    aim = normal(8, 6)
    weight = nn.Parameter(torch.zeros(8, 6))
    optimizer = Muon([weight], lr=0.1)
    losses = []
    for step in range(150):
        set_rate(optimizer, 0.1 * (1 - step / 150))
        loss = ((weight - aim) ** 2).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.01 * losses[0]


def test_muon_first_step_by_hand() -> None:
    weight = nn.Parameter(normal(9, 4, seed=1))
    before, gradient = weight.detach().clone(), normal(9, 4, seed=2)
    weight.grad = gradient.clone()
    untouched = nn.Parameter(torch.ones(2, 2))
    Muon([weight, untouched], lr=0.1, momentum=0.9, weight_decay=0.5).step()
    # The first Nesterov momentum is a multiple of the gradient, and the update has no scale; a
    # matrix of 9 rows and 4 columns moves by sqrt(9/4) of the rate.
    expected = (1 - 0.1 * 0.5) * before - 0.1 * 1.5 * orthogonalised(gradient[None])[0]
    torch.testing.assert_close(weight.detach(), expected)
    assert torch.equal(untouched.detach(), torch.ones(2, 2))


def test_muon_remembers_gradients() -> None:
    weight = nn.Parameter(torch.zeros(2, 2))
    optimizer = Muon([weight], lr=1.0, momentum=0.5)
    first, second = torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.tensor([[0.0, 1.0], [-3.0, 0.0]])
    for gradient in (first, second):
        before, weight.grad = weight.detach().clone(), gradient.clone()
        optimizer.step()
    momentum = 0.5 * (0.5 * first) + 0.5 * second
    nesterov = 0.5 * second + 0.5 * momentum
    torch.testing.assert_close(weight.detach(), before - orthogonalised(nesterov[None])[0])


def test_decay_falls_on_matrices_alone() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    adamw(model, rate=0.1, decay=0.5).step()
    for name, parameter in model.named_parameters():
        kept = 0.95 if parameter.dim() >= 2 else 1.0
        torch.testing.assert_close(parameter.detach(), kept * before[name])


def test_frozen_parameters_are_left_alone() -> None:
    model = nn.Linear(2, 2)
    model.bias.requires_grad_(False)
    held = [p for group in adamw(model, 0.1).param_groups for p in group["params"]]
    assert [p is model.weight for p in held] == [True]


def test_muon_has_the_matrices_of_the_blocks_and_adamw_the_rest(tiny) -> None:
    model = tiny()
    muon, rest = muon_and_adamw(model, 0.02, 0.003, 0.01)
    names = {id(p): name for name, p in model.named_parameters()}
    inner = {names[id(p)] for group in muon.param_groups for p in group["params"]}
    outer = {names[id(p)] for group in rest.param_groups for p in group["params"]}
    assert inner | outer == set(names.values()) and not inner & outer
    assert all(".layers." in name and not name.endswith("norm.weight") for name in inner)
    assert len(inner) == 7 * model.config.layers
    assert "model.embed_tokens.weight" in outer and "model.norm.weight" in outer


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_a_step_of_fine_tuning_moves_every_parameter_and_clears_gradients(tiny, name) -> None:
    model = tiny()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    optimizers = fine_tuning(model, name, 0.06)
    assert [rate for _, rate in optimizers] == ([0.06] if name == "adamw" else [0.06, 0.01])
    loss = model.logits(model(torch.tensor([[1, 2, 3]]))).logsumexp(-1).sum()
    loss.backward()
    take_step(optimizers, 0.5)
    assert [group["lr"] for optimizer, _ in optimizers for group in optimizer.param_groups] == [
        rate / 2 for optimizer, rate in optimizers for _ in optimizer.param_groups]
    for key, parameter in model.named_parameters():
        assert not torch.equal(parameter, before[key]) and parameter.grad is None, key


def test_the_linear_schedule() -> None:
    rates = [linear(step, 10, 4) for step in range(10)]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0] and rates[4] == 1.0
    assert rates[7] == pytest.approx(0.5)
    assert linear(10, 10, 4) == 0.0 and linear(10, 10, 4, final=0.05) == pytest.approx(0.05)
    assert [linear(step, 10, 2, final=1.0) for step in (0, 1, 5, 9)] == [0.5, 1.0, 1.0, 1.0]
    assert linear(0, 1, 0) == 1.0
    assert all(0 < linear(step, 3, 10) <= 1 for step in range(3))


def test_clipping_gives_the_norm_before() -> None:
    weight = nn.Parameter(torch.zeros(2))
    weight.grad = torch.tensor([3.0, 4.0])
    assert clip_gradients([weight], 0) == pytest.approx(5.0) and weight.grad.tolist() == [3.0, 4.0]
    assert clip_gradients([weight], 1.0) == pytest.approx(5.0)
    torch.testing.assert_close(weight.grad, torch.tensor([0.6, 0.8]))


def test_what_is_frozen_lies_by_columns_and_what_is_learnt_by_rows(tiny) -> None:
    """torch's fused AdamW goes through memory, whatever the strides of a weight's moments say."""
    common, tokens = Common(device="cpu", compile=True), torch.arange(6)[None]
    read, learnt = frozen(tiny(layers=2), common), fused(tiny(layers=2), common)
    assert not any(parameter.requires_grad for parameter in read.parameters())
    assert all(parameter.requires_grad for parameter in learnt.parameters())
    assert read.model.layers[1].mlp.up_proj.weight.mT.is_contiguous()
    assert all(parameter.is_contiguous() for parameter in learnt.parameters())
    with torch.compiler.set_stance("force_eager"):
        torch.testing.assert_close(read(tokens), learnt(tokens))
