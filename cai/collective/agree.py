"""How much each group agrees with each statement, and how sure that is.

G groups, P participants, S statements. Passes count as votes: who saw a statement and would not
agree has not agreed.
"""

import numpy as np


def tallies(votes: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(G, S, 3) int: agrees, disagrees and passes of each group; label -1 is in none."""
    groups = range(labels.max(initial=-1) + 1)
    return np.array([[(votes[labels == group] == value).sum(axis=0) for value in (1, -1, 0)]
                     for group in groups], dtype=int).reshape(len(groups), 3, -1).swapaxes(1, 2)


def shares(tallied: np.ndarray) -> np.ndarray:
    """(G, S): agrees / (agrees + disagrees + passes), NaN where a group has no vote."""
    return _ratio(tallied[..., 0], tallied.sum(axis=2), 0.0)


def group_aware(tallied: np.ndarray, smoothed: bool = True) -> np.ndarray:
    """Group-aware consensus (S,): the product over groups of (A + 1) / (N + 2), Polis' formula.

    A is a group's agrees, N all its votes. Unsmoothed: the product of A / N, NaN without a vote.
    """
    return _ratio(tallied[..., 0], tallied.sum(axis=2), float(smoothed)).prod(axis=0)


def bootstrap_consensus(votes: np.ndarray, labels: np.ndarray, generator: np.random.Generator,
                        rounds: int = 1000, smoothed: bool = True, level: float = 0.95
                        ) -> np.ndarray:
    """Percentile bootstrap intervals (S, 2) of the group-aware consensus.

    Participants are drawn again with replacement within each group; the groups stay as they are,
    so the interval does not tell how sure the grouping is (see cai/collective/sensitivity.py).
    """
    product = np.ones((rounds, votes.shape[1]))
    for group in range(labels.max(initial=-1) + 1):
        members = votes[labels == group]
        drawn = generator.multinomial(len(members), np.full(len(members), 1 / len(members)),
                                      size=rounds).astype(np.float32)
        product *= _ratio(drawn @ (members == 1).astype(np.float32),
                          drawn @ np.isfinite(members).astype(np.float32), float(smoothed))
    tail = (1.0 - level) / 2.0
    known = np.isfinite(product).any(axis=0)
    bounds = np.full((votes.shape[1], 2), np.nan)
    bounds[known] = np.nanquantile(product[:, known], [tail, 1.0 - tail], axis=0).T
    return bounds


def _ratio(agrees: np.ndarray, seen: np.ndarray, pseudo: float) -> np.ndarray:
    """(A + p) / (N + 2 p) in float64, NaN where N + 2 p is 0."""
    below = seen.astype(np.float64) + 2 * pseudo
    return np.divide(agrees + pseudo, below, out=np.full(below.shape, np.nan), where=below > 0)
