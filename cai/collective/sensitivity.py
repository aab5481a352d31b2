"""How the selection changes with every choice that was made: one choice at a time."""

import dataclasses
from collections.abc import Iterator

from cai.collective.build import Settings, build
from cai.collective.group import IMPUTATIONS, PCAS
from cai.collective.read import Conversation
from cai.evaluation import table
from cai.records import InputError


@dataclasses.dataclass(frozen=True)
class Variant:
    """One setting changed. `sizes` are the groups'; None where the setting cannot be met."""

    name: str
    sizes: list[int] | None
    above: frozenset[str]
    selected: frozenset[str]


def variations(base: Settings) -> Iterator[tuple[str, Settings]]:
    """The settings themselves, then each choice changed alone."""
    def changed(name: str, **fields: object) -> tuple[str, Settings]:
        return name, dataclasses.replace(base, **fields)

    yield "as given", base
    if base.top is None:
        for step in (-0.05, -0.02, 0.02, 0.05):
            yield changed(f"threshold {base.threshold + step:.3f}", threshold=base.threshold + step)
    yield changed("smoothed" if not base.smoothed else "not smoothed", smoothed=not base.smoothed)
    for k in (2, 3, 4, 5):
        yield changed(f"{k} groups", k=k, groups="kmeans")
    yield changed("the export's groups", groups="export")
    for way in IMPUTATIONS:
        if way != base.imputation:
            yield changed(f"missing votes by {way}", imputation=way, groups="kmeans")
    for pca in PCAS:
        if pca != base.pca:
            yield changed(f"{pca} axes", pca=pca, groups="kmeans")
    for seed in range(base.seed + 1, base.seed + 5):
        yield changed(f"seed {seed}", seed=seed)
    for votes in sorted({0, 7, 15, 35} - {base.rules.min_votes}):
        yield changed(f"more than {votes} votes",
                      rules=dataclasses.replace(base.rules, min_votes=votes))
    for alike in (0.5, 0.8, 2.0):
        yield changed("all duplicates kept" if alike > 1 else f"duplicates from {alike}",
                      alike=alike)


def sensitivity(conversation: Conversation, base: Settings) -> list[Variant]:
    """The selection under every variation; intervals play no part in it and are not drawn."""
    found = []
    for name, settings in variations(dataclasses.replace(base, rounds=1)):
        try:
            outcome = build(conversation, settings)
        except InputError:
            found.append(Variant(name, None, frozenset(), frozenset()))
            continue
        found.append(Variant(name, outcome.grouping.sizes, frozenset(outcome.selection.above),
                             frozenset(outcome.selection.selected)))
    return found


def stable(variants: list[Variant], groups: int | None = None) -> frozenset[str]:
    """The statements that pass the threshold under every variation that can be met.

    `groups`: only the variations with so many groups. A product over more groups is smaller, so
    one threshold does not mean the same for two groups and for five.
    """
    return frozenset.intersection(*(
        each.above for each in variants
        if each.sizes is not None and groups in (None, len(each.sizes))))


def sensitivity_table(variants: list[Variant]) -> str:
    """A Markdown table: what each change selects, and what it adds and loses.

    `gained` and `lost` compare statements above the threshold with those of the first row, so that
    a duplicate that changes places with its like is no change.
    """
    first = variants[0]
    rows = [(each.name, *(("-",) * 5 if each.sizes is None else (
        " / ".join(map(str, each.sizes)), str(len(each.above)), str(len(each.selected)),
        str(len(each.above - first.above)), str(len(first.above - each.above)))))
        for each in variants]
    text = table(("setting", "group sizes", "above", "selected", "gained", "lost"), rows)
    return (f"{text}\n\nabove the threshold under all of them: {len(stable(variants))}; under all "
            f"with {len(first.sizes)} groups: {len(stable(variants, len(first.sizes)))}")
