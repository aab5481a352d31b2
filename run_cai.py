"""The whole of Constitutional AI: every stage in order, each one's output the next one's input."""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import evaluate
import make_comparisons
import make_revisions
import train_base
import train_pm
import train_ppo
import train_sl
from cai.records import InputError
from training.options import Common, Flat, require, start
from training.stage import write_json

STAGES = ("train_base", "make_revisions", "train_sl", "make_comparisons", "train_pm", "train_ppo",
          "evaluate")


@dataclass(frozen=True)
class Options:
    """Options of a whole run in the embedded world."""

    baselines: bool = False
    """Also train RLHF on helpfulness alone, and RL-CAI on shuffled labels."""
    constitution: Path = Path("constitutions/small.toml")
    """Constitution of every stage."""
    base: Path | None = None
    """Checkpoint of the helpful-only model; without it one is trained first."""
    reasoning: bool = True
    """Let the feedback model reason before it labels (chain of thought, section 4.1)."""
    scale: float = 1.0
    """Size of every stage, as a share of its default; the tests run a small one."""
    common: Flat[Common] = field(default_factory=Common)

    def __post_init__(self) -> None:
        require(0 < self.scale <= 1, "scale", self.scale, "a share above 0, at most 1")


def scaled(stage: type, share: float, **given: object) -> object:
    """A stage's options as `given`, with its counts of prompts, pairs and steps cut to `share`."""
    options = stage(**given)
    sizes = {name: max(8, round(getattr(options, name) * share)) for name in (
        "tokens", "recitals", "retellings",
        "red_team_prompts", "helpful_prompts", "red_team_pairs", "helpful_pairs",
        "steps", "rollouts", "requests", "chains", "pairs")
        if isinstance(getattr(options, name, None), int)}
    if stage is make_revisions.Options:
        del sizes["steps"]
    return dataclasses.replace(options, **sizes)


def main(options: Options) -> dict:
    """Run every stage of Constitutional AI and measure what it did."""
    run = options.common.runs / options.common.name
    base, sl, judged = options.base or run / "train_base/model", run / "train_sl/model", {}

    def stage(script, common: Common, **given: object) -> dict:  # noqa: ANN001 - a module
        if "constitution" in {each.name for each in dataclasses.fields(script.Options)}:
            given["constitution"] = options.constitution
        return script.main(scaled(script.Options, options.scale, common=common, **given))

    def feedback_and_rl(common: Common, people: str, shuffle: bool = False) -> Path:
        at = common.runs / common.name
        stage(make_comparisons, common, model=sl, judge=base, people=people,
              reasoning=options.reasoning)
        stage(train_pm, common, model=base, shuffle_labels=shuffle,
              comparisons=at / "make_comparisons/comparisons.jsonl")
        stage(train_ppo, common, model=sl, preference_model=at / "train_pm/model",
              held_out=at / "train_pm/held_out")
        return at / "train_ppo/model"

    if options.base is None:
        stage(train_base, options.common)
    stage(make_revisions, options.common, model=base)
    stage(train_sl, options.common, model=base,
          chains=run / "make_revisions/revisions.jsonl")
    judged["rl_cai"] = feedback_and_rl(options.common, "helpful")
    if options.baselines:
        for name, people in (("rlhf_helpful", "helpful_only"), ("shuffled", "helpful")):
            beside = dataclasses.replace(options.common, name=f"{options.common.name}-{name}")
            judged[name] = feedback_and_rl(beside, people, shuffle=name == "shuffled")
    report = stage(evaluate, options.common, base=base, sl_cai=sl, **judged,
                   reasoning=options.reasoning,
                   preference_model=run / "train_pm/model",
                   ppo_metrics=run / "train_ppo/metrics.jsonl")
    return write_report(run, report, STAGES[options.base is not None:])


def write_report(run: Path, report: dict, stages: Sequence[str] = STAGES) -> dict:
    """The evaluation's figures with the time and memory of the stages, in runs/NAME/report.json.
    """
    timing = {name: json.loads((run / name / "timing.json").read_text(encoding="utf-8"))
              for name in stages}
    seconds = {name: each["seconds"] for name, each in timing.items()}
    report = {**report, "seconds": {**seconds, "total": round(sum(seconds.values()), 1)},
              "peak_memory_mb": max(each["peak_memory_mb"] for each in timing.values())}
    write_json(run / "report.json", report)
    print(f"{report['seconds']['total']:.0f} seconds; report: {run / 'report.json'}; "
          f"figures: {run / 'evaluate'}")
    return report


if __name__ == "__main__":
    start(main, Options, (InputError,))
