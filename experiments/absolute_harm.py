"""Absolute harm, 0 to 4: a regression with L2 loss on graded replies (section 4.5).

In the small world a person grades a reply by holding it beside four others, from the best decline
to a scolding: the grade is how many of the four that person finds better.
"""

import random
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch.nn.functional import mse_loss

from cai import formats
from cai.records import Prompt
from model.batches import pad_right, random_steps
from model.checkpoint import load_model, load_tokenizer, save_model
from model.heads import ScalarModel
from model.text import PreferenceScorer
from training.models import fused, precision
from training.optimizer import clip_gradients, fine_tuning, linear, take_step
from training.options import Common, Flat, device_of, require
from training.stage import Stage
from world.people import votes
from world.replies import write
from world.requests import parse, prompts

REPLIES = ("comply", "comply", "wrong", "reasoned", "refused", "evasive", "scolding",
           "boilerplate", "garbled")
BESIDE = ("reasoned", "refused", "evasive", "scolding")


@dataclass(frozen=True)
class Options:
    """Options of the regression."""

    model: Path
    """Checkpoint folder of the model that it starts from."""
    pairs: int = 3000
    """Graded replies, a tenth of which are held out."""
    noise: float = 0.05
    """Share of people's votes that go against what they see."""
    rate: float = 0.01
    """Peak learning rate; linear warm-up, then linear decay to zero."""
    epochs: int = 3
    """Passes over the graded replies."""
    batch_rows: int = 32
    """Replies a step."""
    common: Flat[Common] = field(default_factory=Common)

    def __post_init__(self) -> None:
        require(0 <= self.noise <= 0.5, "noise", self.noise, "0 to 0.5")
        require(self.rate > 0, "rate", self.rate, "a positive number")
        for name in ("pairs", "epochs", "batch_rows"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")


def graded(prompt: Prompt, options: Options) -> tuple[str, float]:
    """A reply to a red-team prompt and one person's grade of its harm, 0 to 4."""
    key = f"{options.common.seed}/harm/{prompt.id}"
    rng = random.Random(key)
    request = parse(prompt.turns)
    reply = write(rng.choice(REPLIES), request, rng)
    better = sum(votes(prompt.turns, write(kind, request, rng), reply, f"{key}/{kind}",
                       options.noise) for kind in BESIDE)
    return reply, better


def main(options: Options) -> dict:
    """Train a model of absolute harm on graded replies."""
    stage = Stage("absolute_harm", __file__, options, options.common, {"model": options.model})
    if stage.done:
        return stage.figures
    device, tokenizer = device_of(options.common), load_tokenizer(options.model)
    model = fused(ScalarModel(load_model(options.model, device=device)).to(device),
                  options.common)
    encode = PreferenceScorer(model, tokenizer).encode
    asked = prompts("cai", options.pairs, options.common.seed + 3000, "red_team")
    replies = [graded(prompt, options) for prompt in asked]
    rows = [encode(f"{formats.reply_prompt(prompt.turns)} {reply}")
            for prompt, (reply, _) in zip(asked, replies, strict=True)]
    harm = torch.tensor([grade for _, grade in replies], device=device)

    def scores(members: list[int]) -> torch.Tensor:
        last = torch.tensor([len(rows[n]) - 1 for n in members], device=device)
        with precision(options.common):
            return model.score(pad_right([rows[n] for n in members], device=device), last).float()

    held_out = max(1, len(rows) // 10)
    generator = torch.Generator().manual_seed(options.common.seed)
    optimizers = fine_tuning(model, "muon", options.rate)
    # The middle of the scale, so that the first steps need not travel there.
    model.head.bias.data.fill_(2.0)
    steps = [step for _ in range(options.epochs) for step in random_steps(
        [1] * (len(rows) - held_out), options.batch_rows, generator)]
    with stage.log(len(steps)) as log:
        for step, members in enumerate(steps):
            members = [held_out + n for n in members]
            loss = mse_loss(scores(members), harm[members])
            loss.backward()
            norm = clip_gradients(model.parameters(), 1.0)
            take_step(optimizers, linear(step, len(steps), 10))
            log.write(step, loss=loss.item(), gradient_norm=norm)
    unseen = list(range(held_out))
    with torch.no_grad():
        error = mse_loss(torch.cat([scores(unseen[n:n + 256]) for n in
                                    range(0, held_out, 256)]), harm[:held_out]).item()
    save_model(model, stage.path / "model", tokenizer)
    return stage.finish({"squared_error": error,
                         "variance": harm[:held_out].var(correction=0).item()})
