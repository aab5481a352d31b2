"""Fine-tune on revisions and helpful samples: SL-CAI (sections 3.1 and 3.2)."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch

from cai import formats
from cai.records import InputError, Revision, read_jsonl
from model.adapters import LoRA, branch
from model.batches import in_parts, random_steps
from model.checkpoint import load_model, load_tokenizer, save_model
from model.sharing import learning
from model.tokenizer import Tokenizer
from model.vocabulary import learn_tokens
from training.models import fused, precision, trunk_dtype
from training.optimizer import clip_gradients, fine_tuning, linear, take_step
from training.options import Common, Flat, device_of, require, start
from training.stage import Stage


@dataclass(frozen=True)
class Options:
    """Options of supervised fine-tuning."""

    model: Path
    """Checkpoint folder of the pre-trained model that is fine-tuned."""
    chains: Path
    """Chains and helpful samples, as make_revisions.py writes them."""
    revisions: str = "all"
    """Revisions learnt: all steps, the final one, or step N alone (section 3.1 says all)."""
    optimizer: Literal["adamw", "muon"] = "muon"
    """Muon suits the small world; for a real model, adamw with a rate of its own."""
    rate: float = 3e-3
    """Peak learning rate (the paper: half the pre-training rate, constant)."""
    final: float = 0.0
    """Learning rate of the last step, as a share of the peak; 1: constant."""
    warmup: int = 10
    """Steps of linear warm-up."""
    epochs: int = 3
    """Passes over the data (the paper: 1)."""
    batch_tokens: int = 2048
    """Tokens a step, about."""
    accumulate: int = 1
    """Parts that a step is computed in, one after another: less memory, the same step."""
    lora: Flat[LoRA] = LoRA()
    """Adapters that are trained in place of the model itself."""
    common: Flat[Common] = field(default_factory=Common)

    def __post_init__(self) -> None:
        which = self.revisions
        require(which in ("all", "final") or (which.isdigit() and int(which) > 0),
                "revisions", which, "all, final or a step from 1")
        require(not self.lora.lora_rank or self.optimizer == "adamw", "optimizer", self.optimizer,
                "adamw for adapters")
        require(self.rate > 0, "rate", self.rate, "a positive number")
        require(0 <= self.final <= 1, "final", self.final, "a share from 0 to 1")
        for name in ("epochs", "batch_tokens", "accumulate"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")


def replies(chain: Revision, which: str) -> list[str]:
    """The replies of a chain that are learnt: its revisions as asked, or its helpful sample."""
    if chain.kind == "helpful" or not chain.steps:
        return [chain.response]
    revisions = [step.revision for step in chain.steps]
    if which == "all":
        return revisions
    if which == "final":
        return revisions[-1:]
    return revisions[int(which) - 1:int(which)]


def encode(chains: list[Revision], which: str, tokenizer: Tokenizer,
           context: int) -> list[tuple[list[int], list[int]]]:
    """Prompt and reply ids of every pair learnt, the end token last; empty replies are left out."""
    pairs = []
    for chain in chains:
        prompt = tokenizer.encode(formats.reply_prompt(chain.turns))
        for reply in replies(chain, which):
            ids = [*tokenizer.encode_more(f" {reply}"), tokenizer.end]
            if reply and len(prompt) + len(ids) <= context:
                pairs.append((prompt, ids))
    return pairs


def by_prompt(pairs: list[tuple[list[int], list[int]]], most: int) -> list[list[int]]:
    """Indices of all pairs, those of one prompt together, about `most` tokens at most: learnt in
    one step, the prompt is read once.
    """
    families: dict[tuple[int, ...], list[int]] = {}
    for n, (prompt, _) in enumerate(pairs):
        families.setdefault(tuple(prompt), []).append(n)
    return [part for family in families.values() for part in in_parts(
        family, -(-sum(sum(map(len, pairs[n])) for n in family) // most))]


def main(options: Options) -> dict:
    """Fine-tune a model on revisions and helpful samples."""
    stage = Stage("train_sl", __file__, options, options.common,
                  {"model": options.model, "chains": options.chains})
    if stage.done:
        return stage.figures
    device = device_of(options.common)
    tokenizer = load_tokenizer(options.model)
    generator = torch.Generator().manual_seed(options.common.seed)
    model = load_model(options.model, trunk_dtype(options.lora, options.common), device)
    if options.lora.lora_rank:
        model = branch(model, options.lora, generator)
    fused(model, options.common)
    pairs = encode(read_jsonl(options.chains, Revision), options.revisions, tokenizer,
                   model.config.context)
    if not pairs:
        raise InputError(f"{options.chains}: found no reply that fits the context, "
                         "expected some")
    optimizers = fine_tuning(model, options.optimizer, options.rate)
    rows = [[*prompt, *reply] for prompt, reply in pairs]
    given, lengths = [len(prompt) for prompt, _ in pairs], list(map(len, rows))
    families = by_prompt(pairs, options.batch_tokens)
    steps = [[families[n] for n in step] for _ in range(options.epochs)
             for step in random_steps([sum(lengths[n] for n in family) for family in families],
                                      options.batch_tokens, generator)]
    total = 0.0
    with stage.log(len(steps)) as log:
        for step, members in enumerate(steps):
            count = sum(lengths[n] - given[n] for family in members for n in family)
            loss = torch.zeros((), device=device)
            for part in in_parts(members, options.accumulate):
                learnt = learning(rows, given, part, device)
                with precision(options.common):
                    hidden = model.forward_groups(learnt.groups, learnt.at)
                    hidden = hidden.index_select(0, learnt.drawn_from)
                    loss += learn_tokens(model, hidden, learnt.targets, count=count)
            norm = clip_gradients(model.parameters(), 1.0)
            take_step(optimizers, linear(step, len(steps), options.warmup, options.final))
            total += loss.item()
            log.write(step, loss=loss.item(), gradient_norm=norm)
    save_model(model, stage.path / "model", tokenizer)
    return stage.finish({"loss": total / len(steps), "replies": len(pairs)})


if __name__ == "__main__":
    start(main, Options, (InputError,))
