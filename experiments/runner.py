"""Runs an experiment: every variant under every seed, each stage once.

A step is a stage with its options; one that names another step's output in a path has that step
made first. What was made before, by whatever run, is found by the stage's own digest, so variants
share what they have in common and a killed run goes on.
"""

import dataclasses
import json
import types
import typing
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import make_comparisons
import make_revisions
import train_base
import train_pm
import train_ppo
import train_sl
from cai.records import InputError, content_digest
from experiments import absolute_harm, constitution, dpo, measure, pairs
from experiments.specification import Experiment, Options
from run_cai import scaled
from training.options import Common
from training.stage import NotMadeError, only_made, plain

SCRIPTS = {script.__name__.removeprefix("experiments."): script for script in (
    train_base, make_revisions, train_sl, make_comparisons, train_pm, train_ppo,
    constitution, dpo, absolute_harm, pairs, measure)}
LAST = "measure"

WIRING = {
    "make_revisions": {"model": "train_base/model"},
    "train_sl": {"model": "train_base/model", "chains": "make_revisions/revisions.jsonl"},
    "make_comparisons": {"model": "train_sl/model", "judge": "train_base/model"},
    "train_pm": {"model": "train_base/model",
                 "comparisons": "make_comparisons/comparisons.jsonl"},
    "train_ppo": {"model": "train_sl/model", "preference_model": "train_pm/model",
                  "held_out": "train_pm/held_out"},
    "dpo": {"model": "train_sl/model", "comparisons": "make_comparisons/comparisons.jsonl"},
    "absolute_harm": {"model": "train_base/model"},
    "pairs": {"model": "train_sl/model"},
}
"""Which output each script reads unless an experiment says otherwise."""

BASE_SEED = 0
"""The base models', which all seeds share: a seed varies what comes after."""


@dataclass(frozen=True)
class Job:
    """A stage to make: the script with its options, whose step it is, and what it waits for."""

    script: str
    options: dict
    step: tuple[str, int, str]  # variant, seed, step
    needs: frozenset[str]  # recipes of the stages that it reads


@dataclass(frozen=True)
class Work:
    """What a run would do: the stages to make by recipe, and the recipes of those there."""

    wanted: dict[str, Job] = field(default_factory=dict)
    there: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Runner:
    """Makes the steps of one experiment."""

    experiment: Experiment
    common: Common
    scale: float = 1.0
    model: Path | None = None  # a real model in place of every base model
    prompts: Path | None = None  # red-team prompts in place of the world's
    made: dict[Path, float] = field(default_factory=dict)  # seconds of every stage used

    def figures(self, variant: str, seed: int) -> dict[str, float]:
        """The figures of a variant under a seed, made as far as they are not yet."""
        folder = self.make(variant, seed, LAST)
        return json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["figures"]

    def make(self, variant: str, seed: int, step: str) -> Path:
        """The folder of a step, made where it is not there yet, after all that it reads."""
        name, given = self.recipe(variant, step)
        paths = {option: self.output(variant, seed, value) for option, value in given.items()
                 if self.source(value)}
        options = self.built(name, given | paths, self.of(name, variant, seed, step))
        SCRIPTS[name].main(options)
        folder = (self.common.runs / options.common.name / name).resolve()
        timing = json.loads((folder / "timing.json").read_text(encoding="utf-8"))
        self.made[folder] = timing["seconds"]
        return folder

    def output(self, variant: str, seed: int, value: str) -> Path:
        """The path of "STEP/FILE", made first."""
        step, _, file = value.partition("/")
        if self.model and self.recipe(variant, step)[0] == "train_base":
            return self.model
        return self.make(variant, seed, step) / file

    def plan(self, variant: str, seed: int, step: str, work: Work) -> tuple[str, Path | None]:
        """(recipe, folder) of a step without making it, the folder None where it is not there.

        The recipe says what goes in, so that a stage wanted by several variants counts once.
        """
        name, given = self.recipe(variant, step)
        paths, recipes, needs = {}, {}, set()
        for option, value in given.items():
            if source := self.source(value):
                if self.model and self.recipe(variant, source)[0] == "train_base":
                    paths[option] = recipes[option] = self.model
                    continue
                recipes[option], folder = self.plan(variant, seed, source, work)
                paths[option] = folder and folder / value.partition("/")[2]
                needs.add(recipes[option])
        common = self.of(name, variant, seed, step)
        recipe = content_digest(plain([name, given | recipes, common.seed]))
        options = self.built(name, given | {
            option: path or Path() for option, path in paths.items()}, common)
        try:
            if None in paths.values():
                raise NotMadeError(name)
            with only_made():
                SCRIPTS[name].main(options)
        except NotMadeError:
            work.wanted[recipe] = Job(name, plain(options), (variant, seed, step),
                                      frozenset(needs))
            return recipe, None
        work.there.add(recipe)
        return recipe, (self.common.runs / common.name / name).resolve()

    def recipe(self, variant: str, step: str) -> tuple[str, Options]:
        """The script of a step and the options given to it. InputError: no such step or script."""
        if step not in self.experiment.steps:
            raise InputError(f"{self.experiment.name}: found no step {step}, expected one of "
                             f"{', '.join(self.experiment.steps)}")
        given = dict(self.experiment.options(variant, step))
        name = given.pop("script", step)
        if name not in SCRIPTS:
            raise InputError(f"{self.experiment.name}: found script {name}, expected one of "
                             f"{', '.join(SCRIPTS)}")
        if self.prompts:
            known = {each.name for each in dataclasses.fields(SCRIPTS[name].Options)}
            given |= {option: str(self.prompts) for option in {"red_team", "prompts"} & known}
        return name, WIRING.get(name, {}) | given

    def source(self, value: object) -> str | None:
        """The step whose output an option names, if it names one."""
        head = value.partition("/")[0] if isinstance(value, str) else None
        return head if head in self.experiment.steps else None

    def of(self, name: str, variant: str, seed: int, step: str) -> Common:
        """Where a step runs, under which seed, and the name of its run."""
        run = f"{self.experiment.name}-{variant}-{seed}" + (f"-{step}" if step != name else "")
        return dataclasses.replace(self.common, name=run,
                                   seed=BASE_SEED if name == "train_base" else seed)

    def built(self, name: str, given: Options, common: Common) -> object:
        """A script's options from those given as TOML holds them."""
        kind = SCRIPTS[name].Options
        values = typed(kind, given, f"{self.experiment.name}: {name}")
        # A scaled stage has eight of everything at least; a whole one has what was asked for.
        return (scaled(kind, self.scale, common=common, **values) if self.scale < 1
                else kind(common=common, **values))


