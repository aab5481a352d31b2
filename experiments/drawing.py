"""The figure of an experiment, as PNG and SVG: every drawn figure a panel, every variant in it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # files only: no display is needed

from matplotlib import pyplot  # noqa: E402 - the backend is chosen first
from matplotlib.axes import Axes  # noqa: E402

from experiments.decision import estimate  # noqa: E402

Seeds = Sequence[Mapping[str, Mapping[str, float]]]
"""One seed each: {variant: {figure: value}}."""

MARKERS = "osD^vP*X"  # told apart in print, where colours may not be
ABREAST = 3  # panels: more in a row are too small to read on a page
SHOWN = "mean over seeds, 95 % interval"
OVER = " over "
"""Between two figures of one panel: "helpful over harmful" draws the one against the other."""


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
    """Write `path`.png and `path`.svg: lines over N for a figure NAME_N, else a row a variant.

    The bars are 95 % intervals over seeds. For "Y over X" the way of both over N.
    """
    columns = min(ABREAST, len(drawn))
    rows = -(-len(drawn) // columns)
    figure, panels = pyplot.subplots(rows, columns, figsize=(4.2 * columns, 3.6 * rows),
                                     squeeze=False)
    for unused in panels.flat[len(drawn):]:
        unused.set_axis_off()
    for n, name in enumerate(drawn):
        over = any(series(name, each) for each in seeds[0].values())
        panel = _frontier if OVER in name else _lines if over else _rows
        panel(panels.flat[n], seeds, name, first=n % columns == 0)
        panels.flat[n].set_title(name.replace("_", " "))
    figure.tight_layout()
    # The same results give the same files: neither a date in them nor names drawn at random.
    with pyplot.rc_context({"svg.hashsalt": path.name}):
        figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})
    figure.savefig(path.with_suffix(".png"), dpi=200)
    pyplot.close(figure)


def _lines(axes: Axes, seeds: Seeds, name: str, first: bool) -> None:
    """A line a variant over the N of NAME_N."""
    for place, variant in enumerate(seeds[0]):
        points = [(n, bounded(values)) for n in series(name, seeds[0][variant])
                  if (values := collected(seeds, variant, f"{name}_{n}"))]
        if points:
            at, found = zip(*points, strict=True)
            axes.errorbar(at, [value for value, _, _ in found], _errors(found), capsize=3,
                          label=variant, marker=MARKERS[place % len(MARKERS)])
    axes.set_xlabel("after so many revisions or steps")
    axes.legend(frameon=False, fontsize="small")
    if first:
        axes.set_ylabel(SHOWN)


def _frontier(axes: Axes, seeds: Seeds, name: str, first: bool) -> None:
    """Of each variant one figure against another, from the first N to the last, which is marked."""
    up, along = name.split(OVER)
    for place, variant in enumerate(seeds[0]):
        x, y = ([bounded(collected(seeds, variant, f"{each}_{n}"))[0]
                 for n in series(each, seeds[0][variant])] for each in (along, up))
        axes.plot(x, y, label=variant, marker=MARKERS[place % len(MARKERS)],
                  markevery=[len(x) - 1])
    axes.set_xlabel(along.replace("_", " "))
    axes.set_ylabel(up.replace("_", " "))
    axes.legend(frameon=False, fontsize="small")


def _rows(axes: Axes, seeds: Seeds, name: str, first: bool) -> None:
    """A row a variant, from the top down; the first panel of a row names them."""
    variants = list(seeds[0])
    for place, variant in enumerate(variants):
        if values := collected(seeds, variant, name):
            found = bounded(values)
            axes.errorbar([found[0]], [place], xerr=_errors([found]), capsize=3,
                          marker=MARKERS[place % len(MARKERS)])
    axes.set_ylim(len(variants) - 0.4, -0.6)
    axes.set_yticks(range(len(variants)), variants if first else [])
    axes.set_xlabel(SHOWN)


def _errors(found: Sequence[tuple[float, float, float]]) -> list[list[float]]:
    """How far the bars reach down and up."""
    return [[value - low for value, low, _ in found], [high - value for value, _, high in found]]
