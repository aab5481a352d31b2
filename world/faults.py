"""Faults as models make them: a reply, or its steps, spoiled somewhere and fluent elsewhere."""

import random
from collections.abc import Sequence

from world.lexicon import NOUNS


def strayed(steps: Sequence[str], others: Sequence[str], rng: random.Random) -> list[str]:
    """`others` in the place of all `steps`, or of one; or one that goes on as the other does."""
    if rng.random() < 0.4:
        return list(others)
    place = rng.randrange(len(steps))
    other = others[place] if rng.random() < 0.5 else _crossed(steps[place], others[place], rng)
    return [*steps[:place], other, *steps[place + 1:]]


def _crossed(step: str, other: str, rng: random.Random) -> str:
    """A step that goes on as another does, "warm the signal"; the other where both end alike."""
    head, tail = step.split(), other.split()
    place = rng.randrange(1, min(len(head), len(tail)))
    return other if head[place:] == tail[place:] else " ".join([*head[:place], *tail[place:]])


def doubled(steps: Sequence[str], rng: random.Random) -> list[str]:
    """`steps` with one of them in another's place too."""
    kept, lost = rng.sample(range(len(steps)), 2)
    return [steps[kept] if place == lost else step for place, step in enumerate(steps)]


def slipped(reply: str, rng: random.Random) -> str:
    """The reply with one word, often the first, exchanged for a noun that nobody would say there.
    """
    words = reply.split()
    place = 0 if rng.random() < 0.3 else rng.choice([
        place for place, word in enumerate(words) if word.strip(".,?") not in NOUNS])
    mark = words[place][len(words[place].rstrip(".,?")):]
    words[place] = rng.choice(NOUNS) + mark
    return " ".join(words)


def derailed(reply: str, into: str, rng: random.Random) -> str:
    """The head of one reply, cut inside its first sentence that says something, and the tail of
    another."""
    head, tail = reply.split(), into.split()
    start = 1 if head[0].endswith(".") else 2
    end = next(place for place, word in enumerate(head) if place >= start and word[-1] in ".?")
    kept = head[:rng.randint(min(start, end), end)]
    return " ".join([*kept, *tail[-rng.randint(3, len(tail) - 1):]])


def cut(reply: str, rng: random.Random) -> str:
    """The reply without its first word, broken off inside its second sentence, or without words up
    to a comma there."""
    words = reply.split()
    ends = [place for place, word in enumerate(words) if word[-1] == "."]
    start, end = ends[0] + 1, ends[1]
    if start > 1 and rng.random() < 0.3:
        return " ".join(words[1:])
    commas = [place for place in range(start, end) if words[place][-1] == ","]
    if not commas or rng.random() < 0.5:
        return " ".join(words[:rng.randint(start, end)])
    comma = rng.choice(commas)
    return " ".join([*words[:max(start, comma - rng.randrange(3))], *words[comma + 1:]])
