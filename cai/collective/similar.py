"""How alike two texts are: cosine of their words, rare words weighing more. No model is asked."""

import math
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

_NEGATIONS = frozenset(("not", "never", "no", "cannot", "without"))
_WORD = re.compile(r"[^\W_]+")


def words(text: str) -> list[str]:
    """The words of a text in small letters; "shouldn't" is "should not"; plurals lose their s."""
    plain = text.lower().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'").replace("n't", " not")
    return [word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word
            for word in _WORD.findall(plain)]


def similarity(texts: Sequence[str]) -> np.ndarray:
    """(N, N) in [0, 1]: cosine of word counts weighted by log(1 + N / texts with the word).

    0 for two texts of which only one denies: "should lie" and "should not lie" share their words.
    """
    counts = [Counter(words(text)) for text in texts]
    spread = Counter(word for each in counts for word in each)
    place = {word: column for column, word in enumerate(spread)}
    weights = np.zeros((len(texts), len(place)))
    for row, each in enumerate(counts):
        for word, count in each.items():
            weights[row, place[word]] = count * math.log(1 + len(texts) / spread[word])
    lengths = np.linalg.norm(weights, axis=1, keepdims=True)
    weights = np.divide(weights, lengths, out=weights, where=lengths > 0)
    denies = np.array([bool(_NEGATIONS & each.keys()) for each in counts], dtype=bool)
    return np.clip(weights @ weights.T, 0.0, 1.0) * (denies[:, None] == denies[None])
