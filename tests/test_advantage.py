"""Generalised advantage estimation and masked whitening."""

import math

import pytest
import torch

from rl.advantage import (
    gae,
    group_relative,
    leave_one_out,
    masked_mean,
    masked_variance,
    scale_only,
    whiten,
)


def row(*numbers: float) -> torch.Tensor:
    return torch.tensor([numbers], dtype=torch.float64)


def test_gae_by_hand() -> None:
    # gamma 0.5, lambda 0.5; one-step errors and advantages from the end:
    #   r=2: 4 - 3 = 1                      advantage 1
    #   r=1: 2 + 0.5*3 - 2 = 1.5            advantage 1.5 + 0.25*1     = 1.75
    #   r=0: 1 + 0.5*2 - 1 = 1              advantage 1   + 0.25*1.75  = 1.4375
    mask = torch.ones(1, 3, dtype=torch.bool)
    advantages, returns = gae(row(1, 2, 4), row(1, 2, 3), mask, gamma=0.5, lam=0.5)
    torch.testing.assert_close(advantages, row(1.4375, 1.75, 1))
    torch.testing.assert_close(returns, row(2.4375, 3.75, 4))


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    rewards, values = torch.randn(2, 3, 6, generator=generator, dtype=torch.float64)
    mask = torch.arange(6) < torch.tensor([[6], [1], [4]])
    return rewards * mask, values * mask, mask


def test_lambda_one_gives_discounted_reward_to_go(batch) -> None:
    rewards, values, mask = batch
    advantages, returns = gae(rewards, values, mask, gamma=0.9, lam=1.0)
    powers = torch.tensor([[0.9 ** (j - i) if j >= i else 0.0 for j in range(6)]
                           for i in range(6)], dtype=torch.float64)
    to_go = (rewards @ powers.T) * mask
    torch.testing.assert_close(returns, to_go)
    torch.testing.assert_close(advantages, to_go - values)


def test_lambda_zero_gives_one_step_errors(batch) -> None:
    rewards, values, mask = batch
    advantages, _ = gae(rewards, values, mask, gamma=0.9, lam=0.0)
    following = torch.cat([values[:, 1:], torch.zeros(3, 1, dtype=torch.float64)], dim=1)
    torch.testing.assert_close(advantages, (rewards + 0.9 * following - values) * mask)


def test_padding_changes_nothing_whatever_it_holds(batch) -> None:
    rewards, values, mask = batch
    wide = torch.cat([mask, torch.zeros(3, 2, dtype=torch.bool)], dim=1)
    junk = torch.where(wide, 0.0, torch.nan)
    padded = [torch.nn.functional.pad(x, (0, 2)) + junk for x in (rewards, values)]
    plain = gae(rewards, values, mask, 0.9, 0.7)
    for got, expected in zip(gae(*padded, wide, 0.9, 0.7), plain, strict=True):
        assert torch.equal(got[:, :6], expected)
        assert not got[~wide].any()
    x = torch.where(wide, padded[0], torch.nan)
    for function in (masked_mean, masked_variance):
        torch.testing.assert_close(function(x, wide), function(rewards, mask))
    for function in (whiten, scale_only):
        torch.testing.assert_close(function(x, wide)[:, :6], function(rewards, mask))
        assert not function(x, wide)[~wide].any()


def test_masked_mean_and_variance_by_hand() -> None:
    mask = torch.tensor([[True, True, False, True]])
    x = row(1, 2, 100, 6)
    assert float(masked_mean(x, mask)) == pytest.approx(3)
    assert float(masked_variance(x, mask)) == pytest.approx((4 + 1 + 9) / 3)
    assert float(masked_mean(x, torch.zeros_like(mask))) == 0


def test_whitening_gives_mean_zero_and_variance_one(batch) -> None:
    rewards, _, mask = batch
    chosen = whiten(5 * rewards + 3, mask)[mask]
    assert float(chosen.mean()) == pytest.approx(0, abs=1e-9)
    assert float(chosen.var(unbiased=False)) == pytest.approx(1)
    # The order, and not its reverse, is kept.
    assert torch.equal(chosen.argsort(), rewards[mask].argsort())


def test_scaling_gives_variance_one_and_keeps_zero_and_sign() -> None:
    mask = torch.tensor([[True, True, True, True, False]])
    x = row(0, 4, 4, 0, 9)
    torch.testing.assert_close(scale_only(x, mask), row(0, 2, 2, 0, 0))
    torch.testing.assert_close(scale_only(-x, mask), row(0, -2, -2, 0, 0))


def test_equal_numbers_whiten_to_zero() -> None:
    mask = torch.ones(1, 3, dtype=torch.bool)
    assert whiten(row(2, 2, 2), mask).abs().max() == 0


def test_the_others_to_the_prompt_are_the_baseline() -> None:
    scores = torch.tensor([1.0, 2.0, 6.0, 5.0, 5.0, 5.0])
    torch.testing.assert_close(leave_one_out(scores, 3), torch.tensor(
        [1 - 4, 2 - 3.5, 6 - 1.5, 0.0, 0.0, 0.0]))
    deviation = math.sqrt((4 + 1 + 9) / 3)
    torch.testing.assert_close(group_relative(scores, 3), torch.tensor(
        [-2 / deviation, -1 / deviation, 3 / deviation, 0.0, 0.0, 0.0]))
    for estimate in (leave_one_out, group_relative):
        for replies in (1, 4):
            with pytest.raises(ValueError, match="replies a prompt"):
                estimate(scores, replies)
