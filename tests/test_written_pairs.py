"""The world's written helpfulness pairs: one reply helps, the other is worth less."""

from collections import Counter

from make_comparisons import WORSE, written_pairs
from world import truth
from world.requests import prompts


def test_one_reply_helps_and_the_other_is_worth_less():
    pairs = written_pairs(prompts("cai", 1000, 0, "helpful"), 0)
    kinds, first = Counter(), 0
    for pair in pairs:
        grades = [truth.grade(pair.turns, reply).kind for reply in pair.responses]
        better = grades.index("comply")
        assert truth.preference(pair.turns, *pair.responses) == (better == 0)
        first += better == 0
        kinds[grades[1 - better]] += 1
    assert 450 < first < 550
    for kind in ("reasoned", "wrong", "garbled"):
        assert abs(kinds[kind] / len(pairs) - WORSE[kind]) < 0.06
    assert pairs == written_pairs(prompts("cai", 1000, 0, "helpful"), 0)


def test_most_faulty_replies_are_drafts_of_the_right_one():
    """A draft keeps nearly all words of the other; replies by two writers share few."""
    alike = []
    for pair in written_pairs(prompts("cai", 1000, 1, "helpful"), 0):
        grades = {truth.grade(pair.turns, reply).kind for reply in pair.responses}
        if grades == {"comply", "garbled"}:
            one, other = (set(reply.split()) for reply in pair.responses)
            alike.append(len(one & other) >= 0.6 * min(len(one), len(other)))
    assert sum(alike) > 0.6 * len(alike)
