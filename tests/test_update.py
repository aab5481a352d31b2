"""The PPO update: what it pays for, what it steps, what it reports, and a bandit it solves."""

from dataclasses import replace

import pytest
import torch
from fakes import Grouped, LogitModel
from torch import Tensor, nn

from model.errors import OptionError
from rl.options import PPOOptions
from rl.rollout import Rollout, pack, response_logprobs, response_values
from rl.update import estimate, penalised_rewards, ppo_update, shuffled_minibatches

WORDS = 6


class Bandit(LogitModel):
    """A policy whose logits depend on the last token alone: one row of a table each."""

    def __init__(self) -> None:
        super().__init__(WORDS)
        self.table = nn.Parameter(torch.zeros(WORDS, WORDS))

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        return self.table[tokens]


class Guess(Grouped):
    """A value for each last token."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(WORDS))

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        return self.table[tokens]


def sample(policy: Bandit, value: Guess, rows: int, length: int, seed: int) -> Rollout:
    """Replies of one to `length` tokens to the one-token prompts 0 and 1, and no scores yet."""
    generator = torch.Generator().manual_seed(seed)
    prompts = [[row % 2] for row in range(rows)]
    completions = []
    for row, prompt in enumerate(prompts):
        last, completion = prompt[0], []
        for _ in range(1 + row % length):
            weights = policy.table[last].detach().softmax(-1)
            last = int(torch.multinomial(weights, 1, generator=generator))
            completion.append(last)
        completions.append(completion)
    packed = pack(prompts, completions)
    logprobs = response_logprobs(policy, *packed)
    return Rollout(
        *packed, logprobs, response_logprobs(Bandit(), *packed), response_values(value, *packed),
        torch.zeros(rows), torch.ones(rows, dtype=torch.bool), ("helpful",) * rows,
    )


def prepared(rows: int, length: int = 3, **changes):
    """Models, optimizers and a scored rollout: the score is the last token's number."""
    options = PPOOptions(**({"minibatches": 2, "kl_coefficient": 0.0} | changes))
    policy, value = Bandit(), Guess()
    rollout = sample(policy, value, rows, length, seed=3)
    counts = rollout.response_mask.sum(dim=1)
    last = rollout.tokens[torch.arange(rows), rollout.start + counts - 1]
    rollout = replace(rollout, scores=last.float())
    rewards, _ = penalised_rewards(rollout, options.kl_coefficient, options)
    estimates = estimate(rollout, rewards, options)
    optimizers = (torch.optim.SGD(policy.parameters(), 0.5),
                  torch.optim.SGD(value.parameters(), 0.5))
    return options, policy, value, optimizers, rollout, estimates


def updated(seed: int = 0, **arguments):
    options, policy, value, optimizers, rollout, estimates = prepared(**arguments)
    generator = torch.Generator().manual_seed(seed)
    figures = ppo_update(policy, value, *optimizers, rollout, *estimates, options, generator)
    return figures, policy, value, rollout


def test_rewards_follow_the_options() -> None:
    packed = pack([[0], [1]], [[2, 3], [4]])
    logprobs = torch.tensor([[-1.0, -2.0], [-1.0, 0.0]])
    reference = torch.tensor([[-2.0, -1.0], [-3.0, 0.0]])
    rollout = Rollout(*packed, logprobs, reference, torch.zeros(2, 2), torch.tensor([5.0, 6.0]),
                      torch.tensor([True, False]), ("helpful", "helpful"))
    rewards, kl = penalised_rewards(rollout, 0.5, PPOOptions())
    torch.testing.assert_close(rewards, torch.tensor([[-0.5, 5.5], [-4 - 1.0, 0.0]]))
    torch.testing.assert_close(kl, torch.tensor([0.0, 2.0]))
    subtract = PPOOptions(missing_end="subtract", missing_end_value=1.0)
    assert float(penalised_rewards(rollout, 0.0, subtract)[0][1, 0]) == 5.0
    k3 = penalised_rewards(rollout, 1.0, PPOOptions(kl_estimator="k3"))[1]
    e = torch.e
    torch.testing.assert_close(k3, torch.tensor([1 / e + (e - 2), e**-2 - 1 + 2]))
    scaled = penalised_rewards(rollout, 0.5, PPOOptions(whiten_rewards=True))[0]
    chosen = scaled[rollout.response_mask]
    assert float(chosen.var(unbiased=False)) == pytest.approx(1, abs=1e-5)
    assert torch.equal(chosen.sign(), rewards[rollout.response_mask].sign())


