"""What two constitutions share, and what stands in only one of them."""

import dataclasses
from collections.abc import Sequence

from cai.collective.similar import similarity


@dataclasses.dataclass(frozen=True)
class Difference:
    """`shared`: (principle of A, of B, similarity), the most alike first; the rest of each."""

    shared: tuple[tuple[str, str, float], ...]
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]

    def __str__(self) -> str:
        lines = [f"shared: {len(self.shared)}"]
        for one, other, score in self.shared:
            lines.append(f"  {score:.2f}  {one}" + ("" if one == other else f"\n        {other}"))
        for name, texts in (("A", self.only_first), ("B", self.only_second)):
            lines += [f"only in {name}: {len(texts)}", *(f"        {text}" for text in texts)]
        return "\n".join(lines)


def difference(first: Sequence[str], second: Sequence[str], alike: float = 0.6) -> Difference:
    """Pair the principles of two constitutions, the most alike first, each at most once.

    Equal words are always a pair; others from the similarity `alike` on.
    """
    scores = similarity([*first, *second])[:len(first), len(first):]
    ranked = sorted(((1.0 if one == other else float(scores[i, j]), -i, -j)
                     for i, one in enumerate(first) for j, other in enumerate(second)),
                    reverse=True)
    shared: dict[int, tuple[int, float]] = {}
    taken = set()
    for score, i, j in ranked:
        if score >= min(alike, 1.0) and -i not in shared and -j not in taken:
            shared[-i] = -j, score
            taken.add(-j)
    return Difference(
        tuple((first[i], second[j], score) for i, (j, score) in shared.items()),
        tuple(text for i, text in enumerate(first) if i not in shared),
        tuple(text for j, text in enumerate(second) if j not in taken))
