"""Train the helpful-only model of the embedded world: its tokenizer, then next-token prediction.

It stands for the large pre-trained model of the paper. With a real checkpoint this stage is not
needed.
"""

import dataclasses
import itertools
import string
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from cai import formats
from cai.collective.rewrite import rewrite
from cai.constitution import (
    Constitution,
    FeedbackPrinciple,
    RevisionPrinciple,
    load_constitution,
)
from cai.records import InputError
from model.batches import random_steps
from model.checkpoint import save_model
from model.sharing import learning
from model.tokenizer import Tokenizer, train_tokenizer
from model.transformer import ModelConfig, Transformer, initialise
from model.vocabulary import learn_tokens
from training.models import fused, precision
from training.optimizer import clip_gradients, linear, muon_and_adamw, take_step
from training.options import Common, Flat, device_of, require, start
from training.stage import Stage
from world import corpus, documents, public

SYMBOLS = (*formats.STOP, *formats.CHOICES, "\n(A)", "\n(B)", "\n\nVotes:",
           "\n\nLet's think step by step:", "'s")


@dataclass(frozen=True)
class Options:
    """Options of the base model's training."""

    constitution: Path = Path("constitutions/small.toml")
    """Constitution whose principles the worked examples name."""
    wishes: bool = False
    """Teach what publics of the small world may wish too: worked examples under the principles
    that python -m cai.collective makes of their statements (docs/collective.md)."""
    tokens: int = 2_200_000
    """Length of training, in tokens, after the primer."""
    recitals: int = 6000
    """Recitals that are read first: a few words said twice, from which copying is learnt."""
    retellings: int = 5000
    """Requests told again that are read next, before the mixture."""
    primer_batch_tokens: int = 1024
    """Tokens a step of the primer: copying wants many steps more than many tokens."""
    batch_tokens: int = 2048
    """Tokens a step of the mixture."""
    answer_weight: float = 8.0
    """How many tokens an answer (A) or (B) counts for in the loss: one bit, all that was judged."""
    vote_weight: float = 4.0
    """The same of a digit: all digits are counts of votes."""
    muon_rate: float = 0.02
    """Peak learning rate of the blocks' matrices; linear warm-up, then decay to zero."""
    rate: float = 4e-3
    """Peak learning rate of everything else, on the same schedule."""
    decay: float = 0.01
    """Weight decay of the blocks' matrices."""
    layers: int = 2
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
        for name in ("recitals", "retellings"):
            require(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")
        for name in ("rate", "muon_rate", "answer_weight", "vote_weight"):
            require(getattr(self, name) > 0, name, getattr(self, name), "a positive number")
        require(self.width % self.heads == 0, "heads", self.heads, "a divisor of the width")


def split(document: documents.Document, constitution: Constitution) -> tuple[str, str]:
    """A structured document of the world as text: what is given, and what is learnt after it.

    Requests, replies to be judged and principles are given. Learnt, a request would teach which
    objects its act was read with, and so to guess where the reply should copy.
    """
    revisions = {p.id: p for p in constitution.revisions}
    feedback = {p.id: p for p in constitution.feedback}
    match document:
        case documents.Statement(text) | documents.Recital(text):
            return "", text
        case documents.Retelling(turns, text):
            given, whole = formats.conversation(turns), formats.document_retelling(turns, text)
        case documents.Conversation(turns, reply) | documents.Opinion(turns, reply):
            given = formats.reply_prompt(turns)
            whole = formats.document_conversation(turns, reply)
        case documents.Critique(turns, response, principle, critique, revision):
            asked = turns, response, revisions[principle]
            given = formats.critique_prompt(*asked)
            whole = formats.document_critique(*asked, critique, revision)
        case documents.Comparison(turns, first, second, principle, answer):
            asked = turns, first, second, feedback[principle]
            given = formats.feedback_prompt(*asked)
            whole = formats.document_comparison(*asked, answer)
        case documents.Reasoning(turns, first, second, principle, reasoning, answer):
            asked = turns, first, second, feedback[principle]
            given = formats.reasoning_prompt(*asked)
            whole = formats.document_reasoning(*asked, reasoning, answer)
        case documents.Voted(turns, ((reply, votes),)):
            whole = formats.document_voted(turns, reply, votes)
            given = whole.removesuffix(f" {votes}")
        case _:
            raise TypeError(f"no rendering for {type(document).__name__}")
    return given, whole.removeprefix(given)


def read_constitution(options: Options) -> Constitution:
    """The principles that the worked examples name, in the words in which they will be asked."""
    constitution = load_constitution(options.constitution)
    if not options.wishes:
        return constitution
    worded = [(f"public-{number}", rewrite(statement), (topic,))
              for number, (statement, topic) in enumerate(public.taught())]
    return dataclasses.replace(
        constitution,
        revisions=(*constitution.revisions, *(
            RevisionPrinciple(name, words.critique_request, words.revision_request, topics)
            for name, words, topics in worded)),
        feedback=(*constitution.feedback, *(
            FeedbackPrinciple(name, words.principle, topics) for name, words, topics in worded)))


def mixture(options: Options, constitution: Constitution) -> Iterator[tuple[str, str]]:
    """Documents of the base split as texts, more than are learnt."""
    principles = {"revision": [(p.id, p.topics) for p in constitution.revisions],
                  "feedback": [(p.id, p.topics) for p in constitution.feedback]}
    stream = corpus.documents(2 * options.tokens // 45, options.common.seed, principles,
                              options.shares, options.noise)
    return (split(document, constitution) for document in stream)


@dataclass(frozen=True)
class Row:
    """A document as tokens, the end token last, of which the first `given` are not learnt."""

    tokens: list[int]
    given: int


def encode(texts: Iterable[tuple[str, str]], tokenizer: Tokenizer) -> Iterator[Row]:
    """What is given and what is learnt as tokens, each by itself, as a prompt and its reply are."""
    for given, learnt in texts:
        prompt = tokenizer.encode(given) if given else []
        rest = tokenizer.encode_more(learnt) if given else tokenizer.encode(learnt)
        yield Row([*prompt, *rest, tokenizer.end], len(prompt))


def token_weights(tokenizer: Tokenizer, options: Options) -> Tensor:
    """How much each token (V,) counts for in the loss, float32: answers and votes more than text.
    """
    weights = torch.ones(len(tokenizer))
    for words, counts in ((formats.CHOICES, options.answer_weight),
                          (string.digits, options.vote_weight)):
        weights[[tokenizer.encode_more(word)[-1] for word in words]] = counts
    return weights


def main(options: Options) -> dict:
    """Train the helpful-only model of the embedded world."""
    stage = Stage("train_base", __file__, options, options.common,
                  {"constitution": options.constitution})
    if stage.done:
        return stage.figures
    constitution = read_constitution(options)
    torch.manual_seed(options.common.seed)
    device = device_of(options.common)
    texts = mixture(options, constitution)
    shown = list(itertools.islice(texts, 20_000))
    primer = [split(each, constitution) for each in corpus.primer(
        options.recitals, options.retellings, options.common.seed)]
    folder = stage.path / "model"
    folder.mkdir(exist_ok=True)
    tokenizer = train_tokenizer(["".join(each) for each in shown],
                                folder / "tokenizer.model", SYMBOLS)
    config = ModelConfig(vocab_size=len(tokenizer), width=options.width, layers=options.layers,
                         heads=options.heads, kv_heads=options.heads, mlp=options.mlp,
                         head_dim=options.width // options.heads, context=options.context,
                         family="qwen3", qk_norm=True)
    model = Transformer(config)
    generator = torch.Generator().manual_seed(options.common.seed)
    initialise(model, generator)
    model = fused(model.to(device), options.common)
    optimizers = list(zip(muon_and_adamw(model, options.muon_rate, options.rate, options.decay),
                          (options.muon_rate, options.rate), strict=True))
    weight = token_weights(tokenizer, options).to(device)
    primer = list(encode(primer, tokenizer))
    rows, steps = curriculum(primer[:options.recitals], primer[options.recitals:],
                             fill(encode(itertools.chain(shown, texts), tokenizer),
                                  options.tokens), options, generator)
    tokens, given = [row.tokens for row in rows], [row.given for row in rows]
    with stage.log(len(steps)) as log:
        for step, members in enumerate(steps):
            learnt = learning(tokens, given, [[n] for n in members], device)
            with precision(options.common):
                hidden = model.forward_groups(learnt.groups, learnt.at)
                hidden = hidden.index_select(0, learnt.drawn_from)
                loss = learn_tokens(model, hidden, learnt.targets, weight[learnt.targets])
            norm = clip_gradients(model.parameters(), 1.0)
            take_step(optimizers, linear(step, len(steps), 60))
            log.write(step, loss=loss.item(), gradient_norm=norm)
    save_model(model, folder, tokenizer)
    return stage.finish({"loss": loss.item(), "documents": len(rows)})


def curriculum(recitals: list[Row], retellings: list[Row], mixture: list[Row], options: Options,
               generator: torch.Generator) -> tuple[list[Row], list[list[int]]]:
    """All rows, and each step's rows by index: the primer's two parts, then the mixture."""
    rows: list[Row] = []
    steps: list[list[int]] = []
    for course, size in ((recitals, options.primer_batch_tokens),
                         (retellings, options.primer_batch_tokens),
                         (mixture, options.batch_tokens)):
        steps += [[len(rows) + n for n in step]
                  for step in random_steps([len(row.tokens) for row in course], size, generator)]
        rows += course
    return rows, steps


def fill(rows: Iterable[Row], tokens: int) -> list[Row]:
    """The first of `rows` that together hold at least `tokens` tokens."""
    total, kept = 0, []
    for row in rows:
        if total >= tokens:
            return kept
        kept.append(row)
        total += len(row.tokens)
    return kept


if __name__ == "__main__":
    start(main, Options, (InputError,))
