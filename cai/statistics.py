"""Intervals, diversity of replies, and calibration. Every function is pure; seeds are passed in."""

import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np


def wilson_interval(successes: int, trials: int, z: float = 1.96) -> tuple[float, float]:
    """The Wilson score interval of a share; z = 1.96 is 95 %. No trial: (0, 1), nothing known."""
    if not 0 <= successes <= trials:
        raise ValueError(f"found {successes} of {trials}, expected 0 <= successes <= trials")
    if trials == 0:
        return 0.0, 1.0
    share = successes / trials
    centre = share + z * z / (2 * trials)
    spread = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


def bootstrap_interval(values: Sequence[float], seed: int,
                       statistic: Callable[[np.ndarray], float] = np.mean,
                       resamples: int = 1000, level: float = 0.95) -> tuple[float, float]:
    """The percentile bootstrap interval of a statistic of `values` (N,)."""
    array = np.asarray(values, dtype=np.float64)
    if not len(array):
        raise ValueError("found no value, expected at least one")
    generator = np.random.default_rng(seed)
    drawn = [statistic(array[generator.integers(len(array), size=len(array))])
             for _ in range(resamples)]
    tail = (1.0 - level) / 2.0
    low, high = np.quantile(drawn, [tail, 1.0 - tail])
    return float(low), float(high)


@dataclasses.dataclass(frozen=True)
class Mean:
    """A mean with its 95 % bootstrap interval over `count` values."""

    value: float
    low: float
    high: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float], seed: int, resamples: int = 1000) -> "Mean":
        """The mean of `values` (N,). ValueError where there is none."""
        low, high = bootstrap_interval(values, seed, resamples=resamples)
        return cls(float(np.mean(values)), low, high, len(values))

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def cohen_kappa(first: Sequence[object], second: Sequence[object]) -> float | None:
    """Cohen's kappa of two people's verdicts on the same N items: agreement above that of chance,
    1 at best. None where chance alone agrees always, or there is no item.
    """
    pairs = list(zip(first, second, strict=True))
    one, other = Counter(first), Counter(second)
    by_chance = sum(one[verdict] * other[verdict] for verdict in one)
    if by_chance == len(pairs) ** 2:
        return None
    chance = by_chance / len(pairs) ** 2
    return (sum(a == b for a, b in pairs) / len(pairs) - chance) / (1 - chance)


def distinct_share(replies: Sequence[str]) -> float:
    """Different replies over all replies, in (0, 1]. It falls with their number: compare equals."""
    if not replies:
        raise ValueError("found no reply, expected at least one")
    return len(set(replies)) / len(replies)


def ngram_entropy(replies: Sequence[str], orders: Sequence[int] = (1, 2, 3)) -> float:
    """Entropy in bits of the n-grams of words over all replies; the mean over the orders n."""
    entropies = []
    for order in orders:
        counts = Counter(
            gram for words in map(str.split, replies)
            for gram in zip(*(words[i:] for i in range(order)), strict=False))
        total = counts.total()
        entropies.append(-sum(c / total * math.log2(c / total) for c in counts.values()))
    return sum(entropies) / len(entropies)


def calibration_error(probabilities: Sequence[float], outcomes: Sequence[float],
                      bins: int = 10) -> float:
    """Expected calibration error in [0, 1]: |mean probability - mean outcome| of equal-width bins,
    weighted by how many of the N probabilities fall in each. Outcomes (N,) are 0 to 1.
    """
    predicted = np.asarray(probabilities, dtype=np.float64)
    observed = np.asarray(outcomes, dtype=np.float64)
    if len(predicted) != len(observed) or not len(predicted):
        raise ValueError(f"found {len(predicted)} probabilities and {len(observed)} outcomes, "
                         "expected as many of each, and some")
    if predicted.min() < 0.0 or predicted.max() > 1.0:
        raise ValueError("found a probability outside 0 to 1, expected it within")
    at = np.minimum((predicted * bins).astype(int), bins - 1)
    gaps = np.bincount(at, weights=predicted - observed, minlength=bins)
    return float(np.abs(gaps).sum() / len(predicted))
