"""Reinforcement learning from AI feedback: PPO against the preference model (section 4.1)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from cai import formats
from cai.keys import named_generator, noise_key
from cai.readers import read_fitting
from cai.records import InputError, Prompt
from model.adapters import LoRA, branch, learnt_state
from model.checkpoint import (
    load_model,
    load_scalar_model,
    load_tokenizer,
    same_tokenizer,
    save_model,
)
from model.heads import ScalarModel
from model.sampling import Sampling
from model.text import PreferenceScorer, Sampler
from rl.options import PPOOptions
from rl.reward import Reward, kl_controller, score_replies
from rl.rollout import Rollout, pack, response_logprobs, response_logprobs_and_values
from rl.update import estimate, penalised_rewards, ppo_update
from training.models import behaviour_of, frozen, fused, precision, trunk_dtype, up_to_date
from training.optimizer import adamw, linear, set_rate
from training.options import Common, Flat, device_of, require, start
from training.stage import Stage, plain
from world.requests import prompts as world_prompts


@dataclass(frozen=True)
class Options:
    """Options of reinforcement learning."""

    model: Path
    """Checkpoint folder of SL-CAI: the policy starts as it, and it is the reference."""
    preference_model: Path
    """Checkpoint folder of the preference model whose score is the reward."""
    held_out: Path | None = None
    """Checkpoint folder of the held-out preference model that chooses the step to keep."""
    red_team: Path | None = None
    """File of red-team prompts; without it the embedded world's."""
    helpful: Path | None = None
    """File of helpful prompts; without it the embedded world's."""
    red_team_share: float = 0.7
    """Share of red-team prompts in each step's rollouts."""
    steps: int = 30
    """PPO steps."""
    rollouts: int = 128
    """Replies sampled a step."""
    policy_rate: float = 2e-4
    """Peak learning rate of the policy; linear warm-up and decay to zero."""
    value_rate: float = 4e-4
    """Peak learning rate of the value model, on the same schedule."""
    warmup: int = 5
    """Steps of warm-up."""
    max_new: int = 48
    """Longest reply, in tokens."""
    keep_every: int = 5
    """Steps between candidates for the checkpoint that is kept; also between savings to resume."""
    snapshots: int = 0
    """Steps between models kept as model_N, after N steps, beside the best one; 0: none."""
    value_start: Literal["preference_model", "policy"] = "preference_model"
    """What the value model starts as; as the policy, with a head of zeros, where tokenizers
    differ."""
    shared_trunk: bool = False
    """Let the value be a head on the policy's own hidden states: half the passes and memory. The
    head alone then starts as the preference model's."""
    trunk: Path | None = None
    """Checkpoint folder of the model whose adapters the three given hold: it alone is loaded."""
    lora: Flat[LoRA] = LoRA()
    """Adapters of policy and value model, in place of copies; the reference is their trunk."""
    ppo: PPOOptions = PPOOptions()
    """PPO itself."""
    common: Flat[Common] = field(default_factory=Common)

    def __post_init__(self) -> None:
        require(0 <= self.red_team_share <= 1, "red_team_share", self.red_team_share,
                "a share from 0 to 1")
        require(self.steps >= 1, "steps", self.steps, "1 or more")
        require(self.rollouts >= self.ppo.minibatches, "rollouts", self.rollouts,
                f"at least one a minibatch, {self.ppo.minibatches}")
        require(self.rollouts % self.ppo.replies == 0, "rollouts", self.rollouts,
                f"a multiple of the replies a prompt, {self.ppo.replies}")
        require(self.trunk is None or self.lora.lora_rank > 0, "lora_rank", 0,
                "1 or more with --trunk")
        require(self.snapshots >= 0, "snapshots", self.snapshots, "0 or more")
        for name in ("keep_every", "max_new"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")


@dataclass(frozen=True)
class Prompts:
    """Two pools of prompts, each walked in its own shuffled order, over and over."""

    red_team: list[Prompt]
    helpful: list[Prompt]
    share: float
    seed: int

    def batch(self, step: int, size: int) -> list[Prompt]:
        """The `size` prompts of one step, a `share` of them red-team."""
        harmful = round(size * self.share) if self.helpful else size
        harmful = harmful if self.red_team else 0
        return [*self.draw(self.red_team, "red_team", step * harmful, harmful),
                *self.draw(self.helpful, "helpful", step * (size - harmful), size - harmful)]

    def draw(self, pool: list[Prompt], kind: str, begin: int, count: int) -> list[Prompt]:
        """`count` prompts of a pool from place `begin` of its endless shuffled order."""
        drawn: list[Prompt] = []
        while len(drawn) < count:
            lap, at = divmod(begin + len(drawn), len(pool))
            order = named_generator(self.seed, kind, lap).sample(range(len(pool)), len(pool))
            drawn += [pool[n] for n in order[at:at + count - len(drawn)]]
        return drawn


class Actors:
    """Every model of the loop: policy and value model learn, the others only judge."""

    def __init__(self, options: Options, device: torch.device, reward: Reward | None):
        self.tokenizer = load_tokenizer(options.model)
        dtype = trunk_dtype(options.lora, options.common)
        trunk = load_model(options.trunk, dtype, device) if options.trunk else None
        self.reference = load_model(options.model, dtype, device, trunk)
        judge = load_scalar_model(options.preference_model, device, dtype, trunk)
        generator = torch.Generator().manual_seed(options.common.seed)
        self.policy = branch(self.reference, options.lora, generator)
        self.behaviour = behaviour_of(self.policy, options.common)
        self.value = self.start_of_value(judge, options, generator).to(device)
        self.reward = reward or preference(judge, options.preference_model, options.common)
        self.held_out = (preference(load_scalar_model(options.held_out, device, dtype, trunk),
                                    options.held_out, options.common)
                         if options.held_out else self.reward)
        frozen(self.reference, options.common)
        for model in (self.policy, self.value):
            fused(model, options.common)

    def start_of_value(self, judge: ScalarModel, options: Options,
                       generator: torch.Generator) -> ScalarModel:
        """The value model before the first step, on the policy's trunk or on one of its own."""
        # A preference model with other ids cannot read the policy's: values start from the policy.
        as_judge = (options.value_start == "preference_model" and same_tokenizer(
            self.tokenizer, load_tokenizer(options.preference_model)))
        if not options.shared_trunk:
            return branch(judge if as_judge else ScalarModel(self.reference), options.lora,
                          generator)
        value = ScalarModel(self.policy)
        if as_judge and judge.config.width == value.config.width:
            value.head.load_state_dict(judge.head.state_dict())
        return value

    def fits(self, max_new: int) -> Callable[[Sequence[str]], bool]:
        """Tells whether a dialogue leaves room for a reply of `max_new` tokens."""
        room = self.policy.config.context - max_new
        return lambda turns: len(self.tokenizer.encode(formats.reply_prompt(turns))) <= room


def preference(model: ScalarModel, folder: Path, common: Common) -> Reward:
    """The preference model loaded from `folder`, frozen, as a reward of dialogues and replies."""
    score = PreferenceScorer(frozen(model, common), load_tokenizer(folder))
    return lambda turns, replies: score([formats.reply_prompt(each) for each in turns], replies)


def read(options: Options, actors: Actors) -> Prompts:
    """The prompts of the files given, those that leave room for a reply; else the world's."""
    fits, seed = actors.fits(options.max_new), options.common.seed
    red_team = (read_fitting(options.red_team, fits) if options.red_team
                else world_prompts("cai", 4000, seed + 2000, "red_team"))
    helpful = (read_fitting(options.helpful, fits, kind="helpful") if options.helpful
               else [] if options.red_team
               else world_prompts("cai", 4000, seed + 2000, "helpful"))
    return Prompts(red_team, helpful, options.red_team_share, seed)


def sample(actors: Actors, prompts: list[Prompt], step: int, options: Options,
           device: torch.device) -> tuple[Rollout, float]:
    """One reply a prompt with all that the update needs, and the held-out model's mean score."""
    sampler = Sampler(up_to_date(actors.behaviour, actors.policy), actors.tokenizer,
                      Sampling(options.max_new, options.ppo.temperature), formats.STOP,
                      rows=len(prompts))
    asked = [formats.reply_prompt(prompt.turns) for prompt in prompts]
    done = sampler.complete(asked, [noise_key(options.common.seed, prompt.id, step, n)
                                    for n, prompt in enumerate(prompts)])
    replies = [sampler.text(each) for each in done]
    tokens = [each.tokens or [actors.tokenizer.end] for each in done]
    packed = [tensor.to(device) for tensor in
              pack([actors.tokenizer.encode(text) for text in asked], tokens)]
    settings = options.ppo.temperature, options.ppo.chunk_rows
    turns = [prompt.turns for prompt in prompts]
    with precision(options.common):
        if options.ppo.advantages == "gae":
            logprobs, values = response_logprobs_and_values(actors.policy, actors.value, *packed,
                                                            *settings)
        else:
            logprobs = response_logprobs(actors.policy, *packed, *settings)
            values = torch.zeros_like(logprobs)
        rollout = Rollout(
            *packed,
            logprobs,
            response_logprobs(actors.reference, *packed, *settings),
            values,
            score_replies(actors.reward, turns, replies).to(device),
            torch.tensor([each.ended for each in done], device=device),
            tuple(prompt.kind for prompt in prompts))
        held_out = score_replies(actors.held_out, turns, replies).mean().item()
    return rollout, held_out


def figures_of(rollout: Rollout, kl: torch.Tensor) -> dict[str, float]:
    """What a step's rollouts show: scores by kind of prompt, KL, length, replies that ended."""
    by_kind = {kind: [n for n, each in enumerate(rollout.kind) if each == kind]
               for kind in sorted(set(rollout.kind))}
    return {"score": rollout.scores.mean().item(), "kl": kl.mean().item(),
            "length": rollout.response_mask.sum(1).float().mean().item(),
            "ended": rollout.ended.float().mean().item(),
            **{f"score_{kind}": rollout.scores[rows].mean().item()
               for kind, rows in by_kind.items()}}


def main(options: Options, reward: Reward | None = None) -> dict:
    """Train a policy by PPO against a preference model, or against any `reward` given."""
    name = "" if reward is None else f"{reward.__module__}.{reward.__qualname__}"
    stage = Stage("train_ppo", __file__, {**plain(options), "reward": name}, options.common,
                  {"model": options.model, "preference_model": options.preference_model,
                   "held_out": options.held_out, "trunk": options.trunk,
                   "red_team": options.red_team, "helpful": options.helpful})
    if stage.done:
        return stage.figures
    device, seed = device_of(options.common), options.common.seed
    actors = Actors(options, device, reward)
    prompts = read(options, actors)
    policy_optimizer = adamw(actors.policy, options.policy_rate, eps=1e-5)
    value_optimizer = adamw(actors.value.head if options.shared_trunk else actors.value,
                            options.value_rate, eps=1e-5)
    learners = {"policy": actors.policy, "value": actors.value}
    optimizers = {"policy_optimizer": policy_optimizer, "value_optimizer": value_optimizer}
    generator = torch.Generator().manual_seed(seed)
    controller = kl_controller(options.ppo.kl_coefficient, options.ppo.kl_target,
                               options.ppo.kl_horizon)
    best, recent, shown, first = {"score": -torch.inf, "step": -1}, [], {}, 0
    if (saved := stage.load_progress()) is not None:
        first, best = saved["step"], saved["best"]
        recent, shown = saved["recent"], saved["shown"]
        controller = type(controller)(**saved["controller"])
        restore(saved, learners, optimizers, generator)
    with stage.log(options.steps, resume_at=first) as log:
        for step in range(first, options.steps):
            drawn = prompts.batch(step, options.rollouts // options.ppo.replies)
            batch = [prompt for prompt in drawn for _ in range(options.ppo.replies)]
            rollout, held_out = sample(actors, batch, step, options, device)
            rewards, kl = penalised_rewards(rollout, controller.coefficient, options.ppo)
            advantages, returns = estimate(rollout, rewards, options.ppo)
            share = linear(step, options.steps, options.warmup)
            set_rate(policy_optimizer, options.policy_rate * share)
            set_rate(value_optimizer, options.value_rate * share)
            recent.append(held_out)
            if (step + 1) % options.keep_every == 0 or step + 1 == options.steps:
                best = keep(best, actors.policy, recent[-options.keep_every:], step)
            with precision(options.common):
                figures = ppo_update(actors.policy, actors.value, policy_optimizer,
                                     value_optimizer, rollout, advantages, returns, options.ppo,
                                     generator)
            controller = controller.updated(kl.mean().item(), len(batch))
            shown = figures_of(rollout, kl)
            log.write(step, **shown, held_out_score=held_out, **figures)
            if options.snapshots and (step + 1) % options.snapshots == 0:
                save_model(actors.policy, stage.path / f"model_{step + 1}", actors.tokenizer)
            if (step + 1) % options.keep_every == 0:
                stage.save_progress(
                    step=step + 1, best=best, recent=recent, shown=shown,
                    generator=generator.get_state(), controller=vars(controller),
                    **{name: learnt_state(model) for name, model in learners.items()},
                    **{name: each.state_dict() for name, each in optimizers.items()})
    actors.policy.load_state_dict(best["policy"], strict=False)
    save_model(actors.policy, stage.path / "model", actors.tokenizer)
    return stage.finish({"kept_step": best["step"], "held_out_score": best["score"],
                         "score": shown["score"], "kl": shown["kl"]})


def restore(saved: dict, learners: dict[str, nn.Module],
            optimizers: dict[str, torch.optim.Optimizer], generator: torch.Generator) -> None:
    """Give models, optimizers and generator the state in which they were saved."""
    generator.set_state(saved["generator"])
    for name, model in learners.items():
        model.load_state_dict(saved[name], strict=False)
    for name, optimizer in optimizers.items():
        optimizer.load_state_dict(saved[name])


def keep(best: dict, policy: nn.Module, scores: list[float], step: int) -> dict:
    """The better of `best` and the policy now, by the mean of its recent held-out scores."""
    score = sum(scores) / len(scores)
    if score <= best["score"]:
        return best
    weights = {name: tensor.clone() for name, tensor in learnt_state(policy).items()}
    return {"score": score, "step": step, "policy": weights}


if __name__ == "__main__":
    start(main, Options, (InputError,))
