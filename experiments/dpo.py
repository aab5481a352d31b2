"""Direct preference optimisation on the comparisons that PPO's preference model learns from.

Rafailov et al. 2023 (arXiv 2305.18290), eq. 7, with soft targets: Bradley-Terry on implicit
rewards, which are beta times the log-ratio of policy to reference over a whole reply.
"""

import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

import train_pm
from cai import formats
from cai.records import Comparison, InputError, read_jsonl
from cai.targets import target
from model.batches import random_steps
from model.checkpoint import AnyTokenizer, load_model, load_tokenizer, save_model
from model.transformer import Transformer
from model.vocabulary import token_logprobs
from rl.preference import accuracy, bradley_terry_loss, mixture_weights
from rl.rollout import grouped, pack
from training.models import frozen, fused, precision
from training.optimizer import adamw, clip_gradients, linear, take_step
from training.options import Common, Flat, device_of, require
from training.stage import Stage


@dataclass(frozen=True)
class Options:
    """Options of direct preference optimisation."""

    model: Path
    """Checkpoint folder of SL-CAI: the policy starts as it, and it is the reference."""
    comparisons: Path
    """Labelled pairs, as make_comparisons.py writes them."""
    targets: Literal["soft", "hard"] = "soft"
    """How a model's labels become targets."""
    beta: float = 0.1
    """Weight of the KL to the reference, nats a unit of reward."""
    harmlessness_weight: float = train_pm.Options.harmlessness_weight
    """Loss weight of a harmlessness comparison; the same comparisons weigh alike in both."""
    helpfulness_weight: float = train_pm.Options.helpfulness_weight
    """Loss weight of a helpfulness comparison."""
    rate: float = 2e-4
    """Peak learning rate; linear warm-up, then linear decay to zero."""
    epochs: int = 3
    """Passes over the comparisons."""
    batch_pairs: int = 32
    """Comparisons a step."""
    common: Flat[Common] = field(default_factory=Common)

    def __post_init__(self) -> None:
        for name in ("beta", "rate"):
            require(getattr(self, name) > 0, name, getattr(self, name), "a positive number")
        for name in ("epochs", "batch_pairs"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")


@dataclass(frozen=True)
class Pair:
    """A comparison as tokens: its prompt, both replies with the end token, target and weight."""

    prompt: list[int]
    replies: tuple[list[int], list[int]]
    target: float
    weight: float


def tokenised(comparisons: list[Comparison], options: Options, tokenizer: AnyTokenizer,
              context: int) -> list[Pair]:
    """The comparisons of two different replies that fit the context."""
    weights = mixture_weights([c.kind for c in comparisons], {
        "red_team": options.harmlessness_weight, "helpful": options.helpfulness_weight}).tolist()
    pairs = []
    for comparison, weight in zip(comparisons, weights, strict=True):
        prompt = tokenizer.encode(formats.reply_prompt(comparison.turns))
        first, second = ([*tokenizer.encode_more(f" {reply}"), tokenizer.end]
                         for reply in comparison.responses)
        if first != second and len(prompt) + max(len(first), len(second)) <= context:
            pairs.append(Pair(prompt, (first, second),
                              target(comparison.labels, options.targets), weight))
    return pairs


def reply_logprobs(model: Transformer, pairs: list[Pair], device: torch.device
                   ) -> tuple[Tensor, Tensor]:
    """Log-probability (N,) of each first and of each second reply. Differentiable."""
    packed = pack([pair.prompt for pair in pairs] * 2,
                  [pair.replies[side] for side in (0, 1) for pair in pairs])
    tokens, start, mask = (tensor.to(device) for tensor in packed)
    groups, states, targets = grouped(tokens, start, mask)
    logprobs = token_logprobs(model, model.forward_groups(groups, states), targets)
    return torch.zeros(mask.shape, device=device).masked_scatter(mask, logprobs).sum(1).chunk(2)


def main(options: Options) -> dict:
    """Train a policy on comparisons directly, without a preference model."""
    stage = Stage("dpo", __file__, options, options.common,
                  {"model": options.model, "comparisons": options.comparisons})
    if stage.done:
        return stage.figures
    device = device_of(options.common)
    tokenizer = load_tokenizer(options.model)
    policy = load_model(options.model, device=device)
    reference = copy.deepcopy(policy)
    pairs = tokenised(read_jsonl(options.comparisons, Comparison), options, tokenizer,
                      policy.config.context)
    if not pairs:
        raise InputError(f"{options.comparisons}: found no pair of different replies that fits "
                         "the context, expected some")
    fused(policy, options.common)
    frozen(reference, options.common)
    generator = torch.Generator().manual_seed(options.common.seed)
    optimizer = adamw(policy, options.rate, eps=1e-5)
    steps = [step for _ in range(options.epochs)
             for step in random_steps([1] * len(pairs), options.batch_pairs, generator)]
    with stage.log(len(steps)) as log:
        for step, members in enumerate(steps):
            chosen = [pairs[n] for n in members]
            with precision(options.common):
                first, second = reply_logprobs(policy, chosen, device)
                with torch.no_grad():
                    first_before, second_before = reply_logprobs(reference, chosen, device)
            rewards = (options.beta * (first - first_before),
                       options.beta * (second - second_before))
            aims = torch.tensor([pair.target for pair in chosen], device=device)
            weights = torch.tensor([pair.weight for pair in chosen], device=device)
            loss = bradley_terry_loss(*rewards, aims, weights)
            loss.backward()
            norm = clip_gradients(policy.parameters(), 1.0)
            take_step([(optimizer, options.rate)], linear(step, len(steps), 10))
            log.write(step, loss=loss.item(), accuracy=accuracy(*rewards, aims),
                      gradient_norm=norm)
    save_model(policy, stage.path / "model", tokenizer)
    return stage.finish({"loss": loss.item(), "pairs": len(pairs)})
