"""Every stage with a real checkpoint and real prompts, none of it made here."""

import contextlib
import io
import json
import math
from pathlib import Path

import pytest
import torch

import make_comparisons
import make_revisions
import train_pm
import train_ppo
import train_sl
from cai import formats
from cai.keys import noise_key
from cai.readers import read_prompts
from cai.records import Comparison, Revision, read_jsonl
from model.checkpoint import load_model, load_scalar_model
from model.sampling import Sampling
from model.text import Sampler
from rl.options import PPOOptions
from training.options import Common

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT.parent / "shared" / "data"
MODEL = DATA / "stories260K" / "hf"
RED_TEAM = DATA / "advbench" / "data" / "advbench" / "harmful_behaviors.csv"
HELPFUL = DATA / "hh-rlhf" / "harmless-base" / "test.jsonl.gz"
ENGLISH = ROOT / "constitutions" / "english.toml"
NEW = 12  # tokens of every text that is sampled

pytestmark = pytest.mark.skipif(
    not all(map(Path.exists, (MODEL, RED_TEAM, HELPFUL))),
    reason=f"no {DATA}: the shared data is not beside this checkout")


@pytest.fixture(scope="module")
def common(tmp_path_factory: pytest.TempPathFactory) -> Common:
    return Common(name="real", runs=tmp_path_factory.mktemp("real") / "runs")


@pytest.fixture(scope="module")
def ppo_options(common: Common) -> train_ppo.Options:
    run = common.runs / "real"
    return train_ppo.Options(
        model=run / "train_sl" / "model", preference_model=run / "train_pm" / "model",
        held_out=run / "train_pm" / "held_out", red_team=RED_TEAM, helpful=HELPFUL, steps=2,
        rollouts=8, max_new=NEW, policy_rate=1e-4, warmup=1, ppo=PPOOptions(minibatches=2),
        common=common)


@pytest.fixture(scope="module")
def told(common: Common, ppo_options: train_ppo.Options) -> str:
    """Run every stage once; what they told on stderr."""
    run = common.runs / "real"
    with contextlib.redirect_stderr(io.StringIO()) as errors:
        make_revisions.main(make_revisions.Options(
            model=MODEL, constitution=ENGLISH, red_team=RED_TEAM, helpful=HELPFUL,
            red_team_prompts=6, helpful_prompts=6, steps=2, max_new=NEW, common=common))
        train_sl.main(train_sl.Options(
            model=MODEL, chains=run / "make_revisions" / "revisions.jsonl", rate=1e-4,
            batch_tokens=1024, common=common))
        make_comparisons.main(make_comparisons.Options(
            model=run / "train_sl" / "model", judge=MODEL, constitution=ENGLISH,
            red_team=RED_TEAM, red_team_pairs=12, principles=2, max_new=NEW, common=common))
        train_pm.main(train_pm.Options(
            model=MODEL, comparisons=run / "make_comparisons" / "comparisons.jsonl",
            batch_pairs=4, common=common))
        train_ppo.main(ppo_options)
    return errors.getvalue()


@pytest.fixture(scope="module")
def run(told: str, common: Common) -> Path:
    return common.runs / "real"


def metrics(run: Path, stage: str) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / stage / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("stage", ["train_sl", "train_pm", "train_ppo"])
def test_every_number_is_finite(run: Path, stage: str) -> None:
    steps = metrics(run, stage)
    figures = json.loads((run / stage / "manifest.json").read_text())["figures"]
    assert steps
    for numbers in (*steps, figures):
        assert all(math.isfinite(value) for value in numbers.values()), numbers


