"""Policy and value on one trunk: the same numbers as a two-headed step written out by hand."""

import copy
from dataclasses import replace

import pytest
import torch

from model.heads import ScalarModel
from model.scoring import at_response
from model.transformer import Transformer
from rl.options import PPOOptions
from rl.rollout import (
    Rollout,
    pack,
    response_logprobs,
    response_logprobs_and_values,
    response_values,
)
from rl.update import estimate, penalised_rewards, ppo_update

PROMPTS = [[5, 6, 7], [8], [9, 4], [3, 3, 3, 3], [1] * 12]
COMPLETIONS = [[1, 2], [3, 4, 5, 6], [7], [2, 8, 1], [30, 31]]
OPTIONS = PPOOptions(epochs=1, minibatches=1, max_grad_norm=0.0, value_weight=0.3,
                     kl_coefficient=0.1)


@pytest.fixture
def models(tiny) -> tuple[Transformer, ScalarModel]:
    policy = tiny()
    value = ScalarModel(policy)
    value.head.weight.data.normal_(generator=torch.Generator().manual_seed(1))
    return policy, value


def rolled(policy: Transformer, value: ScalarModel) -> Rollout:
    packed = pack(PROMPTS, COMPLETIONS)
    logprobs, values = response_logprobs_and_values(policy, value, *packed, chunk_rows=2)
    return Rollout(*packed, logprobs, logprobs - 0.1 * packed[2], values,
                   torch.arange(5.0), torch.ones(5, dtype=torch.bool), ("helpful",) * 5)


def test_one_pass_gives_what_two_give(models) -> None:
    packed = pack(PROMPTS, COMPLETIONS)
    logprobs, values = response_logprobs_and_values(*models, *packed, chunk_rows=2)
    torch.testing.assert_close(logprobs, response_logprobs(models[0], *packed))
    torch.testing.assert_close(values, response_values(models[1], *packed))
    assert values.abs().max() > 0.1 and not values[~packed[2]].any()


def test_the_update_is_the_two_headed_step(models) -> None:
    """Clipped surrogate and weighted value error, by autograd through one padded batch."""
    policy, value = models
    rollout = rolled(policy, value)
    rewards, _ = penalised_rewards(rollout, OPTIONS.kl_coefficient, OPTIONS)
    advantages, returns = estimate(rollout, rewards, OPTIONS)
    by_hand = copy.deepcopy(value)
    optimizers = (torch.optim.SGD(policy.parameters(), 0.1),
                  torch.optim.SGD(value.head.parameters(), 0.1))
    figures = ppo_update(policy, value, *optimizers, rollout, advantages, returns, OPTIONS,
                         torch.Generator().manual_seed(0))
    assert figures["first_ratio"] < 1e-4

    mask, R = rollout.response_mask, rollout.response_mask.shape[1]
    hidden = at_response(by_hand.transformer(rollout.tokens), rollout.start, R)
    every = by_hand.transformer.lm_head(hidden).log_softmax(-1)
    chosen = at_response(rollout.tokens, rollout.start + 1, R)
    logprobs = every.gather(-1, chosen[..., None])[..., 0]
    surrogate = -((logprobs - rollout.logprobs).exp() * advantages)[mask].mean()
    errors = 0.5 * (by_hand.head(hidden)[..., 0] - returns)[mask].square().mean()
    (surrogate + OPTIONS.value_weight * errors).backward()
    torch.optim.SGD(by_hand.parameters(), 0.1).step()
    assert figures["value_loss"] == pytest.approx(float(errors.detach()), rel=1e-4)
    expected = by_hand.state_dict()
    for name, tensor in value.state_dict().items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-4, atol=2e-5, msg=name)


def test_a_value_of_no_weight_leaves_the_trunk_to_the_policy(models) -> None:
    policy, value = models
    rollout = rolled(policy, value)
    nothing = torch.zeros_like(rollout.logprobs)
    before = copy.deepcopy(policy.state_dict())
    for weight in (0.0, 0.5):
        ppo_update(policy, value, torch.optim.SGD(policy.parameters(), 0.1),
                   torch.optim.SGD(value.head.parameters(), 0.1), rollout, nothing,
                   nothing + 1.0, replace(OPTIONS, value_weight=weight),
                   torch.Generator().manual_seed(0))
        assert weight > 0 or all(torch.equal(before[name], tensor)
                                 for name, tensor in policy.state_dict().items())
    assert not torch.equal(before["model.norm.weight"], policy.model.norm.weight)
