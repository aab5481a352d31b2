"""One picture of a conversation: who stands where, what is shared, what divides."""

import textwrap
from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")  # files only: no display is needed

from matplotlib import pyplot  # noqa: E402 - the backend is chosen first

from cai.collective.agree import shares  # noqa: E402
from cai.collective.build import Outcome  # noqa: E402

DIVIDING = 8


def dividing(outcome: Outcome, count: int = DIVIDING) -> list[int]:
    """Columns of the statements whose shares of agreement differ most between two groups."""
    shared = shares(outcome.tallied)
    known = np.flatnonzero(np.isfinite(shared).all(axis=0))
    gaps = np.ptp(shared[:, known], axis=0)
    return known[np.argsort(-gaps, kind="stable")[:count]].tolist()


def draw(path: str | Path, outcome: Outcome, threshold: float) -> None:
    """Three panels as PNG: groups on the two axes, consensus with intervals, what divides."""
    figure, (left, middle, right) = pyplot.subplots(1, 3, figsize=(17, 5.5),
                                                    width_ratios=(1, 1.2, 1))
    _groups(left, outcome)
    _consensus(middle, outcome, threshold)
    _divided(right, outcome)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def _groups(panel: pyplot.Axes, outcome: Outcome) -> None:
    labels = outcome.grouping.labels
    for group in np.unique(labels):
        at = outcome.axes[labels == group]
        name = f"group {group}" if group >= 0 else "in no group"
        panel.scatter(at[:, 0], at[:, 1], s=8, alpha=0.6, label=f"{name}: {len(at)}",
                      color=f"C{group}" if group >= 0 else "lightgrey")
    panel.set_title("opinion groups")
    panel.set_xlabel(f"first axis, {outcome.explained[0]:.1%} of variance")
    panel.set_ylabel(f"second axis, {outcome.explained[1]:.1%}")
    panel.legend(frameon=False)


def _consensus(panel: pyplot.Axes, outcome: Outcome, threshold: float) -> None:
    known = np.flatnonzero(np.isfinite(outcome.consensus))
    order = known[np.argsort(-outcome.consensus[known], kind="stable")]
    value, (low, high) = outcome.consensus[order], outcome.intervals[order].T
    panel.fill_between(range(len(order)), low, high, alpha=0.3, step="mid",
                       label="95 % interval over participants")
    panel.plot(range(len(order)), value, label="group-aware consensus")
    panel.axhline(threshold, color="black", linewidth=0.8, linestyle="--",
                  label=f"threshold {threshold:g}")
    panel.set_ylim(0, 1)
    panel.set_title("consensus by statement")
    panel.set_xlabel("statements, from the most shared")
    panel.legend(frameon=False, loc="lower left")


def _divided(panel: pyplot.Axes, outcome: Outcome) -> None:
    columns = dividing(outcome)
    shared = shares(outcome.tallied)[:, columns]
    for group, each in enumerate(shared):
        panel.scatter(each, range(len(columns)), color=f"C{group}", label=f"group {group}")
    panel.hlines(range(len(columns)), shared.min(axis=0), shared.max(axis=0), color="lightgrey",
                 zorder=0)
    panel.set_yticks(range(len(columns)), [
        textwrap.fill(textwrap.shorten(outcome.conversation.statements[column].text, 90), 45)
        .replace("$", r"\$") for column in columns], fontsize=7)
    panel.set_xlim(0, 1)
    panel.invert_yaxis()
    panel.set_title("what divides: share that agrees")
