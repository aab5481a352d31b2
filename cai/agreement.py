"""Agreement of a judge with people on which of two replies is better, and of people with one
another. What more than half of the people say of a pair is its verdict: a side, or a tie.

Pure: the pairs (cai/annotated.py) and the judge are given.
"""

import collections
import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from cai import annotated
from cai.constitution import Constitution, FeedbackPrinciple
from cai.diagnose import letter_bias
from cai.evaluation import Report, Share, agreement, table
from cai.feedback import Judge, askable, label_pairs
from cai.records import Comparison, InputError, Label
from cai.statistics import Mean, cohen_kappa
from cai.targets import label_preference, normalised

HELPFUL = FeedbackPrinciple("helpful", "Choose the reply that does better what was asked.")


@dataclasses.dataclass(frozen=True)
class Agreement:
    """What was found on one set of pairs. A mean is over pairs, None where there is none of them.

    Decided pairs are those on which most people take a side. `judge_with_one` and
    `one_with_another` are of those on which two people or more do: with what share of them the
    judge agrees, and one of them with another. A judge that is a person as they are has both equal.
    """

    accuracy: Share  # the judge on the side of most people; of decided pairs
    one_order: Mean | None  # the same of each order alone; of decided pairs
    judge_with_one: Mean | None
    one_with_another: Mean | None
    kappa: float | None  # mean Cohen's kappa of two people, ties as a verdict of their own
    position_bias: Mean | None  # probability of (A) over both orders, less one half
    flips: Share  # the two orders prefer different replies
    ties: int  # pairs of which most people say that they are equal
    split: int  # pairs on which no verdict has most people
    left_out: Share  # pairs too long for the judge; in no other figure


def under(constitution: Constitution, principle: str | None) -> Constitution:
    """The constitution with the one principle of this id, or with that of helpfulness alone."""
    if principle is None:
        return dataclasses.replace(constitution, feedback=(HELPFUL,))
    named = tuple(each for each in constitution.feedback if each.id == principle)
    if not named:
        raise InputError(f"--principle: found {principle}, expected one of "
                         f"{', '.join(each.id for each in constitution.feedback)}")
    return dataclasses.replace(constitution, feedback=named)


def measured_on(path: str | Path, constitution: Constitution, examples: bool, seed: int,
                resamples: int) -> Callable[[Judge], Report]:
    """Reads a file or folder; then measures a judge on the pairs that fit it. InputError: none
    does.
    """
    subsets = annotated.read(path)

    def measure(judge: Judge) -> Report:
        kept = {name: askable(pairs, constitution, judge, seed=seed, examples=examples)
                for name, pairs in subsets.items()}
        if not any(kept.values()):
            raise InputError(f"{path}: found no pair that fits the judge's context, expected some")
        left_out = {name: len(pairs) - len(kept[name]) for name, pairs in subsets.items()}
        return agreement_report(by_subset(kept, left_out, constitution, judge, examples=examples,
                                          seed=seed, resamples=resamples))

    return measure


def by_subset(subsets: Mapping[str, Sequence[Comparison]], left_out: Mapping[str, int],
              constitution: Constitution, judge: Judge, *, examples: bool, seed: int,
              resamples: int = 1000) -> dict[str, Agreement]:
    """The judge's agreement with people by subset, and over all where there are several.

    The judge is asked under the constitution's only principle, in both orders, which are averaged.
    `left_out` counts the pairs that are too long for it.
    """
    pairs = [pair for each in subsets.values() for pair in each]
    labels = [label for label, in label_pairs(pairs, constitution, judge.score, seed=seed,
                                              examples=examples, reason=judge.reason)]
    found, start = {}, 0
    for name, each in subsets.items():
        found[name] = agreement_of(each, labels[start:start + len(each)], left_out[name], seed,
                                   resamples)
        start += len(each)
    if len(found) > 1:
        found["all"] = agreement_of(pairs, labels, sum(left_out.values()), seed, resamples)
    return found


