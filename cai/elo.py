"""Elo ratings by a Bradley-Terry fit, with ties and bootstrap intervals.

P(i beats j) = 1 / (1 + 10^((r_j - r_i) / 400)), so r = (400 / ln 10) s where the s are the logits
of the Bradley-Terry model (the helpfulness-and-harmlessness paper, section 2.4). A tie counts as
half a win each. M models; ratings are differences only, so one model is held at 0.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

SCALE = 400.0 / math.log(10.0)

Game = tuple[str, str, float]
"""(first model, second model, score of the first: 1 won, 0.5 tie, 0 lost)."""


@dataclasses.dataclass(frozen=True)
class Rating:
    """An Elo rating with the bounds of its bootstrap interval."""

    elo: float
    low: float
    high: float


def wins_matrix(games: Sequence[Game], names: Sequence[str]) -> np.ndarray:
    """(M, M) float64: wins[i, j] is how often i beat j, a tie being half a win each."""
    place = {name: index for index, name in enumerate(names)}
    wins = np.zeros((len(names), len(names)))
    for first, second, score in games:
        if first == second or not 0.0 <= score <= 1.0:
            raise ValueError(f"found game {(first, second, score)}, expected two models, 0 to 1")
        wins[place[first], place[second]] += score
        wins[place[second], place[first]] += 1.0 - score
    return wins


def fit_elo(wins: np.ndarray, anchor: int = 0, prior: float = 1.0) -> np.ndarray:
    """Ratings (M,) float64 that maximise the likelihood of wins (M, M); ratings[anchor] is 0.

    `prior` imaginary ties are added between any two models, so that a model which won every game
    has a finite rating; with prior 0 such a table is a ValueError. Newton's method with halving.
    """
    wins = np.asarray(wins, dtype=np.float64) + prior / 2.0
    np.fill_diagonal(wins, 0.0)
    if not _connected(wins):
        raise ValueError("found models never beaten by, or never met with, the others; "
                         "expected a prior above 0, or more games")
    played = wins + wins.T
    free = np.arange(len(wins)) != anchor
    logits = np.zeros(len(wins))
    for _ in range(200):
        expected = _win_probability(logits)
        gradient = (wins - played * expected).sum(axis=1)
        if np.abs(gradient[free]).max(initial=0.0) < 1e-9 * played.sum():
            break
        weight = played * expected * expected.T
        curvature = np.diag(weight.sum(axis=1)) - weight
        step = np.zeros_like(logits)
        step[free] = np.linalg.solve(curvature[np.ix_(free, free)], gradient[free])
        before, size = _log_likelihood(wins, logits), 1.0
        while _log_likelihood(wins, logits + size * step) < before and size > 1e-6:
            size /= 2.0
        logits = logits + size * step
    return SCALE * logits


def elo_ratings(games: Sequence[Game], anchor: str, seed: int, resamples: int = 200,
                level: float = 0.95, prior: float = 1.0) -> dict[str, Rating]:
    """The rating of every model that played, with percentile bootstrap intervals over the games."""
    names = sorted({name for first, second, _ in games for name in (first, second)})
    if anchor not in names:
        raise ValueError(f"found no game of the anchor {anchor!r}, expected one of {names}")
    at = names.index(anchor)
    centre = fit_elo(wins_matrix(games, names), at, prior)
    generator = np.random.default_rng(seed)
    each = np.array([(names.index(first), names.index(second)) for first, second, _ in games])
    scores = np.array([score for _, _, score in games])
    fits = np.empty((resamples, len(names)))
    for row in fits:
        drawn = generator.integers(len(games), size=len(games))
        wins = np.zeros((len(names), len(names)))
        np.add.at(wins, (each[drawn, 0], each[drawn, 1]), scores[drawn])
        np.add.at(wins, (each[drawn, 1], each[drawn, 0]), 1.0 - scores[drawn])
        row[:] = fit_elo(wins, at, prior)
    tail = (1.0 - level) / 2.0
    low, high = np.quantile(fits, [tail, 1.0 - tail], axis=0)
    return {name: Rating(float(centre[i]), float(low[i]), float(high[i]))
            for i, name in enumerate(names)}


def _win_probability(logits: np.ndarray) -> np.ndarray:
    """(M, M): the probability that the row's model beats the column's; 1/2 on the diagonal."""
    return 0.5 * (1.0 + np.tanh((logits[:, None] - logits[None, :]) / 2.0))


def _log_likelihood(wins: np.ndarray, logits: np.ndarray) -> float:
    return float(-(wins * np.logaddexp(0.0, logits[None, :] - logits[:, None])).sum())


def _connected(wins: np.ndarray) -> bool:
    """Whether every model beat every other through some chain of wins: then the fit is finite."""
    reach = (wins > 0.0) | np.eye(len(wins), dtype=bool)
    for _ in range(len(wins)):
        reach = (reach.astype(int) @ reach.astype(int)) > 0
    return bool(reach.all())
