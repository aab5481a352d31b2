"""Opinion groups: votes -> two axes -> k-means on k-means centres, as Polis does.

P participants, S statements, N points, K groups. Every draw comes from the generator passed in.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from cai.collective.read import Conversation
from cai.records import InputError

IMPUTATIONS = ("zero", "mean")
PCAS = ("published", "usual")
BASE_CLUSTERS = 100
MOST_GROUPS = 5
RESTARTS = 10


@dataclasses.dataclass(frozen=True)
class Grouping:
    """`labels` (P,) int: the group of each participant, -1 for none. Groups that were
    found are numbered from the largest, given ones by their ids.

    `silhouettes` are by number of groups; empty where the groups were given.
    """

    labels: np.ndarray
    silhouettes: dict[int, float]

    @property
    def sizes(self) -> list[int]:
        """Members of each group, by number."""
        return np.bincount(self.labels[self.labels >= 0]).tolist()


def impute(votes: np.ndarray, way: str) -> np.ndarray:
    """(P, S) float64 without NaN: 0, or the mean of the statement's votes (0 if it has none)."""
    if way not in IMPUTATIONS:
        raise ValueError(f"found imputation {way!r}, expected one of {IMPUTATIONS}")
    votes = votes.astype(np.float64)
    seen = np.isfinite(votes)
    if way == "zero":
        return np.where(seen, votes, 0.0)
    means = np.where(seen, votes, 0.0).sum(axis=0) / np.maximum(seen.sum(axis=0), 1)
    return np.where(seen, votes, means)


def project(filled: np.ndarray, pca: str = "published") -> tuple[np.ndarray, np.ndarray]:
    """Participants on two axes (P, 2), and the share of variance that each axis explains (2,).

    "usual": participants are the samples. Each statement's mean is taken out, so the axes show
    differences alone, and the first is the wider. "published": statements are the samples, as in
    the published processing. Each participant's mean is taken out, what all agree on stays in and
    nearly fills the first axis, and both axes have unit length. An axis points to where its largest
    coordinate is positive.
    """
    if pca not in PCAS:
        raise ValueError(f"found pca {pca!r}, expected one of {PCAS}")
    over = 1 if pca == "published" else 0
    centred = filled - filled.mean(axis=over, keepdims=True)
    vectors, values, _ = np.linalg.svd(centred, full_matrices=False)
    there = values > 1e-9 * max(values.max(), 1e-9)  # the direction of an empty axis means nothing
    vectors = vectors * (values if pca == "usual" else there)
    axes, explained = np.zeros((len(filled), 2)), np.zeros(2)
    axes[:, :vectors.shape[1]] = vectors[:, :2]
    explained[:len(values)] = (values[:2] ** 2) / max((values ** 2).sum(), np.finfo(float).tiny)
    turned = np.sign(axes[np.abs(axes).argmax(axis=0), [0, 1]])
    return axes * np.where(turned == 0, 1.0, turned), explained


def kmeans(points: np.ndarray, k: int, generator: np.random.Generator, restarts: int = 1
           ) -> tuple[np.ndarray, np.ndarray]:
    """Labels (N,) and centres (K, D) of the best of some runs of Lloyd's algorithm.

    Starts by greedy k-means++ (Arthur and Vassilvitskii 2007). ValueError for fewer points than
    centres.
    """
    if not 1 <= k <= len(points):
        raise ValueError(f"found {k} centres for {len(points)} points, expected 1 to as many")
    runs = [_lloyd(points, _spread(points, k, generator)) for _ in range(restarts)]
    _, labels, centres = min(runs, key=lambda run: run[0])
    return labels, centres


def _spread(points: np.ndarray, k: int, generator: np.random.Generator) -> np.ndarray:
    """Greedy k-means++: candidates are drawn by their squared distance to the nearest centre, and
    that which leaves the least is taken."""
    tries = 2 + int(np.log(k))
    chosen = [generator.integers(len(points))]
    nearest = _squared(points, points[chosen])[:, 0]
    while len(chosen) < k:
        total = nearest.sum()
        chances = nearest / total if total > 0 else np.full(len(points), 1 / len(points))
        drawn = generator.choice(len(points), size=tries, p=chances)
        left = np.minimum(nearest[:, None], _squared(points, points[drawn]))
        best = left.sum(axis=0).argmin()
        chosen.append(drawn[best])
        nearest = left[:, best]
    return points[chosen]


