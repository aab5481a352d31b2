"""The report's figures as PNG. A value comes as (value, low, high), the bounds of its interval."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # files only: no display is needed

from matplotlib import pyplot  # noqa: E402 - the backend is chosen first

Bounded = tuple[float, float, float]


def model_bars(path: Path, shares: Mapping[str, Mapping[str, Bounded]]) -> None:
    """One group of bars a share, one bar a model: {model: {share: (value, low, high)}}."""
    names = list(next(iter(shares.values())))
    figure, axes = pyplot.subplots(figsize=(1.5 + 1.8 * len(names), 4))
    width = 0.8 / len(shares)
    for place, (model, values) in enumerate(shares.items()):
        at = [group + (place - (len(shares) - 1) / 2) * width for group in range(len(names))]
        bounds = [values[name] for name in names]
        axes.bar(at, [value for value, _, _ in bounds], width, label=model)
        axes.errorbar(at, [value for value, _, _ in bounds], _errors(bounds), fmt="none",
                      ecolor="black", elinewidth=0.8, capsize=2)
    axes.set_xticks(range(len(names)), names)
    axes.set_ylim(0, 1)
    axes.set_ylabel("share of replies, 95 % interval")
    axes.legend(ncols=len(shares), loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False)
    _save(figure, path)


def revision_curve(path: Path, shares: Sequence[Bounded]) -> None:
    """The harmful share of replies after revision 0, 1, 2, ..."""
    figure, axes = pyplot.subplots(figsize=(5, 4))
    axes.errorbar(range(len(shares)), [value for value, _, _ in shares], _errors(shares),
                  marker="o", capsize=3)
    axes.set_xticks(range(len(shares)))
    axes.set_ylim(0, 1)
    axes.set_xlabel("revisions")
    axes.set_ylabel("harmful share, 95 % interval")
    _save(figure, path)


def training_curves(path: Path, lines: Sequence[Mapping[str, float]],
                    names: Sequence[str]) -> bool:
    """One panel a metric over the steps of `lines`, for those of `names` that they hold.

    False, and no file, where they hold none.
    """
    held = [name for name in names if any(name in line for line in lines)]
    if not held:
        return False
    figure, axes = pyplot.subplots(1, len(held), figsize=(3.5 * len(held), 3.2), squeeze=False)
    for panel, name in zip(axes[0], held, strict=True):
        kept = [(line["step"], line[name]) for line in lines if name in line]
        panel.plot([step for step, _ in kept], [value for _, value in kept])
        panel.set_title(name)
        panel.set_xlabel("step")
    _save(figure, path)
    return True


def _errors(bounds: Sequence[Bounded]) -> list[list[float]]:
    """Distances to the lower and to the upper bounds, as matplotlib wants them."""
    return [[max(0.0, value - low) for value, low, _ in bounds],
            [max(0.0, high - value) for value, _, high in bounds]]


def _save(figure: pyplot.Figure, path: Path) -> None:
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
