"""Missing-end rule, KL estimators, token rewards, KL controllers, rewards from callables."""

import pytest
import torch

from rl.reward import (
    AdaptiveKL,
    FixedKL,
    kl_controller,
    kl_k1,
    kl_k3,
    missing_end_scores,
    score_replies,
    token_kl,
    token_rewards,
)

POLICY = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
REFERENCE = torch.tensor([0.2, 0.2, 0.6], dtype=torch.float64)


@pytest.mark.parametrize("estimator", [kl_k1, kl_k3])
def test_estimators_have_the_exact_kl_as_their_mean(estimator) -> None:
    # The expectation under the policy, summed over its whole (three-way) distribution.
    exact = torch.distributions.kl_divergence(
        torch.distributions.Categorical(POLICY), torch.distributions.Categorical(REFERENCE)
    )
    mean = (POLICY * estimator(POLICY.log(), REFERENCE.log())).sum()
    torch.testing.assert_close(mean, exact)


def test_k3_is_never_negative_and_varies_less_than_k1_nearby() -> None:
    near = 0.9 * POLICY + 0.1 * REFERENCE
    k1, k3 = kl_k1(near.log(), POLICY.log()), kl_k3(near.log(), POLICY.log())
    assert bool((k3 >= 0).all()) and bool((k1 < 0).any())
    second_moment = (near * k3.square()).sum(), (near * k1.square()).sum()
    assert second_moment[0] < 0.1 * second_moment[1]


@pytest.mark.parametrize("estimator", ["k1", "k3"])
def test_token_kl_is_zero_for_equal_models_and_at_padding(estimator) -> None:
    mask = torch.tensor([[True, True, False]])
    logprobs = torch.tensor([[-1.0, -2.0, -7.0]])
    reference = torch.tensor([[-1.0, -2.5, float("inf")]])
    kl = token_kl(logprobs, reference, mask, estimator)
    assert kl[0, 0] == 0 and kl[0, 1] > 0.05 and kl[0, 2] == 0


def test_missing_end_replaces_or_subtracts() -> None:
    scores, ended = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([True, False, False])
    assert missing_end_scores(scores, ended, "replace", -4.0).tolist() == [1.0, -4.0, -4.0]
    assert missing_end_scores(scores, ended, "subtract", 4.0).tolist() == [1.0, -2.0, -1.0]


def test_score_stands_at_the_last_token_and_kl_is_taken_off_at_each() -> None:
    mask = torch.tensor([[True, True, False], [True, True, True]])
    kl = torch.tensor([[0.5, 1.0, 0.0], [-0.5, 0.0, 2.0]])
    rewards = token_rewards(torch.tensor([3.0, -1.0]), kl, mask, 0.1)
    expected = torch.tensor([[-0.05, 2.9, 0.0], [0.05, 0.0, -1.2]])
    torch.testing.assert_close(rewards, expected)


def test_a_reply_without_tokens_is_refused() -> None:
    with pytest.raises(ValueError, match="without tokens"):
        token_rewards(torch.ones(1), torch.zeros(1, 2), torch.zeros(1, 2, dtype=torch.bool), 0.1)


def test_adaptive_coefficient_moves_towards_its_target_within_its_clip() -> None:
    controller = AdaptiveKL(0.1, target=6.0, horizon=1_000)
    # 6.6 is 10 % above target: 0.1 x (1 + 0.1 x 100 / 1000).
    assert controller.updated(6.6, 100).coefficient == pytest.approx(0.101)
    assert controller.updated(5.4, 100).coefficient == pytest.approx(0.099)
    assert controller.updated(6.0, 100).coefficient == pytest.approx(0.1)
    assert controller.updated(600.0, 100).coefficient == pytest.approx(0.102)
    assert controller.updated(-5.0, 100).coefficient == pytest.approx(0.098)
    assert controller.coefficient == 0.1


def test_controller_is_fixed_without_a_target() -> None:
    fixed = kl_controller(0.2, None, 10_000)
    assert fixed == FixedKL(0.2) and fixed.updated(100.0, 64) == fixed
    assert kl_controller(0.2, 6.0, 10_000) == AdaptiveKL(0.2, 6.0, 10_000)


def test_any_callable_is_a_reward_and_its_mistakes_are_named() -> None:
    def length(turns, replies):
        return [len(reply) for reply in replies]

    turns = [("Hello",), ("Hi", "Hello", "How?")]
    assert score_replies(length, turns, ["abc", ""]).tolist() == [3.0, 0.0]
    with pytest.raises(ValueError, match="1 scores for 2 replies"):
        score_replies(lambda turns, replies: [1.0], turns, ["a", "b"])
    with pytest.raises(ValueError, match="reply 1"):
        score_replies(lambda turns, replies: [1.0, float("nan")], turns, ["a", "b"])
