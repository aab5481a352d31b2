"""A step of PPO: rollout, scores of four models, and the update."""

from collections.abc import Mapping
from functools import partial

import torch

from benchmarks import peers
from benchmarks.aside import Side
from benchmarks.generation import noise
from benchmarks.measure import Result, compare
from benchmarks.setting import Setting
from benchmarks.shapes import described, random_model, random_tokens
from benchmarks.steps import actors, ppo_step
from model.transformer import ModelConfig
from rl.options import PPOOptions

BATCH, PROMPT, NEW = 64, 48, 64


def step(setting: Setting, config: ModelConfig, dtype: str, epochs: int,
         shared: bool = False) -> Result:
    """One step on 64 prompts with one minibatch an epoch; TRL in float32, two trunks."""
    config, device, rows = setting.shape(config), setting.device, setting.scaled(BATCH)
    common = setting.common(dtype)
    model = random_model(config, device)
    prompts = random_tokens(rows, PROMPT, config.vocab_size)
    ours = partial(ppo_step, actors(model, common, shared), prompts, noise(rows, NEW),
                   PPOOptions(epochs=epochs, minibatches=1, chunk_rows=rows, kl_coefficient=0.05),
                   common, rows)
    parts: list[dict[str, float]] = []
    result = compare(setting, lambda: parts.append(ours()),
                     partial(theirs, config, device, prompts, epochs), amount=1, unit="s", rounds=3,
                     facts={"model": described(config), "batch": rows, "epochs": epochs,
                            "minibatches": 1, "dtype": dtype, "their_dtype": "float32",
                            "trunks": 1 if shared else 2,
                            "lengths": f"{PROMPT} prompt + {NEW} new"})
    return Result(**{**vars(result), "facts": result.facts | shares(parts, result.facts)})


def theirs(config: ModelConfig, device: torch.device, prompts: list[list[int]],
           epochs: int) -> dict[str, Side]:
    """TRL's PPOTrainer on the same prompts."""
    model = random_model(config, device)
    return {"PPOTrainer": peers.ppo_training(model, prompts, NEW, epochs)}


def shares(parts: list[dict[str, float]], facts: Mapping[str, object]) -> dict[str, float]:
    """Each part's share of the time of all rounds that `facts` tell of, which came last.

    What came before them warmed up, and compiled.
    """
    timed = parts[-(facts["repeats"] + facts["discarded"]):]
    whole = sum(sum(each.values()) for each in timed)
    return {f"{name}_share": round(sum(each[name] for each in timed) / whole, 3)
            for name in timed[0]}
