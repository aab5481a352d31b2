"""Run an experiment by its name, tell what it would run, or write the report of all of them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from cai.records import InputError
from experiments.report import publish
from experiments.results import judge, paragraph, run
from experiments.runner import Past, Runner, Work, planned, told
from experiments.specification import FOLDER, load, names
from training.options import Common, require, start


@dataclass(frozen=True)
class Options:
    """Options of an experiment's run."""

    name: Annotated[str | None, tyro.conf.Positional] = None
    """Name of the experiment, as its file experiments/NAME.toml; without one all are run."""
    seeds: int | None = None
    """How many seeds; as many as the experiment states where none is given."""
    dry_run: bool = False
    """Tell what would run, and how long by the times of earlier runs, and run nothing."""
    report: bool = False
    """Write docs/experiments.md and docs/experiments/NAME.json from the results that there are."""
    jobs: int | None = None
    """Stages made side by side, the threads shared among them; two where none is given, and one
    with a real model."""
    model: Path | None = None
    """Checkpoint of a real model, in place of every base model of the small world."""
    prompts: Path | None = None
    """File of red-team prompts for it."""
    scale: float = 1.0
    """Size of every stage, as a share of its own; for tests, and never reported."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where tensors live; auto takes a GPU where there is one."""
    runs: Path = Path("runs")
    """Folder of all runs."""
    docs: Path = Path("docs")
    """Folder of the report."""

    def __post_init__(self) -> None:
        require(self.seeds is None or self.seeds >= 1, "seeds", self.seeds, "1 or more")
        require(0 < self.scale <= 1, "scale", self.scale, "a share above 0, at most 1")
        require(self.jobs is None or self.jobs >= 1, "jobs", self.jobs, "1 or more")
        require((self.model is None) == (self.prompts is None), "prompts", self.prompts,
                "a file of prompts together with --model, and not without")


def main(options: Options) -> dict:
    """Run an experiment and say what came of it: python -m experiments NAME."""
    if options.report:
        published = publish(options.runs, options.docs)
        print(f"{options.docs / 'experiments.md'}: {', '.join(published) or 'nothing new'}")
        return {}
    jobs = options.jobs or (1 if options.model else 2)
    chosen = names() if options.name is None else [options.name]
    judged, every = {}, Work()
    for name in chosen:
        experiment = load(FOLDER / f"{name}.toml")
        runner = Runner(experiment, Common(device=options.device, runs=options.runs),
                        options.scale, options.model, options.prompts)
        seeds = options.seeds or experiment.seeds
        if options.dry_run:
            work = planned(runner, seeds)
            every.wanted.update(work.wanted)
            every.there.update(work.there)
            print(f"{name}, {seeds} seeds, {len(experiment.variants)} variants\n"
                  f"{told(work, Past.read(options.runs))}\n")
            continue
        judged[name] = judge(experiment, run(runner, seeds, jobs))
        print(f"{name}\n\n{judged[name]['table']}\n\n{paragraph(judged[name])}\n")
    if options.dry_run and len(chosen) > 1:
        print(f"all together, what they share once\n{told(every, Past.read(options.runs))}")
    return judged


if __name__ == "__main__":
    start(main, Options, (InputError,))
