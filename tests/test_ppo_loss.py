"""The clipped losses, the entropy bonus and the statistics of an update."""

import pytest
import torch

from rl.ppo_loss import (
    clipped_value_loss,
    entropy_bonus,
    explained_variance,
    policy_loss,
    ratio_statistics,
    value_loss,
)

MASK = torch.tensor([[True, True, True, True, False]])
OLD = torch.tensor([[-1.0, -2.0, -0.5, -3.0, 0.0]], dtype=torch.float64)


def at_ratios(*ratios: float) -> torch.Tensor:
    """New log-probs with these ratios to OLD; anything at the masked position."""
    return (OLD + torch.tensor([[*ratios, 9.0]], dtype=torch.float64).log()).requires_grad_()


def row(*numbers: float) -> torch.Tensor:
    return torch.tensor([numbers], dtype=torch.float64)


def test_policy_loss_by_hand() -> None:
    advantages = row(1, 1, -1, -2, 50)
    # min(1.5, 1.2) + min(0.5, 0.8) + min(-0.5, -0.8) + min(-3, -2.4), over four tokens.
    loss = policy_loss(at_ratios(1.5, 0.5, 0.5, 1.5), OLD, advantages, MASK, clip=0.2)
    assert float(loss.detach()) == pytest.approx(-(1.2 + 0.5 - 0.8 - 3.0) / 4)


def test_gradient_is_exactly_zero_in_the_clipped_region_and_only_there() -> None:
    logprobs = at_ratios(1.5, 0.5, 0.5, 1.5)
    policy_loss(logprobs, OLD, row(1, 1, -1, -2, 50), MASK, clip=0.2).backward()
    # Clipped: ratio up with a good advantage, ratio down with a bad one. Else -A x ratio / 4.
    torch.testing.assert_close(logprobs.grad, row(0, -0.125, 0, 0.75, 0), rtol=1e-12, atol=0)


def test_first_ratio_is_exactly_one_and_the_gradient_that_of_plain_policy_gradient() -> None:
    logprobs = OLD.clone().requires_grad_()
    advantages = row(1, -2, 3, 0.5, 0)
    loss = policy_loss(logprobs, OLD, advantages, MASK, clip=0.2)
    loss.backward()
    torch.testing.assert_close(logprobs.grad, -advantages / 4)
    figures = ratio_statistics(logprobs, OLD, MASK, clip=0.2)
    expected = {"kl_k1": 0, "kl_k3": 0, "clip_fraction": 0, "ratio_mean": 1, "ratio_max": 1,
                "ratio_deviation": 0}
    assert {name: float(figure) for name, figure in figures.items()} == expected


def test_a_step_down_the_loss_makes_good_tokens_likelier() -> None:
    logits = torch.zeros(1, 4, 3, dtype=torch.float64, requires_grad=True)
    old = logits.detach().log_softmax(-1)[..., 0]
    mask, advantages = torch.ones(1, 4, dtype=torch.bool), torch.ones(1, 4, dtype=torch.float64)
    policy_loss(logits.log_softmax(-1)[..., 0], old, advantages, mask, 0.2).backward()
    after = (logits - 0.1 * logits.grad).log_softmax(-1)[..., 0]
    assert bool((after > old).all())


def test_value_losses_by_hand() -> None:
    values, old = row(1.0, 3.0, -1.0, 0.1, 7), row(0, 0, 0, 0, 0)
    returns = row(2.0, 1.0, -1.0, 0.0, 0)
    assert float(value_loss(values, returns, MASK)) == pytest.approx(0.5 * (1 + 4 + 0 + 0.01) / 4)
    # Held values 0.5, 0.5, -0.5, 0.1: the larger errors are 1.5, 2, 0.5, 0.1.
    clipped = clipped_value_loss(values, old, returns, MASK, clip=0.5)
    assert float(clipped) == pytest.approx(0.5 * (2.25 + 4 + 0.25 + 0.01) / 4)


