"""From effects, one a seed, to a verdict: the paired t test and its 95 % interval. Pure.

What decides is stated before the run: the direction that the claim gives the effect, and the
margin, the smallest effect that would matter.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Claim = Literal["above", "below", "same"]
Verdict = Literal["holds", "fails", "equivalent", "undecided"]

LEVEL = 0.95
FEWEST = 3
"""Seeds below which nothing is decided: a spread of two values is hardly known."""


@dataclass(frozen=True)
class Estimate:
    """The mean effect over seeds, its 95 % interval and the test of a mean of zero."""

    effect: float
    interval: tuple[float, float] | None  # None for a single seed
    t: float | None
    p: float | None
    seeds: int

    @property
    def test(self) -> str:
        """The test in words."""
        if self.t is None:
            return f"none: {self.seeds} seed"
        return (f"two-sided paired t test, {self.seeds} seeds: t({self.seeds - 1}) = "
                f"{self.t:.2f}, p = {self.p:.2g}")


def t_below(t: float, freedom: int) -> float:
    """P(T <= t) of Student's t with whole degrees of freedom, by its finite series.

    Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.3 and 26.7.4.
    """
    if freedom < 1:
        raise ValueError(f"found {freedom} degrees of freedom, expected 1 or more")
    angle = math.atan2(t, math.sqrt(freedom))
    cosine, sine = math.cos(angle), math.sin(angle)
    odd = freedom % 2
    term = cosine if odd else 1.0
    total = 0.0
    for n in range(freedom // 2):
        total += term
        term *= cosine * cosine * (2 * n + 1 + odd) / (2 * n + 2 + odd)
    within = (angle + sine * total) * 2 / math.pi if odd else sine * total
    return 0.5 + within / 2


def t_quantile(share: float, freedom: int) -> float:
    """The t below which a `share` of Student's distribution lies, share from 1/2 to below 1."""
    if not 0.5 <= share < 1:
        raise ValueError(f"found share {share}, expected 0.5 to below 1")
    low, high = 0.0, 1.0
    while t_below(high, freedom) < share:
        high *= 2
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if t_below(middle, freedom) < share else (low, middle)
    return (low + high) / 2


def estimate(effects: Sequence[float]) -> Estimate:
    """What the effects of all seeds say together. ValueError for none, or one not finite."""
    count = len(effects)
    if not count or not all(map(math.isfinite, effects)):
        raise ValueError(f"found effects {list(effects)}, expected finite numbers, one at least")
    mean = sum(effects) / count
    if count == 1:
        return Estimate(mean, None, None, None, 1)
    variance = sum((each - mean) ** 2 for each in effects) / (count - 1)
    error = math.sqrt(variance / count)
    t = mean / error if error else math.copysign(math.inf, mean) if mean else 0.0
    half = t_quantile((1 + LEVEL) / 2, count - 1) * error
    return Estimate(mean, (mean - half, mean + half), t, 2 * (1 - t_below(abs(t), count - 1)),
                    count)


def decide(found: Estimate, claim: Claim, margin: float) -> Verdict:
    """The verdict on a claim: that the effect is above zero, below it, or the same as zero.

    An interval within the margin on both sides shows sameness. A claim of a difference also fails
    where the interval leaves out every effect of its sign as large as the margin.
    """
    if margin <= 0:
        raise ValueError(f"found margin {margin}, expected above 0")
    if found.interval is None or found.seeds < FEWEST:
        return "undecided"
    low, high = found.interval
    if claim == "same":
        if -margin < low and high < margin:
            return "holds"
        return "fails" if low > margin or high < -margin else "undecided"
    if -margin < low and high < margin:
        return "equivalent"
    if claim == "below":
        low, high = -high, -low
    if low > 0:
        return "holds"
    return "fails" if high < margin else "undecided"


def together(verdicts: Sequence[Verdict]) -> Verdict:
    """The verdict on a claim of several parts, all of which it asserts.

    One failing part fails it; a part without a difference leaves no more than equivalence. Since
    every part must hold by itself, no correction for several tests is due.
    """
    if not verdicts:
        raise ValueError("found no verdict, expected one at least")
    for worst in ("fails", "undecided", "equivalent"):
        if worst in verdicts:
            return worst
    return "holds"
