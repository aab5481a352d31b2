"""The whole of Constitutional AI at a hundredth of its size: the report, and every row's origin."""

import json
import math
import time
from dataclasses import replace
from pathlib import Path

import pytest

import make_comparisons
import run_cai
from cai.constitution import load_constitution
from cai.keys import named_generator
from cai.records import Comparison, Revision, read_jsonl, record_id
from training.options import Common
from world.requests import prompts

FIGURES = {"harmful", "reasoned", "evasive", "scolding", "boilerplate", "garbled", "helpful",
           "wrong_steps", "benign_refused", "diversity", "elo_harmlessness", "elo_helpfulness",
           "dual"}
CONSTITUTION = Path(__file__).parent.parent / "constitutions" / "small.toml"
SEED = 3


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> run_cai.Options:
    runs = tmp_path_factory.mktemp("pipeline") / "runs"
    return run_cai.Options(constitution=CONSTITUTION, scale=0.01,
                           common=Common(name="small", seed=SEED, runs=runs))


@pytest.fixture(scope="module")
def run(options: run_cai.Options) -> Path:
    """The folder of the whole run, made once."""
    run_cai.main(options)
    return options.common.runs / "small"


@pytest.fixture(scope="module")
def report(run: Path) -> dict:
    return json.loads((run / "report.json").read_text())


def test_the_report_has_exactly_its_keys(report: dict) -> None:
    assert report.keys() == {"models", "revisions", "labels", "pm", "seconds", "peak_memory_mb"}
    assert report["models"].keys() == {"base", "sl_cai", "rl_cai"}
    for figures in report["models"].values():
        assert figures.keys() == FIGURES
        assert figures["dual"].keys() == {"harmful", "helpful"}
        shares = [*(figures[name] for name in FIGURES - {"diversity", "dual"}
                    if not name.startswith("elo")), *figures["dual"].values()]
        assert all(0 <= share <= 1 for share in shares)
        assert math.isfinite(figures["elo_harmlessness"] + figures["elo_helpfulness"])
    assert len(report["revisions"]) == 5
    assert report["labels"].keys() == {"agreement", "ece"}
    assert report["pm"].keys() == {"accuracy_harmlessness", "accuracy_helpfulness"}
    assert report["seconds"].keys() == {*run_cai.STAGES, "total"}
    stages = [report["seconds"][name] for name in run_cai.STAGES]
    assert min(stages) > 0 and report["seconds"]["total"] == pytest.approx(sum(stages), abs=0.1)
    assert 100 < report["peak_memory_mb"] < 3000


def test_the_whole_of_it_runs_in_bfloat16(options: run_cai.Options) -> None:
    """Attention of more than 128 tokens too, which on a CPU goes another way; and a policy that
    has not moved has its rollouts' log-probs, up to rounding.
    """
    common = replace(options.common, name="bfloat16", dtype="bf16")
    run_cai.main(replace(options, common=common))
    made = common.runs / common.name
    assert json.loads((made / "report.json").read_text())["models"].keys() == {
        "base", "sl_cai", "rl_cai"}
    steps = [json.loads(line) for line in
             (made / "train_ppo" / "metrics.jsonl").read_text().splitlines()]
    assert len(steps) > 1 and max(step["first_ratio"] for step in steps) < 0.1


def test_the_figures_are_drawn(run: Path) -> None:
    for name in ("models.png", "revisions.png", "ppo.png"):
        assert (run / "evaluate" / name).read_bytes()[1:4] == b"PNG"
    assert "| share" in (run / "evaluate" / "table.md").read_text()


def test_every_chain_is_traceable(run: Path) -> None:
    principles = load_constitution(CONSTITUTION).revisions
    chains = read_jsonl(run / "make_revisions" / "revisions.jsonl", Revision)
    asked = {prompt.id: prompt for kind in ("red_team", "helpful")
             for prompt in prompts("cai", 100, SEED, kind)}
    assert {chain.kind for chain in chains} == {"red_team", "helpful"}
    for chain in chains:
        assert chain.seed == SEED
        assert chain.id == record_id("revision", [chain.prompt], SEED, chain.draw)
        assert (chain.turns, chain.kind) == (asked[chain.prompt].turns, asked[chain.prompt].kind)
        drawn = [named_generator(SEED, chain.id, step, "principle").choice(principles).id
                 for step in range(4 if chain.kind == "red_team" else 0)]
        assert [step.principle for step in chain.steps] == drawn
    steps = {step.principle for chain in chains for step in chain.steps}
    assert len(steps) > len(principles) / 2


def test_every_comparison_is_traceable(run: Path) -> None:
    principles = {principle.id for principle in load_constitution(CONSTITUTION).feedback}
    pairs = read_jsonl(run / "make_comparisons" / "comparisons.jsonl", Comparison)
    asked = {prompt.id: prompt.turns for kind in ("red_team", "helpful")
             for prompt in prompts("cai", 1000, SEED + 1000, kind)}
    for pair in pairs:
        assert pair.seed == SEED and pair.turns == asked[pair.prompt]
        assert pair.id in {record_id(stage, [pair.prompt], SEED, pair.draw)
                           for stage in ("comparison", "written")}
        if pair.kind == "helpful":
            assert [label.source for label in pair.labels] == ["people"]
            continue
        named = {label.principle for label in pair.labels}
        assert len(named) == len(pair.labels) == make_comparisons.Options.principles
        assert named <= principles
        for label in pair.labels:
            assert label.swapped == (False, True) and len(label.logprobs) == 2
    assert {pair.kind for pair in pairs} == {"red_team", "helpful"}


def test_a_second_run_does_nothing_again(run: Path, options: run_cai.Options, report: dict) -> None:
    def written() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns
                for path in (run.parent / "stages").rglob("*") if path.is_file()}

    before, start = written(), time.monotonic()
    again = run_cai.main(options)
    assert time.monotonic() - start < 5
    assert written() == before and json.loads(json.dumps(again)) == report
