"""The structured documents of the corpus. Scripts render them in the formats of training."""

from dataclasses import dataclass

Turns = tuple[str, ...]


@dataclass(frozen=True)
class Conversation:
    """A dialogue and the assistant's reply."""

    turns: Turns
    reply: str


@dataclass(frozen=True)
class Opinion:
    """The assistant is asked whether something is right, and says so."""

    turns: Turns
    reply: str


@dataclass(frozen=True)
class Statement:
    """A plain sentence about what is wrong and why, or what is fine."""

    text: str


@dataclass(frozen=True)
class Recital:
    """Words said and said again."""

    text: str


@dataclass(frozen=True)
class Retelling:
    """A dialogue, and what a third person says of it."""

    turns: Turns
    text: str


@dataclass(frozen=True)
class Critique:
    """A response criticised and revised under a revision principle (its id)."""

    turns: Turns
    response: str
    principle: str
    critique: str
    revision: str


@dataclass(frozen=True)
class Comparison:
    """Two replies judged under a feedback principle (its id). `answer`: 0 the first, 1 the second.
    """

    turns: Turns
    first: str
    second: str
    principle: str
    answer: int


@dataclass(frozen=True)
class Reasoning:
    """A comparison with the sentence that argues for the answer."""

    turns: Turns
    first: str
    second: str
    principle: str
    reasoning: str
    answer: int


@dataclass(frozen=True)
class Voted:
    """Answers to one question, each with the votes it got (0 to about 12)."""

    turns: Turns
    answers: tuple[tuple[str, int], ...]


Document = (Conversation | Opinion | Statement | Recital | Retelling | Critique | Comparison
            | Reasoning | Voted)