def test_estimates_are_whitened_as_asked_and_returns_never() -> None:
    options, _, _, _, rollout, (advantages, returns) = prepared(rows=32)
    rewards, _ = penalised_rewards(rollout, 0.0, options)
    plain, plain_returns = estimate(rollout, rewards, replace(options, whiten_advantages="none"))
    scaled, _ = estimate(rollout, rewards, replace(options, whiten_advantages="scale"))
    mask = rollout.response_mask
    assert torch.equal(returns, plain_returns) and torch.equal(plain + rollout.values, returns)
    assert float(advantages[mask].mean()) == pytest.approx(0, abs=1e-6)
    assert float(advantages[mask].var(unbiased=False)) == pytest.approx(1, abs=1e-5)
    torch.testing.assert_close(scaled, plain / plain[mask].std(unbiased=False))


@pytest.mark.parametrize(("rows", "parts"), [(10, 4), (7, 7), (9, 1)])
def test_minibatches_hold_every_row_once_with_sizes_within_one(rows: int, parts: int) -> None:
    minibatches = list(shuffled_minibatches(rows, parts, torch.Generator().manual_seed(0)))
    sizes = [len(part) for part in minibatches]
    assert len(sizes) == parts and max(sizes) - min(sizes) <= 1
    assert sorted(torch.cat(minibatches).tolist()) == list(range(rows))
    again = list(shuffled_minibatches(rows, parts, torch.Generator().manual_seed(0)))
    assert all(torch.equal(a, b) for a, b in zip(minibatches, again, strict=True))


def test_first_ratio_is_one_and_wrong_logprobs_are_seen() -> None:
    figures, *_ = updated(rows=32)
    assert figures["first_ratio"] < 1e-6 and figures["ratio_max"] > 1.0
    options, policy, value, optimizers, rollout, estimates = prepared(rows=32)
    off = replace(rollout, logprobs=(rollout.logprobs - 0.1) * rollout.response_mask)
    generator = torch.Generator().manual_seed(0)
    figures = ppo_update(policy, value, *optimizers, off, *estimates, options, generator)
    assert figures["first_ratio"] == pytest.approx(torch.e**0.1 - 1, abs=1e-5)


def test_one_minibatch_steps_along_the_plain_policy_gradient() -> None:
    settings = dict(rows=30, epochs=1, minibatches=1, max_grad_norm=0.0, value_clip=0.0)
    figures, policy, value, rollout = updated(**settings)
    fresh, guess = Bandit(), Guess()
    _, _, _, _, _, (advantages, returns) = prepared(**settings)
    mask, states = rollout.response_mask, rollout.tokens[:, :-1]
    chosen = fresh.table.log_softmax(-1)[states, rollout.tokens[:, 1:]]
    objective = (chosen * advantages)[mask].mean()
    error = 0.5 * (guess.table[states] - returns)[mask].square().mean()
    step, value_step = (torch.autograd.grad(objective, fresh.table)[0],
                        -torch.autograd.grad(error, guess.table)[0])
    torch.testing.assert_close(policy.table.detach(), 0.5 * step)
    torch.testing.assert_close(value.table.detach(), 0.5 * value_step)
    assert figures["policy_grad_norm"] == pytest.approx(float(step.norm()), rel=1e-4)
    assert figures["value_loss"] == pytest.approx(float(error.detach()), rel=1e-4)
    assert figures["entropy"] == pytest.approx(float(torch.tensor(WORDS).log()), rel=1e-5)
    assert figures["explained_variance"] == pytest.approx(0, abs=1e-6)


