"""The project's own steps as its scripts take them, on token ids in place of texts.

Every call into the project that a benchmark of training times goes through here.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

import train_pm
from benchmarks.floor import synchronise
from model.adapters import LoRA, branch
from model.batches import alike, pad_right
from model.generate import generate
from model.heads import ScalarModel
from model.sampling import Sampling
from model.transformer import Transformer
from model.vocabulary import learn_tokens
from rl.options import PPOOptions
from rl.rollout import Rollout, pack, response_logprobs, response_logprobs_and_values
from rl.update import estimate, penalised_rewards, ppo_update
from training.models import behaviour_of, frozen, fused, precision, up_to_date
from training.optimizer import Optimizers, adamw, clip_gradients, take_step
from training.options import Common


def learn(model: Transformer, optimizers: Optimizers, rows: Sequence[list[int]],
          common: Common) -> None:
    """One step of next-token prediction on `rows`, as train_sl.py takes it; all tokens count."""
    groups = [[rows[n] for n in group] for group in alike([len(row) for row in rows])]
    device = model.table.device
    tokens = [pad_right(group, device=device) for group in groups]
    targets = torch.cat([pad_right([[*row[1:], -1] for row in group], fill=-1,
                                   device=device).flatten() for group in groups])
    counted = (targets >= 0).nonzero()[:, 0]
    with precision(common):
        hidden = model.forward_groups(tokens).index_select(0, counted)
        learn_tokens(model, hidden, targets[counted])
    clip_gradients(model.parameters(), 1.0)
    take_step(optimizers, 1.0)


class NoLog:
    """Takes what a script logs."""

    def write(self, step: int, **figures: float) -> None:
        """Nothing."""


def prefer(model: ScalarModel, pairs: list[train_pm.Pair], options: train_pm.Options,
           device: torch.device) -> None:
    """Training steps of train_pm.py over all pairs once, its optimizer made anew."""
    train_pm.fit(model, pairs, options, device, NoLog(), 0)


@dataclass(frozen=True)
class Actors:
    """The models of PPO and what steps them."""

    policy: Transformer
    behaviour: Transformer
    reference: Transformer
    value: ScalarModel
    reward: ScalarModel
    optimizers: tuple[torch.optim.Optimizer, torch.optim.Optimizer]


def actors(model: Transformer, common: Common, shared: bool = False,
           lora: LoRA = LoRA()) -> Actors:  # noqa: B008 - frozen
    """Policy, reference, value and preference model that start as `model`, as in train_ppo.py.

    `shared`: policy and value on one trunk. At a rank above 0 all four are branches of `model`, as
    under --trunk.
    """
    reference = branch(model, lora)
    reward = ScalarModel(branch(model, lora)).to(model.table.device)
    policy = branch(reference, lora) if lora.lora_rank else model
    behaviour = behaviour_of(policy, common)
    value = (ScalarModel(policy).to(model.table.device) if shared else branch(reward, lora))
    for each in (reference, reward):
        frozen(each, common)
    for each in (policy, value):
        fused(each, common)
    return Actors(policy, behaviour, reference, value, reward,
                  (adamw(policy, 1e-6, eps=1e-5),
                   adamw(value.head if shared else value, 1e-6, eps=1e-5)))


def ppo_step(each: Actors, prompts: Sequence[list[int]], noise: Tensor, options: PPOOptions,
             common: Common, rows: int) -> dict[str, float]:
    """One step of PPO as train_ppo.py takes it; the seconds of rollout, scoring and update.

    noise: (N, new tokens) float64, which also says how many tokens are sampled.
    """
    device, clock = each.policy.table.device, [time.perf_counter()]

    def passed() -> None:
        synchronise(device)
        clock.append(time.perf_counter())

    done = generate(up_to_date(each.behaviour, each.policy), prompts,
                    Sampling(noise.shape[1], options.temperature), noise, (), rows=rows)
    passed()
    packed = [tensor.to(device) for tensor in pack(prompts, [one.tokens for one in done])]
    with precision(common):
        settings = options.temperature, options.chunk_rows
        logprobs, values = response_logprobs_and_values(each.policy, each.value, *packed,
                                                        *settings)
        rollout = Rollout(
            *packed, logprobs, response_logprobs(each.reference, *packed, *settings), values,
            rewards(each.reward, packed[0], packed[1] + packed[2].sum(1), options.chunk_rows),
            torch.tensor([one.ended for one in done], device=device), ("red_team",) * len(done))
    passed()
    paid, _ = penalised_rewards(rollout, options.kl_coefficient, options)
    advantages, returns = estimate(rollout, paid, options)
    with precision(common):
        ppo_update(each.policy, each.value, *each.optimizers, rollout, advantages, returns,
                   options, torch.Generator().manual_seed(0))
    passed()
    return {name: clock[n + 1] - clock[n] for n, name in enumerate(("rollout", "scoring",
                                                                    "update"))}


@torch.no_grad()
def rewards(model: ScalarModel, tokens: Tensor, lengths: Tensor, chunk_rows: int) -> Tensor:
    """The preference model's score (B,) float32 of each row, read at its last token."""
    return torch.cat([model.score(part, last).float() for part, last in zip(
        tokens.split(chunk_rows), (lengths - 1).split(chunk_rows), strict=True)])
