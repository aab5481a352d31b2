"""What a constitution is: principles, and few-shot examples of how they are applied.

Two lists of principles, as in the paper (appendix C): those by which a reply is criticised and
revised, and those by which two replies are compared.
"""

import dataclasses
import typing
from collections.abc import Sequence

Turns = tuple[str, ...]
Example = typing.TypeVar("Example", "CritiqueExample", "FeedbackExample")


@dataclasses.dataclass(frozen=True)
class RevisionPrinciple:
    """Asks for a critique and then for a revision. Empty topics: it bears on everything."""

    id: str
    critique_request: str
    revision_request: str
    topics: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class FeedbackPrinciple:
    """Says which of two replies to choose. Empty topics: it bears on everything."""

    id: str
    principle: str
    topics: tuple[str, ...] = ()


Principle = RevisionPrinciple | FeedbackPrinciple


@dataclasses.dataclass(frozen=True)
class CritiqueExample:
    """A worked critique and revision. `own_to` names the principle whose own example it is."""

    turns: Turns
    response: str
    principle: RevisionPrinciple
    critique: str
    revision: str
    own_to: str | None = None


@dataclasses.dataclass(frozen=True)
class FeedbackExample:
    """A worked choice. `principles`: those under which the answer holds; empty: every one."""

    turns: Turns
    first: str
    second: str
    principles: tuple[FeedbackPrinciple, ...]
    answer: int  # 0 is (A), the first; 1 is (B), the second
    reasoning: str | None = None
    own_to: str | None = None


@dataclasses.dataclass(frozen=True)
class Constitution:
    """Everything a constitution file holds."""

    revisions: tuple[RevisionPrinciple, ...]
    feedback: tuple[FeedbackPrinciple, ...]
    critique_examples: tuple[CritiqueExample, ...] = ()
    feedback_examples: tuple[FeedbackExample, ...] = ()
    reasoning_examples: tuple[FeedbackExample, ...] = ()


def examples_for(examples: Sequence[Example], principle: Principle) -> list[Example]:
    """The examples to show before a principle: its own where it has any, else the common ones."""
    own = [example for example in examples if example.own_to == principle.id]
    return own or [example for example in examples if example.own_to is None]