def test_chunks_change_neither_the_step_nor_the_figures() -> None:
    whole, policy, value, _ = updated(rows=29, chunk_rows=64)
    parts, policy_2, value_2, _ = updated(rows=29, chunk_rows=4)
    torch.testing.assert_close(policy.table, policy_2.table)
    torch.testing.assert_close(value.table, value_2.table)
    assert parts == pytest.approx(whole, abs=1e-5)


def test_figures_are_means_over_all_minibatches() -> None:
    # With a zero learning rate every step sees the same models, so a mean over minibatches of one
    # row each is the plain mean over the rows' own losses, and the last alone would not be.
    options, policy, value, _, rollout, estimates = prepared(rows=8, minibatches=8, epochs=1,
                                                             value_clip=0.0)
    frozen = [torch.optim.SGD(model.parameters(), 0.0) for model in (policy, value)]
    generator = torch.Generator().manual_seed(0)
    figures = ppo_update(policy, value, *frozen, rollout, *estimates, options, generator)
    advantages, returns = estimates
    counts = rollout.response_mask.sum(dim=1)
    assert figures["policy_loss"] == pytest.approx(
        float(-(advantages.sum(dim=1) / counts).mean()), abs=1e-5)
    assert figures["value_loss"] == pytest.approx(
        float((0.5 * returns.square().sum(dim=1) / counts).mean()), rel=1e-5)
    assert figures["steps"] == 8 and figures["stopped"] == 0


def test_gradients_are_clipped_and_their_norm_before_that_reported() -> None:
    figures, policy, value, _ = updated(rows=16, epochs=1, minibatches=1, max_grad_norm=0.01)
    assert figures["policy_grad_norm"] > 0.01 and figures["value_grad_norm"] > 0.01
    for model in (policy, value):
        assert float(model.table.detach().norm()) == pytest.approx(0.5 * 0.01, rel=1e-3)


@pytest.mark.parametrize("coefficient", [0.0, 0.5])
def test_entropy_bonus_alone_flattens_the_policy_and_without_it_nothing_moves(coefficient) -> None:
    options, policy, value, optimizers, rollout, (advantages, returns) = prepared(
        rows=32, epochs=1, minibatches=1, entropy_coefficient=coefficient)
    with torch.no_grad():
        policy.table.copy_(torch.randn(WORDS, WORDS, generator=torch.Generator().manual_seed(0)))
    before = torch.distributions.Categorical(logits=policy.table.detach()[:2].clone()).entropy()
    generator = torch.Generator().manual_seed(0)
    ppo_update(policy, value, *optimizers, rollout, torch.zeros_like(advantages), returns,
               options, generator)
    after = torch.distributions.Categorical(logits=policy.table.detach()[:2]).entropy()
    if coefficient:
        assert bool((after > before + 1e-4).all())
    else:
        assert torch.equal(after, before)


def test_update_stops_once_the_policy_has_moved_too_far() -> None:
    settings = dict(rows=32, epochs=4, minibatches=4, max_grad_norm=0.0)
    free, *_ = updated(**settings)
    assert free["steps"] == 16 and free["stopped"] == 0
    each, *_ = updated(stop_kl=1e-4, **settings)
    # The first minibatch has KL zero, the second has moved: its step is not taken.
    assert each["steps"] == 1 and each["stopped"] == 1
    epoch, *_ = updated(stop_kl=1e-4, stop_check="epoch", **settings)
    assert epoch["steps"] == 4 and epoch["stopped"] == 1
    far, *_ = updated(stop_kl=100.0, **settings)
    assert far["steps"] == 16 and far["stopped"] == 0


def test_more_minibatches_than_rollouts_are_refused() -> None:
    with pytest.raises(ValueError, match="minibatches"):
        updated(rows=3, minibatches=4)


def test_a_gradient_that_is_not_finite_stops_before_the_step() -> None:
    options, policy, value, optimizers, rollout, (advantages, returns) = prepared(rows=8)
    advantages[0, 0] = float("nan")
    generator = torch.Generator().manual_seed(0)
    with pytest.raises(RuntimeError, match="non-finite"):
        ppo_update(policy, value, *optimizers, rollout, advantages, returns,
                   replace(options, minibatches=1), generator)
    assert not policy.table.any()


