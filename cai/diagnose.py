"""Which stage of a run is broken: each check's bounds, and those checks that read text alone.

Of PPO's own checks rl/diagnose.py has the numbers. A number within its bounds is fine; the bounds
are wide, for finding what is broken and not what could be better.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cai.evaluation import Score, table
from cai.records import Comparison, Label
from cai.targets import normalised


@dataclass(frozen=True)
class Check:
    """What a number is, the stage to look at where it is sick, and its bounds."""

    stage: str
    what: str
    low: float = -math.inf
    high: float = math.inf

    def fine(self, number: float) -> bool:
        """Whether the number is within the bounds; NaN never is."""
        return self.low <= number <= self.high


CHECKS = {
    "scorer_parity": Check(
        "train_ppo", "largest difference of a sampled token's log-prob, cached decoding against "
        "the forward pass that trains; nats", high=0.01),
    "first_ratio": Check(
        "train_ppo", "largest |ratio - 1| before the first step of any update", high=0.01),
    "padding_invariance": Check(
        "train_ppo", "largest change of a log-prob or score by padding and neighbours", high=0.01),
    "kl_sign": Check(
        "train_ppo", "upper end of the 95 % interval of KL(policy to reference), nats a reply, on "
        "the policy's replies", low=0.0),
    "preference_shuffled": Check(
        "train_pm", "share of replies that score above another prompt's reply", low=0.55),
    "preference_empty": Check(
        "train_pm", "share of replies that score above an empty one", low=0.5),
    "preference_echoed": Check(
        "train_pm", "share of replies that score above the request said back", low=0.5),
    "length_bias": Check(
        "train_pm", "correlation of two replies' difference in score with that in words",
        low=-0.6, high=0.6),
    "label_bias": Check(
        "make_comparisons", "mean probability of (A) over single orders, less one half",
        low=-0.15, high=0.15),
}


def letter_bias(labels: Sequence[Label]) -> float:
    """Mean P((A)) over every order that a model was asked in, less one half. NaN for none."""
    chances = [1 - normalised(*row) if swapped else normalised(*row) for label in labels
               for row, swapped in zip(label.logprobs, label.swapped, strict=True)]
    return sum(chances) / len(chances) - 0.5 if chances else math.nan


def preference_numbers(score: Score, pairs: Sequence[Comparison]) -> dict[str, float]:
    """The checks of a preference model on pairs of replies; equal scores count one half."""
    turns, first = [list(pair.turns) for pair in pairs], [pair.responses[0] for pair in pairs]
    scores = score(turns, first)

    def above(replies: list[str]) -> float:
        return float(np.mean([1.0 if own > other else 0.5 if own == other else 0.0 for own, other
                              in zip(scores, score(turns, replies), strict=True)]))

    differ = [pair for pair in pairs if pair.responses[0] != pair.responses[1]]
    sides = [score([list(pair.turns) for pair in differ], [pair.responses[n] for pair in differ])
             for n in (0, 1)]
    words = [[len(pair.responses[n].split()) for pair in differ] for n in (0, 1)]
    return {"preference_shuffled": above(first[1:] + first[:1]),
            "preference_empty": above([""] * len(first)),
            "preference_echoed": above([each[-1] for each in turns]),
            "length_bias": correlation(np.subtract(*sides), np.subtract(*words))}


def neighbour_change(score: Score, pairs: Sequence[Comparison]) -> float:
    """Largest change of a first reply's score between that pair alone and all pairs together."""
    turns, replies = [pair.turns for pair in pairs], [pair.responses[0] for pair in pairs]
    alone = [score([each], [reply])[0] for each, reply in zip(turns, replies, strict=True)]
    return max(abs(one - other) for one, other in zip(alone, score(turns, replies), strict=True))


def correlation(one: Sequence[float], other: Sequence[float]) -> float:
    """Pearson's correlation; 0 where either does not vary."""
    if len(one) < 2 or not np.std(one) or not np.std(other):
        return 0.0
    return float(np.corrcoef(one, other)[0, 1])


def sick(numbers: dict[str, float]) -> list[str]:
    """The checks whose numbers are out of bounds."""
    return [name for name, number in numbers.items() if not CHECKS[name].fine(number)]


def told(numbers: dict[str, float]) -> str:
    """A line a check: fine, sick or not checked, its number, its bounds, the stage, what it is."""
    rows = []
    for name, check in CHECKS.items():
        verdict, number = "not checked", "-"
        if name in numbers:
            verdict = "sick" if name in sick(numbers) else "fine"
            number = f"{numbers[name]:.4g}"
        low, high = ("" if math.isinf(each) else f"{each:g}" for each in (check.low, check.high))
        rows.append((name, verdict, number, f"{low} … {high}".strip(), check.stage, check.what))
    return table(["check", "verdict", "number", "fine within", "stage", "what it is"], rows)
