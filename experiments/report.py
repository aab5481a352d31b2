"""docs/experiments.md and docs/experiments/NAME.json, from runs that took place."""

import json
from pathlib import Path

from cai.evaluation import table
from cai.records import InputError
from experiments.drawing import draw
from experiments.results import folder_of, judge, paragraph, read
from experiments.specification import FOLDER, load, names
from training.stage import write_json

HEAD = """# Experiments

Made by `python -m experiments --report` from runs that took place; never edited by hand. Claim,
margin and test were stated in `experiments/NAME.toml` before the run, and results of another
statement are refused. Intervals are 95 % over seeds. A claim holds where the interval leaves out
zero on the claimed side; variants are equivalent where it lies within the margin on both sides.
Where a claim has several parts the verdict is on all of them, effect and interval are the first's.
Times are those of an experiment's stages added up, shared ones in each that uses them; two stages
run side by side, so by the clock all of them take half as long or less.
"""


def publish(runs: Path, docs: Path) -> list[str]:
    """Write the report of every experiment with results at full size; the names published.

    What was published before from another machine's runs stays as it is.
    """
    kept = docs / "experiments"
    kept.mkdir(parents=True, exist_ok=True)
    published = []
    for name in names():
        if not (folder_of(runs, name) / "results.json").exists():
            continue
        experiment = load(FOLDER / f"{name}.toml")
        results = read(experiment, runs)
        if results["scale"] < 1:
            continue
        write_json(kept / f"{name}.json", judge(experiment, results))
        draw(kept / name, list(results["seeds"].values()), experiment.drawn)
        published.append(name)
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(kept.glob("*.json"))]
    if not found:
        raise InputError(f"{folder_of(runs, 'NAME')}: found no results at full size, expected a "
                         "run of an experiment before")
    (docs / "experiments.md").write_text(written(found), encoding="utf-8")
    return published


def written(found: list[dict]) -> str:
    """The whole report: an overview, then a section an experiment."""
    overview = table(["experiment", "verdict", "effect", "95 % interval", "seeds", "minutes"], [
        (f"[{each['name']}](#{each['name']})", each["verdict"], _number(each["effect"]),
         "-" if each["interval"] is None else " to ".join(map(_number, each["interval"])),
         str(each["seeds"]), f"{each['seconds'] / 60:.1f}") for each in found])
    return "\n".join([HEAD, overview, "", *map(_section, found)])


def _section(each: dict) -> str:
    model = f", model {each['model']}" if each["model"] else ""
    reading = f"{each['reading'].strip()}\n\n" if each["reading"] else ""
    return (f"## {each['name']}\n\n{each['question']}\n\nClaim: {each['claim']}\n\n"
            f"{paragraph(each)}\n\n{reading}{each['table']}\n\n"
            f"![{each['name']}](experiments/{each['name']}.png)\n\n"
            f"{each['seeds']} seeds, {each['seconds']:.0f} seconds, {each['machine']}, "
            f"{each['date']}, commit {each['commit']}{model}.\n")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
