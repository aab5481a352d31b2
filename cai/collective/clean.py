"""Who and what counts: each rule an option, each of its counts told."""

import dataclasses

import numpy as np

from cai.collective.read import Conversation
from cai.records import InputError


@dataclasses.dataclass(frozen=True)
class Rules:
    """`min_votes` is a number that must be passed: "more than 25" keeps who voted 26 times."""

    drop: frozenset[str] = frozenset()
    min_votes: int = 0
    unmoderated: bool = False  # also keep statements that no moderator looked at


@dataclasses.dataclass(frozen=True)
class Count:
    """What a rule left."""

    rule: str
    participants: int
    statements: int


def clean(conversation: Conversation, rules: Rules) -> tuple[Conversation, list[Count]]:
    """The conversation that the rules leave, and the counts after each of them.

    Votes are counted before statements are left out, as the published processing does: rejected
    statements still show that somebody took part. InputError where nobody or nothing is left.
    """
    least = 0 if rules.unmoderated else 1
    everyone = np.ones(len(conversation.participants), dtype=bool)
    everything = np.ones(len(conversation.statements), dtype=bool)
    listed = np.array([name not in rules.drop for name in conversation.participants], dtype=bool)
    active = np.isfinite(conversation.votes).sum(axis=1) > rules.min_votes
    accepted = np.array([each.moderated >= least for each in conversation.statements], dtype=bool)
    if not accepted.any():
        raise InputError(f"{conversation.path / 'comments.csv'}: found no accepted statement among "
                         f"{len(accepted)} rows, expected one with moderated = 1 at least")
    if not (listed & active).any():
        raise InputError(f"{conversation.path}: found nobody among {len(listed)} participants with "
                         f"more than {rules.min_votes} votes and not on the list to drop, expected "
                         "some")
    counts = [Count(rule, int(people.sum()), int(statements.sum()))
              for rule, people, statements in (
                  ("in the export", everyone, everything),
                  ("not on the list to drop", listed, everything),
                  (f"with more than {rules.min_votes} votes", listed & active, everything),
                  ("moderated in" if least else "not moderated out", listed & active, accepted))]
    return conversation.kept(listed & active, accepted), counts