def _lloyd(points: np.ndarray, centres: np.ndarray, most: int = 300
           ) -> tuple[float, np.ndarray, np.ndarray]:
    """(sum of squared distances, labels, centres); a centre that loses its points stays."""
    labels = None
    for _ in range(most):
        squared = _squared(points, centres)
        before, labels = labels, squared.argmin(axis=1)
        if before is not None and np.array_equal(before, labels):
            break
        members = np.eye(len(centres))[labels]
        counts = members.sum(axis=0)[:, None]
        centres = np.where(counts > 0, members.T @ points / np.maximum(counts, 1), centres)
    return float(squared.min(axis=1).sum()), labels, centres


def _squared(points: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Squared distances (N, K)."""
    return ((points[:, None] - centres[None]) ** 2).sum(axis=2)


def silhouette(points: np.ndarray, labels: np.ndarray) -> float:
    """The mean silhouette, -1 to 1 (Rousseeuw 1987); a point alone in its cluster counts 0.

    ValueError for fewer than two clusters.
    """
    return _silhouette(np.sqrt(_squared(points, points)), labels)


def _silhouette(distances: np.ndarray, labels: np.ndarray) -> float:
    names, place = np.unique(labels, return_inverse=True)
    if len(names) < 2:
        raise ValueError("found one cluster, expected at least two")
    members = np.eye(len(names))[place]
    counts, to = members.sum(axis=0), distances @ members
    own = np.arange(len(place)), place
    within = to[own] / np.maximum(counts[place] - 1, 1)
    to = to / counts
    to[own] = np.inf
    between = to.min(axis=1)
    widest = np.maximum(np.maximum(within, between), np.finfo(float).tiny)
    return float(np.where(counts[place] > 1, (between - within) / widest, 0.0).mean())


def opinion_groups(axes: np.ndarray, generator: np.random.Generator, k: int | None = None
                   ) -> Grouping:
    """Group participants (P, 2) by k-means on the centres of up to 100 clusters.

    `k` None: 2 to 5, whichever has the highest silhouette over participants. (Over the centres,
    as published, 2 to 4 come out so close that the draw decides.) ValueError for fewer different
    positions than groups.
    """
    different = len(np.unique(axes, axis=0))
    if different < (k or 2):
        raise ValueError(f"found {len(axes)} participants in {different} different positions, "
                         f"expected at least as many as groups, {k or 2}")
    base, centres = kmeans(axes, min(BASE_CLUSTERS, different), generator, RESTARTS)
    distances = np.sqrt(_squared(axes, axes))
    labels, scores = {}, {}
    for number in [k] if k else range(2, min(MOST_GROUPS, different) + 1):
        labels[number] = kmeans(centres, number, generator, RESTARTS)[0][base]
        scores[number] = _silhouette(distances, labels[number]) if number > 1 else 0.0
    return Grouping(_by_size(labels[max(scores, key=scores.get)]), scores)


def published_groups(axes: np.ndarray, participants: Sequence[str],
                     generator: np.random.Generator, k: int | None = None) -> Grouping:
    """The labels as the published processing came by them; only to repeat its numbers.

    It sorts participants by id, groups them, and lays the labels on the rows as they were in the
    export, which is in another order: nearly everyone gets somebody else's label.
    """
    return opinion_groups(axes[np.argsort([int(each) for each in participants])], generator, k)


def exported_groups(conversation: Conversation) -> Grouping:
    """The export's own groups, by their ids in order. InputError where it has none."""
    names = sorted({name for name in conversation.groups if name is not None})
    if not names:
        raise InputError(f"{conversation.path}: found no group id, expected some in "
                         "participants-votes.csv, or --groups kmeans")
    place = {name: number for number, name in enumerate(names)}
    return Grouping(np.array([place.get(name, -1) for name in conversation.groups]), {})


def _by_size(labels: np.ndarray) -> np.ndarray:
    """The same groups, numbered from the largest."""
    names, place, counts = np.unique(labels, return_inverse=True, return_counts=True)
    ranks = np.empty(len(names), dtype=int)
    ranks[np.argsort(-counts, kind="stable")] = np.arange(len(names))
    return ranks[place]
