"""Train the helpful-only model of the embedded world: its tokenizer, then next-token prediction.

It stands for the large pre-trained model of the paper. With a real checkpoint this stage is not
needed.
"""

from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F

from cai import formats
from cai.constitution import Constitution, load_constitution
from cai.records import InputError
from model.batches import pad_right, steps_of
from model.checkpoint import save_model
from model.tokenizer import train_tokenizer
from model.transformer import ModelConfig, Transformer, initialise
from training.log import Log
from training.optimizer import clip_gradients, linear, muon_and_adamw, take_step
from training.options import Common, Flat, device_of, fused, precision, require, start
from training.stage import Stage
from world import corpus, documents

SYMBOLS = (*formats.STOP, *formats.CHOICES, "\n(A)", "\n(B)", "\n\nVotes:",
           "\n\nLet's think step by step:", "'s")


@dataclass(frozen=True)
class Options:
    """Options of the base model's training."""

    constitution: Path = Path("constitutions/small.toml")
    """Constitution whose principles the worked examples name."""
    tokens: int = 2_200_000
    """Length of training, in tokens, after the primer."""
    recitals: int = 6000
    """Recitals that are read first: a few words said twice, from which copying is learnt."""
    retellings: int = 8000
    """Requests told again that are read next, before the mixture."""
    primer_batch_tokens: int = 1024
    """Tokens a step of the primer: copying wants many steps more than many tokens."""
    batch_tokens: int = 2048
    """Tokens a step of the mixture."""
    parts: int = 2
    """Batches a step, each of about equal length; their gradients are added."""
    answer_weight: float = 8.0
    """How many tokens an answer (A) or (B) counts for in the loss: one bit, all that was judged."""
    muon_rate: float = 0.02
    """Peak learning rate of the blocks' matrices; linear warm-up and decay to a twentieth."""
    rate: float = 4e-3
    """Peak learning rate of everything else, on the same schedule."""
    decay: float = 0.01
    """Weight decay of the blocks' matrices."""
    layers: int = 4
    """Transformer blocks."""
    width: int = 128
    """Width of the residual stream."""
    heads: int = 4
    """Attention heads."""
    mlp: int = 384
    """Width of the feed-forward layer."""
    context: int = 256
    """Longest sequence, in tokens."""
    shares: corpus.Shares = corpus.Shares()
    """Share of each kind of document."""
    noise: corpus.Noise = corpus.Noise()
    """Share of worked examples that are wrong on purpose."""
    common: Flat[Common] = field(default_factory=Common)

    def __post_init__(self) -> None:
        require(self.tokens >= self.batch_tokens > 0, "tokens", self.tokens,
                "at least one batch of tokens")
        require(self.rate > 0, "rate", self.rate, "a positive number")
        require(self.width % self.heads == 0, "heads", self.heads, "a divisor of the width")


def render(document: documents.Document, constitution: Constitution) -> str:
    """A structured document of the world as the text that a model reads."""
    revisions = {p.id: p for p in constitution.revisions}
    feedback = {p.id: p for p in constitution.feedback}
    match document:
        case documents.Statement(text) | documents.Recital(text):
            return text
        case documents.Retelling(turns, text):
            return formats.document_retelling(turns, text)
        case documents.Conversation(turns, reply) | documents.Opinion(turns, reply):
            return formats.document_conversation(turns, reply)
        case documents.Critique(turns, response, principle, critique, revision):
            return formats.document_critique(turns, response, revisions[principle], critique,
                                             revision)
        case documents.Comparison(turns, first, second, principle, answer):
            return formats.document_comparison(turns, first, second, feedback[principle], answer)
        case documents.Reasoning(turns, first, second, principle, reasoning, answer):
            return formats.document_reasoning(turns, first, second, feedback[principle],
                                              reasoning, answer)
        case documents.Voted(turns, ((reply, votes),)):
            return formats.document_voted(turns, reply, votes)
    raise TypeError(f"no rendering for {type(document).__name__}")


def texts(options: Options, constitution: Constitution, count: int) -> list[str]:
    """`count` documents of the base split, as texts."""
    principles = {"revision": [(p.id, p.topics) for p in constitution.revisions],
                  "feedback": [(p.id, p.topics) for p in constitution.feedback]}
    stream = corpus.documents(count, options.common.seed, principles, options.shares,
                              options.noise)
    return [render(document, constitution) for document in stream]


def main(options: Options) -> dict:
    """Train the helpful-only model of the embedded world."""
    stage = Stage("train_base", __file__, options, options.common,
                  {"constitution": options.constitution})
    if stage.done:
        return stage.figures
    constitution = load_constitution(options.constitution)
    torch.manual_seed(options.common.seed)
    device = device_of(options.common)
    mixture = texts(options, constitution, 2 * options.tokens // 45)
    primer = [render(each, constitution) for each in corpus.primer(
        options.recitals, options.retellings, options.common.seed)]
    folder = stage.path / "model"
    folder.mkdir(exist_ok=True)
    tokenizer = train_tokenizer(mixture[:20_000], folder / "tokenizer.model", SYMBOLS)
    config = ModelConfig(vocab_size=len(tokenizer), width=options.width, layers=options.layers,
                         heads=options.heads, kv_heads=options.heads, mlp=options.mlp,
                         head_dim=options.width // options.heads, context=options.context)
    model = Transformer(config)
    generator = torch.Generator().manual_seed(options.common.seed)
    initialise(model, generator)
    model = fused(model.to(device), options.common)
    optimizers = list(zip(muon_and_adamw(model, options.muon_rate, options.rate, options.decay),
                          (options.muon_rate, options.rate), strict=True))
    weight = torch.ones(len(tokenizer), device=device)
    weight[[tokenizer.encode_more(choice)[-1] for choice in formats.CHOICES]] = \
        options.answer_weight
    primer, mixture = ([[*tokenizer.encode(text), tokenizer.end] for text in part]
                       for part in (primer, mixture))
    mixture = fill(mixture, options.tokens)
    rows, steps = [], []
    for course, *size in (
            (primer[:options.recitals], options.primer_batch_tokens, 1),
            (primer[options.recitals:], options.primer_batch_tokens, 1),
            (mixture, options.batch_tokens, options.parts)):
        lengths = [len(row) for row in course]
        steps += [[[len(rows) + n for n in batch] for batch in step]
                  for step in steps_of(lengths, *size, generator)]
        rows += course
    with Log(stage.path, "train_base", len(steps), options.common.log) as log:
        for step, batches in enumerate(steps):
            predicted = sum(len(rows[n]) - 1 for batch in batches for n in batch)
            loss = 0.0
            for batch in batches:
                tokens = pad_right([rows[n] for n in batch], fill=-100, device=device)
                with precision(options.common):
                    logits = model.logits(model(tokens.clamp_min(0)[:, :-1]))
                part = F.cross_entropy(logits.flatten(0, 1).float(), tokens[:, 1:].flatten(),
                                       weight, reduction="sum") / predicted
                part.backward()
                loss += part.item()
            norm = clip_gradients(model.parameters(), 1.0)
            take_step(optimizers, linear(step, len(steps), 60, final=0.05))
            log.write(step, loss=loss, gradient_norm=norm)
    save_model(model, folder, tokenizer)
    return stage.finish({"loss": loss, "documents": len(rows)})


def fill(rows: list[list[int]], tokens: int) -> list[list[int]]:
    """The first of `rows` that together hold at least `tokens` tokens."""
    total, kept = 0, []
    for row in rows:
        if total >= tokens:
            return kept
        kept.append(row)
        total += len(row)
    return kept


if __name__ == "__main__":
    start(main, Options, (InputError,))
