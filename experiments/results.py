"""What came out of an experiment: results.json, its table, its figure, its verdict in words."""

import itertools
import json
import platform
import subprocess
from datetime import date
from pathlib import Path

import torch

from cai.evaluation import table
from cai.records import InputError
from experiments.decision import decide, estimate, together
from experiments.drawing import OVER, bounded, collected, draw, series
from experiments.runner import Runner, planned
from experiments.side_by_side import carry_out
from experiments.specification import Experiment, effect_of
from training.stage import ROOT, write_json


def machine() -> str:
    """What computed: the processor and how many of it may be used, and the GPU if there is one."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    except OSError:
        named = []
    processor = named[0] if named else platform.processor() or platform.machine()
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{processor}, {torch.get_num_threads()} threads{gpu}"


def commit(root: Path = ROOT) -> str:
    """The commit that is checked out, marked where files differ from it, but for results."""
    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True,
                              check=True).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", ".",
                      ":(exclude)benchmarks/results", ":(exclude)docs")
        return git("rev-parse", "--short=10", "HEAD") + "-dirty" * bool(changed)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def folder_of(runs: Path, name: str) -> Path:
    """Where the results of an experiment lie."""
    return runs / "experiments" / name


def run(runner: Runner, seeds: int, jobs: int = 1) -> dict:
    """Run every variant under every seed, `jobs` stages at a time; write and return the results."""
    experiment = runner.experiment
    if jobs > 1:
        carry_out(runner, planned(runner, seeds), jobs)
    found = {str(seed): {variant: runner.figures(variant, seed) for variant in experiment.variants}
             for seed in experiment.drawn_seeds(seeds)}
    results = {"name": experiment.name, "digest": experiment.digest, "scale": runner.scale,
               "model": str(runner.model or ""), "prompts": str(runner.prompts or ""),
               "seeds": found, "seconds": round(sum(runner.made.values()), 1),
               "machine": machine(), "date": date.today().isoformat(), "commit": commit()}
    folder = folder_of(runner.common.runs, experiment.name)
    folder.mkdir(parents=True, exist_ok=True)
    judged = judge(experiment, results)
    draw(folder / "figure", list(found.values()), experiment.drawn)
    (folder / "table.md").write_text(judged["table"] + "\n", encoding="utf-8")
    (folder / "verdict.md").write_text(paragraph(judged) + "\n", encoding="utf-8")
    write_json(folder / "results.json", results)
    return results


def read(experiment: Experiment, runs: Path) -> dict:
    """The results of an experiment. InputError where it has none, or states other things since."""
    path = folder_of(runs, experiment.name) / "results.json"
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: found no results ({error}), expected a run before") from error
    if results["digest"] != experiment.digest:
        raise InputError(f"{path}: found results of another statement of {experiment.name}, "
                         "expected those of its file as it stands; run it again")
    return results


def judge(experiment: Experiment, results: dict) -> dict:
    """The verdict with all that it rests on, part by part; of a claim's parts the first one's
    effect, interval and test stand for the whole.
    """
    seeds = list(results["seeds"].values())
    parts = []
    for part in experiment.parts:
        effects = [effect_of(part, figures) for figures in seeds]
        found = None if None in effects else estimate(effects)
        parts.append({
            "says": part.says, "measured": part.effect, "claimed": part.claim,
            "margin": part.margin, "effect": found and found.effect,
            "interval": found and found.interval,
            "test": found.test if found else "none: a figure was not measured",
            "verdict": decide(found, part.claim, part.margin) if found else "undecided"})
    first = parts[0]
    return {"name": experiment.name, "question": experiment.question, "claim": experiment.claim,
            "place": experiment.place, "reading": experiment.reading,
            "verdict": together([part["verdict"] for part in parts]),
            "effect": first["effect"], "interval": first["interval"], "test": first["test"],
            "seeds": len(seeds), "seconds": results["seconds"], "commit": results["commit"],
            "machine": results["machine"], "date": results["date"],
            "model": results["model"] and Path(results["model"]).name, "parts": parts,
            "table": figures_table(experiment, seeds), "twins": twins(seeds)}


def twins(seeds: list[dict]) -> list[tuple[str, str]]:
    """Variants that came out alike to the last digit under every seed: what they vary does nothing.

    Nothing else tells of an option that was never read. Seconds differ from run to run.
    """
    def found(figures: dict[str, float]) -> dict[str, float]:
        return {name: value for name, value in figures.items() if name != "seconds"}

    return [(one, other) for one, other in itertools.combinations(seeds[0], 2)
            if all(found(figures[one]) == found(figures[other]) for figures in seeds)]


def figures_table(experiment: Experiment, seeds: list[dict]) -> str:
    """Every drawn figure by variant: the mean over seeds with its 95 % interval."""
    variants, rows = list(experiment.variants), []
    for name in experiment.drawn:
        if OVER in name:
            continue
        over = sorted({n for variant in variants for n in series(name, seeds[0][variant])})
        for key in [f"{name}_{n}" for n in over] or [name]:
            cells = []
            for variant in variants:
                values = collected(seeds, variant, key)
                value, low, high = bounded(values) if values else (None, None, None)
                cells.append("-" if value is None else f"{value:.3f} [{low:.3f}, {high:.3f}]")
            rows.append((key, *cells))
    return table(["figure", *variants], rows)


def paragraph(judged: dict) -> str:
    """The verdict in words: the claim, and each part with effect, interval and test."""
    differs = any(part["verdict"] == "holds" and part["claimed"] != "same"
                  for part in judged["parts"])
    words = {"holds": "The claim holds here", "fails": "The claim fails here",
             "equivalent": ("The claim holds in part here: elsewhere the variants are equivalent"
                            if differs else
                            "The variants are equivalent within the stated margin"),
             "undecided": "It is not decided here"}
    told = []
    for part in judged["parts"]:
        text = f"{part['says']}: {part['verdict']}"
        if part["effect"] is not None:
            low, high = part["interval"] or (None, None)
            bounds = "" if low is None else f" [{low:.4f}, {high:.4f}]"
            claimed = "the same as" if part["claimed"] == "same" else part["claimed"]
            text += (f", {part['effect']:.4f}{bounds} (`{part['measured']}`, claimed {claimed} 0, "
                     f"margin {part['margin']:g}; {part['test']})")
        told.append(text)
    alike = "".join(f" {one} and {other} came out alike to the last digit: nothing differed."
                    for one, other in judged.get("twins", ()))
    return f"**{words[judged['verdict']]}** ({judged['place']}). " + "; ".join(told) + f".{alike}"
