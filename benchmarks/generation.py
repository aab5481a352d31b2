"""Generation: all rows to full length, and rows that end at lengths of their own."""

import math
from collections.abc import Sequence
from functools import partial

import torch

from benchmarks import peers
from benchmarks.aside import Side
from benchmarks.errors import BenchmarkError
from benchmarks.measure import Result, compare, timed
from benchmarks.setting import Setting
from benchmarks.shapes import TINY, described, random_model, random_tokens
from model.generate import generate
from model.sampling import Sampling
from model.transformer import ModelConfig
from training.models import frozen

PROMPT, NEW = 48, 64
MEAN, CAP = 32, 128  # of the stop lengths
BEFORE_STOP = 0.9  # share of the distribution that is drawn from until a row is to stop


def noise(rows: int, steps: int) -> torch.Tensor:
    """One uniform a token, (rows, steps) float64."""
    return torch.rand(rows, steps, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def plain(setting: Setting, config: ModelConfig = TINY, batch: int = 64, prompt: int = PROMPT,
          new: int = NEW, dtype: torch.dtype = torch.float32) -> Result:
    """All rows to full length, none ending before; against `generate` with its dynamic cache."""
    config, device, rows = setting.shape(config), setting.device, setting.scaled(batch)
    prompt, new = (16, 8) if setting.toy else (prompt, new)
    model = frozen(random_model(config, device, dtype), setting.common())
    prompts, uniforms = random_tokens(rows, prompt, config.vocab_size), noise(rows, new)
    return compare(
        setting, lambda: generate(model, prompts, Sampling(new), uniforms, (), rows=rows),
        partial(theirs, config, device, dtype, prompts, new, rows),
        amount=rows * new, unit="tokens/s",
        facts={"model": described(config), "batch": rows, "dtype": str(dtype).split(".")[1],
               "lengths": f"{prompt} prompt + {new} new"})


def theirs(config: ModelConfig, device: torch.device, dtype: torch.dtype,
           prompts: list[list[int]], new: int, batch: int,
           lengths: Sequence[int] | None = None) -> dict[str, Side]:
    """`generate` of transformers, batch by batch; rows end at `lengths` where these are given."""
    peer = peers.twin(random_model(config, device, dtype))
    given = torch.tensor(prompts, device=device).split(batch)
    ends = ([None] * len(given) if lengths is None else
            torch.tensor(lengths, device=device).split(batch))

    def side() -> None:
        for part, at in zip(given, ends, strict=True):
            peers.sampled(peer, part, new, at)

    return {"generate": timed(side, device)}


def stop_lengths(rows: int) -> list[int]:
    """Lengths from a geometric distribution of mean MEAN, none above CAP."""
    drawn = torch.rand(rows, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    lengths = torch.log1p(-drawn) / math.log1p(-1 / MEAN)
    return (lengths.floor() + 1).clamp_max(CAP).long().tolist()


def stopping_noise(lengths: list[int]) -> torch.Tensor:
    """Noise under which row n draws the last token of the vocabulary first at step lengths[n].

    Sampling reads it through the inverse distribution function, so that token is drawn where the
    noise is all but 1, and never where it is kept well below.
    """
    uniforms = noise(len(lengths), CAP) * BEFORE_STOP
    for row, length in enumerate(lengths):
        uniforms[row, length - 1] = 1 - 1e-9
    return uniforms


def stopping(setting: Setting) -> Result:
    """Sequences that end at drawn lengths: slots are refilled here, batches of 64 wait there."""
    config, device = setting.shape(TINY), setting.device
    rows, batch = setting.scaled(512), setting.scaled(64)
    model = frozen(random_model(config, device), setting.common())
    prompts, lengths = random_tokens(rows, PROMPT, config.vocab_size), stop_lengths(rows)
    uniforms, end = stopping_noise(lengths), config.vocab_size - 1

    def ours() -> None:
        done = generate(model, prompts, Sampling(CAP), uniforms, (end,), rows=batch)
        if [len(each.tokens) for each in done] != lengths:
            raise BenchmarkError("generate-stops: sequences did not end where they were to")

    return compare(
        setting, ours,
        partial(theirs, config, device, torch.float32, prompts, CAP, batch, lengths),
        amount=sum(lengths), unit="tokens/s", rounds=3,
        facts={"model": described(config), "batch": batch, "prompts": rows, "dtype": "float32",
               "lengths": f"{PROMPT} prompt + geometric, mean {MEAN}, at most {CAP}: "
                          f"{sum(lengths)} new"})
