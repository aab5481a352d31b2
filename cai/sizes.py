"""The same figures of several models side by side, from the smallest model to the largest."""

from collections.abc import Iterator, Sequence

from cai.evaluation import Report, table


def by_size(found: Sequence[tuple[str, int, Report]]) -> Report:
    """The reports of (name, parameters, report) as one: a column a model, a row a figure.

    All have the same figures. Models of one size stay in the order given.
    """
    ordered = sorted(found, key=lambda each: each[1])
    columns = [dict(_leaves(report, bounds)) for _, _, (report, bounds, _) in ordered]
    rows = [("parameters", *(f"{size:,}" for _, size, _ in ordered))]
    rows += [(key, *(column[key] for column in columns)) for key in columns[0]]
    return ({"models": {name: {"parameters": size, **report}
                        for name, size, (report, _, _) in ordered}},
            {"models": {name: bounds for name, _, (_, bounds, _) in ordered}},
            table(["figure", *(name for name, _, _ in ordered)], rows))


def _leaves(figures: dict, bounds: dict, above: str = "") -> Iterator[tuple[str, str]]:
    """Every figure by its path, told with its interval where it has one."""
    for key, value in figures.items():
        between = bounds.get(key) or {}
        if isinstance(value, dict):
            yield from _leaves(value, between, f"{above}{key}.")
        elif isinstance(value, float):
            interval = f" [{between['low']:.3f}, {between['high']:.3f}]" if between else ""
            yield f"{above}{key}", f"{value:.3f}{interval}"
        else:
            yield f"{above}{key}", "-" if value is None else str(value)
