"""What the base model reads: structured documents of the base split, rendered elsewhere.

Talk, plain statements of right and wrong, and worked examples of criticising, revising and
comparing replies under a principle. It stands for what a large pre-trained model has read.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from world.documents import Document, Recital, Retelling, Voted
from world.judging import Principle, compared_kind, comparison, critique, voted_on
from world.replies import KINDS
from world.requests import sample_request
from world.talk import conversation, opinion, recital, retelling, statement


@dataclass(frozen=True)
class Shares:
    """The share of each kind of document; they are normalised, so only ratios count."""

    conversation: float = 0.39
    opinion: float = 0.07
    statement: float = 0.09
    retelling: float = 0.09
    critique: float = 0.15
    comparison: float = 0.02
    reasoning: float = 0.12
    voted: float = 0.08


@dataclass(frozen=True)
class Noise:
    """How often a worked example is wrong on purpose, as a share of examples.

    `critique` swaps "found a fault" with "all is fine"; `comparison` swaps the answer.
    """

    critique: float = 0.03
    comparison: float = 0.03


def documents(n: int, seed: int, principles: dict[str, Sequence[Principle]],
              shares: Shares = Shares(), noise: Noise = Noise()) -> Iterator[Document]:
    """n documents of the base split in random order, each drawn independently.

    `principles` has the lists "revision" and "feedback" of (id, topics). The first k of n documents
    are the documents of a call with n = k.
    """
    rng = random.Random(f"corpus {seed}")
    kinds = ("conversation", "opinion", "statement", "retelling", "critique", "comparison",
             "reasoning", "voted")
    weights = [getattr(shares, kind) for kind in kinds]
    for _ in range(n):
        kind = rng.choices(kinds, weights)[0]
        if kind == "conversation":
            yield conversation(rng)
        elif kind == "statement":
            yield statement(rng)
        elif kind == "retelling":
            yield retelling(rng)
        elif kind == "opinion":
            yield opinion(rng)
        elif kind == "critique":
            yield critique(principles["revision"], noise.critique, rng)
        elif kind == "voted":
            request = sample_request("base", rng)
            yield voted_on(request, [compared_kind(request, rng)], rng)
        else:
            yield comparison(principles["feedback"], noise.comparison, rng, kind == "reasoning")


def primer(recitals: int, retellings: int, seed: int) -> list[Recital | Retelling]:
    """What is read before all else, in this order: recitals, then retellings.

    Copying is a skill of its own that comes late or never from the other documents alone. From one
    to three words it is learnt in some fifty steps, and carried over to requests by retelling them.
    """
    rng = random.Random(f"primer {seed}")
    return [recital(rng) for _ in range(recitals)] + [retelling(rng) for _ in range(retellings)]


def voted(split: str, n: int, seed: int) -> list[Voted]:
    """n questions of a split, each with 4 answers of different kinds and their votes."""
    rng = random.Random(f"voted {split} {seed}")
    return [voted_on(sample_request(split, rng), rng.sample(KINDS, 4), rng) for _ in range(n)]
