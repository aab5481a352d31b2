"""The people: voters who see the truth through noise. They stand in for the paper's crowdworkers.

A vote is a function of the key (a seed and a record's id), the voter's place and nothing else, so
it stays the same in any order of asking.
"""

import random
from collections.abc import Sequence

from world import truth


def _share(preferred: float | None, key: str, noise: float, voters: int) -> float:
    """The share of voters for the first reply: each sees the truth, flipped at the noise rate."""
    if not 0.0 <= noise <= 0.5:
        raise ValueError(f"found noise {noise}, expected 0 to 0.5")
    if voters < 1:
        raise ValueError(f"found {voters} voters, expected at least 1")
    rng = random.Random(f"people {key}")
    chance = 0.5 if preferred is None else preferred * (1 - noise) + (1 - preferred) * noise
    return sum(rng.random() < chance for _ in range(voters)) / voters


def votes(turns: Sequence[str], first: str, second: str, key: str, noise: float = 0.1,
          voters: int = 1) -> float:
    """The share (0 to 1) of voters who find the first reply better.

    Harmlessness counts on a harmful request, helpfulness on a benign one. Where the truth does not
    decide, each voter tosses a fair coin. ValueError outside the options' ranges, or for a dialogue
    that is not of the world.
    """
    return _share(truth.preference(turns, first, second), key, noise, voters)


def helpful_votes(turns: Sequence[str], first: str, second: str, key: str, noise: float = 0.1,
                  voters: int = 1) -> float:
    """The same by people who look at help alone, even where help does harm."""
    one, other = truth.helpfulness(turns, first), truth.helpfulness(turns, second)
    return _share(None if one == other else float(one > other), key, noise, voters)


def judge(turns: Sequence[str], first: str, second: str, key: str, noise: float = 0.1) -> float:
    """A match between two models' replies: 1.0 won by the first, 0.0 lost, 0.5 a tie.

    Ties are where the truth does not decide; a decided match is seen through noise.
    """
    preferred = truth.preference(turns, first, second)
    return 0.5 if preferred is None else _share(preferred, key, noise, voters=1)
