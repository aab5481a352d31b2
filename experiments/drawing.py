"""The figure of an experiment, as PNG and SVG: every drawn figure a panel, every variant in it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # files only: no display is needed

from matplotlib import pyplot  # noqa: E402 - the backend is chosen first

from experiments.decision import estimate  # noqa: E402

Seeds = Sequence[Mapping[str, Mapping[str, float]]]
"""One seed each: {variant: {figure: value}}."""

MARKERS = "osD^vP*X"  # told apart in print, where colours may not be


def series(name: str, figures: Mapping[str, float]) -> list[int]:
    """The numbers N for which there is a figure NAME_N, in order."""
    ends = [key.removeprefix(f"{name}_") for key in figures if key.startswith(f"{name}_")]
    return sorted(int(end) for end in ends if end.isdigit())


def bounded(values: Sequence[float]) -> tuple[float, float, float]:
    """The mean over seeds with its 95 % interval; without one for a single seed."""
    found = estimate(values)
    return found.effect, *(found.interval or (found.effect, found.effect))


def collected(seeds: Seeds, variant: str, name: str) -> list[float]:
    """A figure of a variant under every seed that has it."""
    return [value for figures in seeds if (value := figures[variant].get(name)) is not None]


def draw(path: Path, seeds: Seeds, drawn: Sequence[str]) -> None:
    """Write `path`.png and `path`.svg: lines over N for a figure NAME_N, else a point a variant.

    The bars are 95 % intervals over seeds.
    """
    variants = list(seeds[0])
    figure, panels = pyplot.subplots(1, len(drawn), figsize=(4.2 * len(drawn), 3.6), squeeze=False)
    for axes, name in zip(panels[0], drawn, strict=True):
        lines = 0
        for place, variant in enumerate(variants):
            over = series(name, seeds[0][variant])
            keys = [f"{name}_{n}" for n in over] if over else [name]
            points = [(n, bounded(values)) for n, key in zip(over or [place], keys, strict=True)
                      if (values := collected(seeds, variant, key))]
            if not points:
                continue
            at, values = zip(*points, strict=True)
            errors = [[value - low for value, low, _ in values],
                      [high - value for value, _, high in values]]
            axes.errorbar(at, [value for value, _, _ in values], errors, capsize=3, label=variant,
                          marker=MARKERS[place % len(MARKERS)], linestyle="-" if over else "none")
            lines += bool(over)
        axes.set_title(name.replace("_", " "))
        if lines:
            axes.set_xlabel("after so many revisions or steps")
            axes.legend(frameon=False, fontsize="small")
        else:
            axes.set_xticks(range(len(variants)), variants, rotation=30, ha="right")
            axes.set_xlim(-0.6, len(variants) - 0.4)
    panels[0][0].set_ylabel("mean over seeds, 95 % interval")
    figure.tight_layout()
    for kind in ("png", "svg"):
        figure.savefig(path.with_suffix(f".{kind}"), dpi=200)
    pyplot.close(figure)