def typed(kind: type, given: Options, where: str) -> dict[str, object]:
    """TOML's values as the fields of a dataclass want them: paths, tuples, groups of options."""
    hints = typing.get_type_hints(kind)
    defaults = {each.name: each for each in dataclasses.fields(kind)}
    values = {}
    for name, value in given.items():
        if name not in hints or name == "common":
            raise InputError(f"{where}: found option {name}, expected one of "
                             f"{', '.join(sorted(hints.keys() - {'common'}))}")
        hint = hints[name]
        kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
        if isinstance(value, dict):
            values[name] = dataclasses.replace(
                defaults[name].default, **typed(kinds[0], value, f"{where}.{name}"))
        elif Path in kinds and isinstance(value, str):
            values[name] = Path(value)
        else:
            values[name] = tuple(value) if isinstance(value, list) else value
    return values


def planned(runner: Runner, seeds: int) -> Work:
    """What the experiment would still run."""
    work = Work()
    for seed in runner.experiment.drawn_seeds(seeds):
        for variant in runner.experiment.variants:
            runner.plan(variant, seed, LAST, work)
    return work


@dataclass(frozen=True)
class Past:
    """How long stages took that were run before."""

    runs: list[tuple[str, dict, float]]  # stage, options, seconds

    @classmethod
    def read(cls, runs: Path) -> "Past":
        """Every whole stage below runs/stages."""
        found = []
        for path in sorted(runs.glob("stages/*/manifest.json")):
            manifest, timing = (json.loads((path.parent / name).read_text(encoding="utf-8"))
                                for name in ("manifest.json", "timing.json"))
            found.append((manifest["stage"], manifest["options"], timing["seconds"]))
        return cls(found)

    def seconds(self, name: str, options: dict) -> tuple[float | None, bool]:
        """The mean of like stages, and whether their options were the same but for the seed.

        Where none was, that of all stages of the name; None where there is none at all.
        """
        every, same = [], []
        for stage, old, seconds in self.runs:
            if stage == name:
                every.append(seconds)
                known = old.keys() & options.keys() - {"common"}
                if all(old[key] == options[key] for key in known):
                    same.append(seconds)
        chosen = same or every
        return (sum(chosen) / len(chosen) if chosen else None), bool(same)


def told(work: Work, past: Past) -> str:
    """What would run and how long, a line a script."""
    times: dict[str, list[tuple[float | None, bool]]] = defaultdict(list)
    for job in work.wanted.values():
        times[job.script].append(past.seconds(job.script, job.options))
    lines, total, sure = [], 0.0, True
    for name, found in times.items():
        known = [seconds for seconds, _ in found if seconds is not None]
        total += sum(known)
        exact = all(same for _, same in found)
        sure = sure and exact
        lines.append(f"{name}: {len(found)} to run, " + (
            "time unknown" if len(known) < len(found)
            else f"{'' if exact else 'about '}{sum(known) / 60:.1f} minutes"))
    about = "" if sure else "about "
    unknown = any(seconds is None for found in times.values() for seconds, _ in found)
    lines.append(f"{len(work.there)} stages are there, {len(work.wanted)} to run: {about}"
                 f"{total / 60:.1f} minutes{' and what is unknown' if unknown else ''}")
    return "\n".join(lines)