def test_clipped_value_has_no_gradient_on_the_way_to_its_return() -> None:
    values = row(1.0, 3.0, 0.1, 0.0, 5).requires_grad_()
    old = row(0, 0, 0, 0, 0)
    clipped_value_loss(values, old, row(2, 1, 1, 0, 0), MASK, clip=0.5).backward()
    # Past the clip towards 2: none. Past it and beyond 1: (3 - 1) / 4. Inside: (0.1 - 1) / 4.
    torch.testing.assert_close(values.grad, row(0, 0.5, -0.225, 0, 0))


def test_unclipped_value_gradient_points_to_the_return() -> None:
    values = row(1, 3, 0, 0, 5).requires_grad_()
    value_loss(values, row(2, 1, 0, 0, 0), MASK).backward()
    torch.testing.assert_close(values.grad, row(-0.25, 0.5, 0, 0, 0))


def test_padding_changes_neither_losses_nor_gradients() -> None:
    def everything(junk: float) -> list[torch.Tensor]:
        def padded(*numbers: float) -> torch.Tensor:
            return row(*numbers, junk).requires_grad_()

        new, values = padded(-1.1, -2, -0.4, -3.3), padded(1, 2, 3, 4)
        old, target = padded(-1, -2, -0.5, -3).detach(), padded(2, 0, 1, 5).detach()
        losses = [
            policy_loss(new, 2 * old, target, MASK, 0.2),
            value_loss(values, target, MASK),
            clipped_value_loss(values, old, target, MASK, 0.3),
            entropy_bonus(values, MASK, 0.1),
        ]
        sum(losses).backward()
        statistics = ratio_statistics(new, 2 * old, MASK, 0.2).values()
        explained = explained_variance(values, target, MASK)
        return [*losses, *statistics, explained, new.grad, values.grad]

    for got, expected in zip(everything(1e4), everything(0.0), strict=True):
        assert torch.equal(got, expected)


def test_entropy_bonus_is_coefficient_times_masked_mean() -> None:
    assert float(entropy_bonus(row(1, 2, 3, 6, 100), MASK, 0.5)) == pytest.approx(1.5)


def test_ratio_statistics_by_hand() -> None:
    figures = ratio_statistics(at_ratios(1.5, 1.1, 0.5, 1.0), OLD, MASK, clip=0.2)
    ratios = torch.tensor([1.5, 1.1, 0.5, 1.0], dtype=torch.float64)
    expected = {"kl_k1": -ratios.log().mean(), "kl_k3": (ratios - 1 - ratios.log()).mean(),
                "clip_fraction": 0.5, "ratio_mean": 1.025, "ratio_max": 1.5,
                "ratio_deviation": 0.5}
    assert {name: float(figure) for name, figure in figures.items()} == pytest.approx(
        {name: float(figure) for name, figure in expected.items()}
    )
    assert not any(figure.requires_grad for figure in figures.values())


def test_kl_statistics_estimate_the_exact_kl_from_old_to_new() -> None:
    old = torch.tensor([[0.5, 0.3, 0.2]], dtype=torch.float64)
    new = torch.tensor([[0.4, 0.4, 0.2]], dtype=torch.float64)
    exact = (old * (old.log() - new.log())).sum()
    # Ten tokens drawn in exactly the old proportions make the sample mean an expectation.
    drawn = torch.tensor([0] * 5 + [1] * 3 + [2] * 2)
    mask = torch.ones(1, 10, dtype=torch.bool)
    figures = ratio_statistics(new.log()[:, drawn], old.log()[:, drawn], mask, 0.2)
    torch.testing.assert_close(figures["kl_k1"], exact)
    torch.testing.assert_close(figures["kl_k3"], exact)


def test_explained_variance_of_perfect_constant_and_inverted_values() -> None:
    returns = row(1, 2, 3, 4, 0)
    assert float(explained_variance(returns + 5, returns, MASK)) == pytest.approx(1)
    assert float(explained_variance(row(7, 7, 7, 7, 0), returns, MASK)) == pytest.approx(0)
    assert float(explained_variance(-returns, returns, MASK)) == pytest.approx(-3)
    assert float(explained_variance(returns, row(2, 2, 2, 2, 0), MASK)) == 0