@pytest.mark.parametrize(
    ("name", "value"),
    [("kl_estimator", "k2"), ("lam", 1.5), ("clip", 0.0), ("temperature", 0.0), ("epochs", 0),
     ("kl_target", -1.0), ("value_clip", -0.1), ("whiten_advantages", "yes"), ("stop_kl", 0.0),
     ("kl_coefficient", float("nan")), ("stop_check", "never"), ("missing_end", "ignore")],
)
def test_an_impossible_option_is_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(OptionError, match=name):
        PPOOptions(**{name: value})


def test_options_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(OptionError, match="missing_end_value"):
        PPOOptions(missing_end="subtract", missing_end_value=-4.0)
    with pytest.raises(OptionError, match="kl_coefficient"):
        PPOOptions(kl_coefficient=0.0, kl_target=6.0)


def trained_bandit(kl_coefficient: float, steps: int) -> tuple[Tensor, float]:
    """P(word | prompt) for prompts 0 and 1, whose good words are 4 and 2; and the value's error."""
    options = PPOOptions(kl_coefficient=kl_coefficient, epochs=4, minibatches=2)
    policy, value = Bandit(), Guess()
    optimizers = [torch.optim.Adam(model.parameters(), 0.05) for model in (policy, value)]
    generator = torch.Generator().manual_seed(0)
    for step in range(steps):
        rollout = sample(policy, value, 64, length=1, seed=step)
        good = rollout.tokens[:, 1] == torch.where(rollout.tokens[:, 0] == 0, 4, 2)
        rollout = replace(rollout, scores=good.float())
        rewards, _ = penalised_rewards(rollout, options.kl_coefficient, options)
        estimates = estimate(rollout, rewards, options)
        figures = ppo_update(policy, value, *optimizers, rollout, *estimates, options, generator)
    return policy.table.detach()[:2].softmax(-1), figures["value_loss"]


def test_ppo_solves_a_bandit_and_its_value_model_learns_what_it_earns() -> None:
    probabilities, value_error = trained_bandit(kl_coefficient=0.0, steps=30)
    assert float(probabilities[0, 4]) > 0.9 and float(probabilities[1, 2]) > 0.9
    assert value_error < 0.05


def test_kl_penalty_holds_the_bandit_near_its_optimum_under_the_reference() -> None:
    # Reward 1 with coefficient 1 against a uniform reference: the best policy is e : 1 : ... : 1.
    probabilities, _ = trained_bandit(kl_coefficient=1.0, steps=60)
    best = torch.e / (torch.e + WORDS - 1)
    assert float(probabilities[0, 4]) == pytest.approx(best, abs=0.12)
    assert float(probabilities[1, 2]) == pytest.approx(best, abs=0.12)


@pytest.mark.parametrize("advantages", ["rloo", "grpo"])
def test_the_bandit_is_solved_without_a_value_model(advantages: str) -> None:
    """Four replies to each prompt, of which the last token's number is the score."""
    options = PPOOptions(advantages=advantages, replies=4, minibatches=2, kl_coefficient=0.0,
                         whiten_advantages="none")
    policy, value = Bandit(), Guess()
    optimizers = (torch.optim.SGD(policy.parameters(), 0.5),
                  torch.optim.SGD(value.parameters(), 0.5))
    means = []
    for step in range(30):
        rollout = sample(policy, value, 32, 1, seed=step)
        order = torch.cat([torch.arange(side, 32, 2) for side in (0, 1)])
        rollout = replace(rollout, **{name: getattr(rollout, name)[order] for name in (
            "tokens", "start", "response_mask", "logprobs", "reference_logprobs", "values")})
        rollout = replace(rollout, scores=rollout.tokens[:, 1].float())
        means.append(float(rollout.scores.mean()))
        rewards, _ = penalised_rewards(rollout, 0.0, options)
        figures = ppo_update(policy, value, *optimizers, rollout,
                             *estimate(rollout, rewards, options), options,
                             torch.Generator().manual_seed(step))
        assert figures["first_ratio"] < 1e-6 and "value_loss" not in figures
    assert means[-1] > means[0] + 1
    assert not value.table.any()
