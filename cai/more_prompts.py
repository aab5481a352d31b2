"""More prompts in the paper's manner: few-shot from a pre-trained model, de-duplicated, filtered.

A list of prompts of one kind is shown, and the model writes the next entry (section 3.2; 140,335 of
the paper's red-team prompts were written so).
"""

import collections
import math
import random
import re
from collections.abc import Callable, Iterable, Sequence

from cai.records import Prompt, record_id

END = "\n\n"
"""Between entries of the list; what is sampled ends before it."""

HEADS = {"red_team": "These are messages in which people tried to make an assistant say or do "
                     "something harmful.",
         "helpful": "These are messages in which people asked an assistant for help."}

Write = Callable[[list[str], list[str]], list[str | None]]
"""(prompts, noise keys) -> the text that continues each, None where it did not come to an end."""

_ROLE = re.compile(r"\b(?:human|assistant|user|ai|bot)\s*:", re.IGNORECASE)


class Written:
    """Texts written so far; finds those that are nearly one of them.

    Two texts are near when the Jaccard similarity of their pairs of neighbouring words is at least
    `similarity`. Sets that near share one of their first few members in any fixed order, so only
    those are indexed (prefix filtering): the search is exact and yet looks at few.
    """

    def __init__(self, similarity: float):
        self.similarity = similarity
        self.texts: list[frozenset[str]] = []
        self.index: dict[str, list[int]] = collections.defaultdict(list)

    def near(self, text: str) -> bool:
        """Whether a text written before is near this one."""
        words = word_pairs(text)
        candidates = {number for word in self._head(words) for number in self.index.get(word, ())}
        return any(len(words & self.texts[number])
                   >= self.similarity * len(words | self.texts[number]) for number in candidates)

    def add(self, text: str) -> None:
        """Remember a text."""
        words = word_pairs(text)
        for word in self._head(words):
            self.index[word].append(len(self.texts))
        self.texts.append(words)

    def _head(self, words: frozenset[str]) -> list[str]:
        # Reversed, a common opening such as "how do i" does not come first.
        ordered = sorted(words, key=lambda word: word[::-1])
        return ordered[:len(words) - math.ceil(self.similarity * len(words)) + 1]


def word_pairs(text: str) -> frozenset[str]:
    """The pairs of neighbouring words of a text in small letters; a lone word stands alone."""
    words = re.findall(r"\w+", text.lower())
    return frozenset(map(" ".join, zip(words, words[1:], strict=False))) or frozenset(words)


def fault(text: str | None, words: tuple[int, int]) -> str | None:
    """Why a text is no prompt of `words` (fewest, most); None where it is one."""
    if text is None:
        return "unfinished"
    count = len(text.split())
    if count < words[0]:
        return "too short"
    if count > words[1]:
        return "too long"
    if _ROLE.search(text):
        return "speaks for both"
    distinct = {word.lower() for word in text.split()}
    if len(distinct) < count / 2:
        return "repeats itself"
    return None if any(letter.isalpha() for letter in text) else "no words"


def list_of(shown: Sequence[str], kind: str) -> str:
    """The list of prompts that the model goes on with."""
    entries = "".join(f"{END}{number}. {text}" for number, text in enumerate(shown, start=1))
    return f"{HEADS[kind]}{entries}{END}{len(shown) + 1}."


def usable_examples(prompts: Iterable[Prompt], words: int) -> list[Prompt]:
    """Prompts that can stand in the list: of one turn, one paragraph and at most `words` words."""
    return [prompt for prompt in prompts if len(prompt.turns) == 1
            and END not in prompt.turns[0] and len(prompt.turns[0].split()) <= words]


def make_prompts(examples: Sequence[Prompt], write: Write, *, seed: int, count: int, tries: int,
                 batch: int, shown: int, words: tuple[int, int], similarity: float,
                 noise: Callable[[str], str]) -> tuple[list[Prompt], collections.Counter[str]]:
    """At most `count` new prompts of the examples' kind from at most `tries` samples.

    Each sample sees `shown` examples drawn anew. Returns the prompts and how many samples were left
    out, by reason. `noise` makes the key of a sample's noise from its id.
    """
    kind, written = examples[0].kind, Written(similarity)
    for example in examples:
        written.add(example.turns[0])
    made: list[Prompt] = []
    left_out: collections.Counter[str] = collections.Counter()
    tried = 0
    while len(made) < count and tried < tries:
        draws = range(tried, min(tried + batch, tries))
        drawn = [random.Random(f"{seed}/{kind}/{draw}").sample(examples, shown) for draw in draws]
        ids = [record_id("make_prompts", [prompt.id for prompt in each], seed, draw)
               for draw, each in zip(draws, drawn, strict=True)]
        texts = write([list_of([prompt.turns[0] for prompt in each], kind) for each in drawn],
                      [noise(number) for number in ids])
        for number, text in zip(ids, texts, strict=True):
            reason = fault(text, words) or ("near another" if written.near(text) else None)
            if reason is not None:
                left_out[reason] += 1
            elif len(made) < count:
                written.add(text)
                made.append(Prompt(number, (text,), kind))
        tried += len(draws)
    return made, left_out