def agreement_of(pairs: Sequence[Comparison], labels: Sequence[Label], left_out: int, seed: int,
                 resamples: int = 1000) -> Agreement:
    """A judge's labels, one a pair and of both orders, against people's."""
    verdicts = [verdict(pair.labels) for pair in pairs]
    truths = [None if each == 0.5 else each for each in verdicts]
    orders = [[normalised(*row) for row in label.logprobs] for label in labels]
    decided = [(pair, label_preference(label), chances, truth) for pair, label, chances, truth
               in zip(pairs, labels, orders, truths, strict=True) if truth is not None]
    sided = [(preference, people) for pair, preference, _, _ in decided if len(
        people := [one.preference for one in pair.labels if one.preference != 0.5]) > 1]

    def mean(values: list[float]) -> Mean | None:
        return Mean.of(values, seed, resamples) if values else None

    return Agreement(
        accuracy=agreement(list(map(label_preference, labels)), truths, 0.5),
        one_order=mean([sum((chance - 0.5) * (truth - 0.5) > 0 for chance in chances) / len(chances)
                        for _, _, chances, truth in decided]),
        judge_with_one=mean([sum((preference > 0.5) == (one > 0.5) for one in people) / len(people)
                             for preference, people in sided if preference != 0.5]),
        one_with_another=mean([_same(people) for _, people in sided]),
        kappa=people_kappa(pairs),
        position_bias=mean([letter_bias([label]) for label in labels]),
        flips=Share.of([len({chance > 0.5 for chance in chances}) > 1 for chances in orders]),
        ties=verdicts.count(0.5), split=verdicts.count(None),
        left_out=Share(left_out, left_out + len(pairs)))


def verdict(labels: Sequence[Label]) -> float | None:
    """What more than half of the people say: 1.0 the first, 0.0 the second, 0.5 a tie; or None."""
    said, count = collections.Counter(label.preference for label in labels).most_common(1)[0]
    return said if 2 * count > len(labels) else None


def people_kappa(pairs: Sequence[Comparison]) -> float | None:
    """The mean of Cohen's kappa over every two annotators; None where a pair has but one."""
    annotators = range(max((len(pair.labels) for pair in pairs), default=0))
    kappas = [cohen_kappa(*zip(*((pair.labels[one].preference, pair.labels[other].preference)
                                 for pair in pairs if other < len(pair.labels)), strict=True))
              for one, other in itertools.combinations(annotators, 2)]
    known = [kappa for kappa in kappas if kappa is not None]
    return sum(known) / len(known) if known else None


def _same(said: Sequence[float]) -> float:
    """How many of every two say the same."""
    couples = list(itertools.combinations(said, 2))
    return sum(one == other for one, other in couples) / len(couples)


def agreement_report(found: Mapping[str, Agreement]) -> Report:
    """The figures by subset, their intervals in the same shape, and a Markdown table."""
    names = [field.name for field in dataclasses.fields(Agreement)]
    figures, bounds = {}, {}
    for subset, each in found.items():
        parts = {name: getattr(each, name) for name in names}
        figures[subset] = {name: part.value if isinstance(part, (Share, Mean)) else part
                           for name, part in parts.items()}
        bounds[subset] = {name: _bounds(part) for name, part in parts.items()
                          if isinstance(part, (Share, Mean))}
    rows = [(subset, *(_told(getattr(each, name)) for name in names))
            for subset, each in found.items()]
    head = ("subset", *(name.replace("_", " ") for name in names))
    return {"agreement": figures}, {"agreement": bounds}, table(head, rows)


def _bounds(part: Share | Mean) -> dict[str, float]:
    low, high, trials = ((*part.interval, part.trials) if isinstance(part, Share)
                         else (part.low, part.high, part.count))
    return {"low": low, "high": high, "trials": trials}


def _told(part: Share | Mean | float | None) -> str:
    if part is None:
        return "-"
    return f"{part:.3f}" if isinstance(part, float) else str(part)