def test_the_chains_are_on_the_prompts_of_the_files(run: Path) -> None:
    chains = read_jsonl(run / "make_revisions" / "revisions.jsonl", Revision)
    asked = {prompt.id: prompt.turns for prompt in (
        *read_prompts(RED_TEAM), *read_prompts(HELPFUL, kind="helpful"))}
    assert all(chain.turns == asked[chain.prompt] for chain in chains)
    harmful = [chain for chain in chains if chain.kind == "red_team"]
    assert len(harmful) == 6 and len(chains) == 6 + 2 * 6
    assert all(len(chain.steps) == 2 for chain in harmful)
    assert any(len(chain.turns) > 1 for chain in chains)
    texts = [text for chain in harmful for step in chain.steps
             for text in (step.critique, step.revision)]
    assert sum(map(bool, texts)) > len(texts) / 2
    assert not any("\n\nHuman:" in text for text in texts)


def test_dialogues_too_long_for_the_context_are_counted(told: str) -> None:
    """The model's context is 512 tokens of some two letters; hh-rlhf has longer dialogues."""
    lines = [line for line in told.splitlines() if "left out" in line]
    assert lines and all(line.startswith(f"{HELPFUL}: left out ") for line in lines)


def test_the_comparisons_keep_both_orders(run: Path) -> None:
    pairs = read_jsonl(run / "make_comparisons" / "comparisons.jsonl", Comparison)
    assert len(pairs) == 12 and {pair.kind for pair in pairs} == {"red_team"}
    for label in (label for pair in pairs for label in pair.labels):
        assert label.swapped == (False, True) and 0 < label.preference < 1
        assert all(logprob < 0 for row in label.logprobs for logprob in row)
    assert len({label.preference for pair in pairs for label in pair.labels}) > 12


def test_ppo_starts_from_a_ratio_of_one_and_moves_the_policy(run: Path) -> None:
    steps = metrics(run, "train_ppo")
    assert [step["step"] for step in steps] == [0, 1]
    assert max(step["first_ratio"] for step in steps) < 1e-3
    assert abs(steps[0]["kl"]) < 1e-3 and steps[1]["kl"] != steps[0]["kl"]
    assert {"score_red_team", "score_helpful"} <= steps[0].keys()


def test_a_rollout_masks_what_was_sampled_and_no_more(run: Path, ppo_options) -> None:
    device = torch.device("cpu")
    actors = train_ppo.Actors(ppo_options, device, None)
    prompts = [*read_prompts(RED_TEAM, 5), *read_prompts(HELPFUL, 2, "helpful")[1:]]
    rollout, held_out = train_ppo.sample(actors, prompts, 0, ppo_options, device)
    asked = [formats.reply_prompt(prompt.turns) for prompt in prompts]
    sampler = Sampler(actors.policy, actors.tokenizer, Sampling(NEW), formats.STOP)
    done = sampler.complete(asked, [noise_key(0, p.id, 0, n) for n, p in enumerate(prompts)])
    for row, (text, each) in enumerate(zip(asked, done, strict=True)):
        prompt, count = actors.tokenizer.encode(text), len(each.tokens)
        assert rollout.tokens[row].tolist()[:len(prompt) + count] == [*prompt, *each.tokens]
        assert int(rollout.start[row]) == len(prompt)
        assert rollout.response_mask[row].tolist() == [
            n < count for n in range(rollout.response_mask.shape[1])]
        assert rollout.logprobs[row, :count].tolist() == pytest.approx(each.logprobs, abs=1e-3)
    expected = actors.held_out([prompt.turns for prompt in prompts], list(map(sampler.text, done)))
    assert held_out == pytest.approx(sum(expected) / len(expected), abs=1e-5)
    masked = ~rollout.response_mask
    for field in (rollout.logprobs, rollout.reference_logprobs, rollout.values):
        assert bool(field.isfinite().all()) and not field[masked].any()


def test_the_trained_models_load(run: Path) -> None:
    real, trained = load_model(MODEL), load_model(run / "train_ppo" / "model")
    assert trained.config == real.config
    assert not torch.equal(trained.model.norm.weight, real.model.norm.weight)
    scores = load_scalar_model(run / "train_pm" / "model").score(
        torch.tensor([[1, 5, 7]]), torch.tensor([2]))
    assert scores.isfinite().all()
