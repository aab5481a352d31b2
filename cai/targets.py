"""Targets for the preference model, derived from labels that keep their raw log-probs.

In this order: the two log-probs of an order are normalised (section 4.1); a label is the mean of
its orders, in probability; a clamp applies to each label (section 4.3, for labels with reasoning);
a target is the mean of the labels, that is over principles; a hard target is the side of 1/2 on
which that mean falls.
"""

import math
from collections.abc import Sequence

from cai.records import Label

KINDS = ("soft", "hard", "clamped")


def normalised(chosen: float, other: float) -> float:
    """P(chosen) of two log-probs, in [0, 1]: exp(c) / (exp(c) + exp(o)), without overflow."""
    gap = min(max(other - chosen, -700.0), 700.0)
    return 1.0 / (1.0 + math.exp(gap))


def label_preference(label: Label) -> float:
    """P(responses[0] is better): the mean over orders, or as it stands without log-probs."""
    if not label.logprobs:
        return label.preference
    return sum(normalised(*row) for row in label.logprobs) / len(label.logprobs)


def soft_target(labels: Sequence[Label]) -> float:
    """The mean over labels of P(responses[0] is better). ValueError where there is no label."""
    return _mean([label_preference(label) for label in labels])


def clamped_target(labels: Sequence[Label], low: float, high: float) -> float:
    """The same with each of a model's labels held in [low, high] first; people's are left alone.

    The paper holds labels made with reasoning in [0.4, 0.6], since they come out near 0 or 1.
    """
    if not 0.0 <= low <= high <= 1.0:
        raise ValueError(f"found clamp {low} to {high}, expected 0 <= low <= high <= 1")
    return _mean([
        min(max(label_preference(label), low), high) if label.source == "model"
        else label_preference(label)
        for label in labels
    ])


def hard_target(labels: Sequence[Label]) -> float:
    """1.0 or 0.0 by the side of 1/2 on which the soft target falls; 0.5 on the line itself."""
    soft = soft_target(labels)
    return 0.5 if soft == 0.5 else float(soft > 0.5)


def target(labels: Sequence[Label], kind: str, low: float = 0.4, high: float = 0.6) -> float:
    """The target of the kind named: "soft", "hard" or "clamped" (to [low, high])."""
    if kind == "soft":
        return soft_target(labels)
    if kind == "hard":
        return hard_target(labels)
    if kind == "clamped":
        return clamped_target(labels, low, high)
    raise ValueError(f"found target {kind!r}, expected one of {KINDS}")


def _mean(values: list[float]) -> float:
    if not values:
        raise ValueError("found no label, expected at least one")
    return sum(values) / len(values)
