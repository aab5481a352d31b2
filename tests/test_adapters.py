"""Branches of one frozen trunk: equal at the start, apart in training, ordinary once merged."""

import copy
from pathlib import Path

import pytest
import torch

from model.adapters import (
    FILE,
    LoRA,
    adapters,
    branch,
    learnt_state,
    merged_state,
    with_adapters,
)
from model.checkpoint import load_model, load_scalar_model, load_tokenizer, save_model
from model.errors import CheckpointError, OptionError
from model.heads import ScalarModel
from model.scoring import score_continuations
from model.transformer import Transformer
from model.vocabulary import learn_tokens

RANK = LoRA(lora_rank=2, lora_alpha=6.0)
TOKENS = torch.tensor([[1, 2, 3, 1, 2, 9]])


def learn(model: Transformer, steps: int = 3) -> Transformer:
    """A few steps on one sequence."""
    optimizer = torch.optim.AdamW(learnt_parameters(model), lr=0.02)
    for _ in range(steps):
        learn_tokens(model, model(TOKENS[:, :-1])[0], TOKENS[0, 1:])
        optimizer.step()
        optimizer.zero_grad()
    return model


def learnt_parameters(model: torch.nn.Module) -> list[torch.nn.Parameter]:
    return [p for p in model.parameters() if p.requires_grad]


def test_a_new_branch_is_its_trunk(any_family: Transformer) -> None:
    new = branch(any_family, RANK)
    with torch.no_grad():
        assert torch.equal(new(TOKENS), any_family(TOKENS))
    assert len(adapters(new)) == 7 * any_family.config.layers and not adapters(any_family)


def test_a_branch_shares_every_frozen_tensor_and_trains_the_rest(tiny) -> None:
    trunk = tiny()
    new = branch(trunk, RANK)
    kept = {p.data_ptr() for p in trunk.parameters()}
    frozen = [p for p in new.parameters() if not p.requires_grad]
    assert {p.data_ptr() for p in frozen} == kept
    assert all(".lora_" in name for name in learnt_state(new)) and learnt_state(new)
    before = copy.deepcopy(trunk.state_dict())
    for parameter in trunk.parameters():
        parameter.grad = None
    learn(new)
    assert all(p.grad is None for p in trunk.parameters())
    assert all(torch.equal(before[name], tensor) for name, tensor in trunk.state_dict().items())
    with torch.no_grad():
        assert (new(TOKENS) - trunk(TOKENS)).abs().max() > 0.01


def test_only_the_targets_have_adapters(tiny) -> None:
    found = adapters(branch(tiny(), LoRA(3, 1.0, ("q_proj", "down_proj"))))
    assert {name.split(".")[-1] for name in found} == {"q_proj", "down_proj"}
    assert {tuple(part.lora_a.shape) for part in found.values()} == {(3, 32), (3, 48)}


def test_training_one_branch_leaves_the_others_alone(tiny) -> None:
    """The policy starts as a copy of a trained reference's adapters, and goes its own way."""
    trunk = tiny()
    reference = learn(branch(trunk, RANK))
    policy, value = branch(reference, RANK), branch(ScalarModel(reference), RANK)
    value.head.weight.data.fill_(0.1)
    with torch.no_grad():
        before, started = reference(TOKENS), policy(TOKENS)
        valued = value(TOKENS)
    assert torch.equal(before, started)
    learn(policy)
    with torch.no_grad():
        assert torch.equal(reference(TOKENS), before) and torch.equal(value(TOKENS), valued)
        assert not torch.equal(policy(TOKENS), before)


def test_the_adapter_is_the_scaled_product(tiny) -> None:
    model = learn(branch(tiny(), RANK))
    part = model.model.layers[0].mlp.up_proj
    x = torch.randn(5, 32, generator=torch.Generator().manual_seed(0))
    by_hand = x @ part.weight.T + 6.0 / 2 * x @ part.lora_a.T @ part.lora_b.T
    torch.testing.assert_close(part(x), by_hand)


def test_merged_is_unmerged(any_family: Transformer) -> None:
    model = learn(branch(any_family, RANK))
    merged = Transformer(model.config)
    merged.load_state_dict(merged_state(model))
    prompts, replies = [[1, 2], [5]], [[3, 1, 2], [6, 7]]
    for one, other in zip(score_continuations(model, prompts, replies),
                          score_continuations(merged, prompts, replies), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=2e-5)


def test_a_checkpoint_is_an_ordinary_one_and_its_adapters_fit_the_trunk(world_base: Path,
                                                                        tmp_path: Path) -> None:
    trunk, tokenizer = load_model(world_base), load_tokenizer(world_base)
    model = ScalarModel(learn(branch(trunk, RANK)))
    model.head.weight.data.normal_(generator=torch.Generator().manual_seed(0))
    save_model(model, tmp_path, tokenizer)
    shared = load_scalar_model(tmp_path, trunk=trunk)
    with torch.no_grad():
        torch.testing.assert_close(load_scalar_model(tmp_path)(TOKENS), model(TOKENS))
        assert torch.equal(shared(TOKENS), model(TOKENS))
    assert {p.data_ptr() for p in trunk.parameters()} < {p.data_ptr() for p in shared.parameters()}
    save_model(load_model(tmp_path), tmp_path, tokenizer)
    assert not (tmp_path / FILE).exists()


def test_adapters_of_another_trunk_are_refused(world_base: Path, tmp_path: Path) -> None:
    trunk = load_model(world_base)
    with pytest.raises(CheckpointError, match="found no such file, expected adapters"):
        with_adapters(trunk, world_base)
    save_model(branch(trunk, RANK), tmp_path, load_tokenizer(world_base))
    other = load_model(world_base)
    other.model.layers[0].self_attn.q_proj.weight.data.mul_(1.1)
    with pytest.raises(CheckpointError, match="adapters of another model than the trunk"):
        with_adapters(other, tmp_path)


def test_without_a_rank_a_branch_is_a_copy(tiny) -> None:
    model = tiny().requires_grad_(False)
    new = branch(model, LoRA())
    assert not adapters(new) and all(p.requires_grad for p in new.parameters())
    assert not {p.data_ptr() for p in new.parameters()} & {p.data_ptr() for p in model.parameters()}


@pytest.mark.parametrize("change", [{"lora_rank": -1}, {"lora_alpha": 0.0},
                                    {"lora_targets": ("lm_head",)}, {"lora_targets": ()}])
def test_impossible_adapters_are_refused(change: dict) -> None:
    with pytest.raises(OptionError, match=next(iter(change)).replace("_", "-")):
        LoRA(**change)
