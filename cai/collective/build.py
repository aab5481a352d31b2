"""The whole way from a conversation to a selection, as one function of its settings."""

import dataclasses

import numpy as np

from cai.collective.agree import bootstrap_consensus, group_aware, shares, tallies
from cai.collective.clean import Count, Rules, clean
from cai.collective.document import Origin
from cai.collective.group import (
    Grouping,
    exported_groups,
    impute,
    opinion_groups,
    project,
    published_groups,
)
from cai.collective.read import Conversation
from cai.collective.select import Choices, Selection, select
from cai.records import InputError


@dataclasses.dataclass(frozen=True)
class Settings:
    """Every choice between votes and selection."""

    rules: Rules = Rules()
    groups: str = "kmeans"  # or "export" or "published"
    k: int | None = None  # groups of k-means; None: by silhouette
    imputation: str = "zero"
    pca: str = "published"
    smoothed: bool = True
    threshold: float = 0.723
    top: int | None = None
    alike: float = 0.6
    choices: Choices = Choices()
    rounds: int = 1000
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class Outcome:
    """G groups, P participants, S statements of the cleaned conversation.

    axes (P, 2) and explained (2,): where participants stand; tallied (G, S, 3) int: agrees,
    disagrees, passes; consensus (S,) and intervals (S, 2): group-aware.
    """

    conversation: Conversation
    counts: list[Count]
    grouping: Grouping
    axes: np.ndarray
    explained: np.ndarray
    tallied: np.ndarray
    consensus: np.ndarray
    intervals: np.ndarray
    selection: Selection

    def origin(self, statement: str) -> Origin:
        """Where the principle of a selected statement comes from."""
        at = [each.id for each in self.conversation.statements].index(statement)
        low, high = self.intervals[at]
        return Origin(self.selection.said_by(statement), int(self.tallied[:, at].sum()),
                      round(float(self.consensus[at]), 4),
                      (round(float(low), 4), round(float(high), 4)))

    def report(self) -> dict:
        """What X.json holds; an unknown number is null."""
        shared = shares(self.tallied)
        consensus = {
            statement.id: {"groups": [_number(share) for share in shared[:, at]],
                           "group_aware": _number(self.consensus[at]),
                           "interval": [_number(bound) for bound in self.intervals[at]]}
            for at, statement in enumerate(self.conversation.statements)}
        return {"participants": len(self.conversation.participants),
                "statements": len(self.conversation.statements),
                "group_sizes": self.grouping.sizes, "consensus": consensus,
                "selected": list(self.selection.selected)}


def build(conversation: Conversation, settings: Settings) -> Outcome:
    """Clean, group, agree, select. The seed makes one generator for groups, one for intervals.

    InputError where the conversation cannot be used so.
    """
    cleaned, counts = clean(conversation, settings.rules)
    grouping_noise, interval_noise = map(np.random.default_rng,
                                         np.random.SeedSequence(settings.seed).spawn(2))
    axes, explained = project(impute(cleaned.votes, settings.imputation), settings.pca)
    try:
        if settings.groups == "export":
            grouping = exported_groups(cleaned)
        elif settings.groups == "published":
            grouping = published_groups(axes, cleaned.participants, grouping_noise, settings.k)
        else:
            grouping = opinion_groups(axes, grouping_noise, settings.k)
    except ValueError as error:
        raise InputError(f"{conversation.path}: {error}") from error
    tallied = tallies(cleaned.votes, grouping.labels)
    consensus = group_aware(tallied, settings.smoothed)
    intervals = bootstrap_consensus(cleaned.votes, grouping.labels, interval_noise,
                                    settings.rounds, settings.smoothed)
    selection = select([each.id for each in cleaned.statements],
                       [each.text for each in cleaned.statements], consensus,
                       settings.threshold, settings.top, settings.alike, settings.choices)
    return Outcome(cleaned, counts, grouping, axes, explained, tallied, consensus, intervals,
                   selection)


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
