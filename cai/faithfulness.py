"""What each principle of a constitution did: to two models' replies, and to the labels of prompts.

Labels are a judge's, one a principle for each prompt (cai/feedback.py). Pure.
"""

import dataclasses
from collections.abc import Mapping, Sequence

from cai.constitution import FeedbackPrinciple
from cai.evaluation import Reply, table
from cai.records import KINDS, Comparison, Label
from cai.statistics import Mean
from cai.targets import label_preference


def faithfulness(labelled: Sequence[Sequence[Label]], seed: int, resamples: int = 1000
                 ) -> dict[str, Mean]:
    """For each principle, how often the judge prefers the first model's reply under it, 0 to 1.

    `labelled` are the labels of each prompt, one a principle; responses[0] is the first model's.
    """
    by_principle: dict[str, list[float]] = {}
    for labels in labelled:
        for label in labels:
            by_principle.setdefault(label.principle, []).append(label_preference(label))
    return {name: Mean.of(values, seed, resamples) for name, values in by_principle.items()}


def coverage(labelled: Sequence[Sequence[Label]], seed: int, resamples: int = 1000
             ) -> dict[str, Mean]:
    """For each principle, the share of prompts on which it changes the label.

    That is: on which its own label falls on the other side of 1/2 than the mean label of the
    others. (Leaving one of many principles out of their mean would hardly ever turn it.) A label of
    exactly 1/2 takes no side and changes nothing. ValueError for fewer than two labels a prompt.
    """
    changed: dict[str, list[bool]] = {}
    for labels in labelled:
        if len(labels) < 2:
            raise ValueError(f"found {len(labels)} labels of a prompt, expected two at least")
        values = [label_preference(label) for label in labels]
        for label, value in zip(labels, values, strict=True):
            others = (sum(values) - value) / (len(values) - 1)
            changed.setdefault(label.principle, []).append((value - 0.5) * (others - 0.5) < 0)
    return {name: Mean.of(values, seed, resamples) for name, values in changed.items()}


def never_exercised(principles: Sequence[FeedbackPrinciple], covered: Mapping[str, Mean]
                    ) -> list[str]:
    """The ids of principles that changed no label, or under which no prompt was labelled."""
    return [each.id for each in principles
            if each.id not in covered or covered[each.id].value == 0.0]


def pairs_between(first: Sequence[Reply], second: Sequence[Reply], count: int
                  ) -> list[Comparison]:
    """Both models' replies to the same prompt as pairs to label, `count` prompts of each kind."""
    texts = {reply.prompt: reply.text for reply in second}
    return [Comparison(reply.id, reply.prompt, reply.turns, reply.kind, 0, 0,
                       (reply.text, texts[reply.prompt]), ())
            for kind in KINDS for reply in [each for each in first if each.kind == kind][:count]]


def principle_report(principles: Sequence[FeedbackPrinciple], labelled: Sequence[Sequence[Label]],
                     seed: int, resamples: int) -> tuple[dict, str]:
    """Faithfulness and coverage of every principle, as a report and as a table."""
    faithful = faithfulness(labelled, seed, resamples)
    covered = coverage(labelled, seed, resamples)
    never = never_exercised(principles, covered)
    report = {name: {key: dataclasses.asdict(mean) for key, mean in each.items()}
              for name, each in (("faithfulness", faithful), ("coverage", covered))}
    return (report | {"never_exercised": never},
            f"{principle_table(faithful, covered)}\n\nchanged no label: "
            f"{', '.join(never) or 'none'}")


def principle_table(faithful: Mapping[str, Mean], covered: Mapping[str, Mean]) -> str:
    """A Markdown table of both by principle."""
    return table(("principle", "first preferred", "label changed"), [
        (name, str(faithful.get(name, "-")), str(covered.get(name, "-")))
        for name in dict.fromkeys((*faithful, *covered))])
