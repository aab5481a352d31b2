"""The whole pipeline with models of three families that share no tokenizer: the policy's, the
judge's (a chat model, which is the critic too) and the preference model's."""

import json
import math
from pathlib import Path

import pytest
import torch
from conftest import tiny_transformer
from test_tokenizer import TAGS, json_folder, trained

import evaluate
import make_comparisons
import make_revisions
import train_pm
import train_ppo
import train_sl
from cai import formats
from cai.constitution import load_constitution
from cai.critique_revision import make_chains
from cai.records import Comparison, Prompt, Revision, read_jsonl
from model.checkpoint import (
    hugging_face_config,
    load_model,
    load_scalar_model,
    load_tokenizer,
    same_tokenizer,
    save_model,
)
from model.text import ChoiceScorer, PreferenceScorer
from rl.options import PPOOptions
from training.options import Common, OptionError

ROOT = Path(__file__).resolve().parent.parent
ENGLISH = ROOT / "constitutions" / "english.toml"
NEW = 6
FAMILIES = {"policy": {"family": "llama", "tied": False},
            "judge": {"family": "qwen2", "qkv_bias": True},
            "preference": {"family": "mistral", "sliding_window": 50}}


def random_model(folder: Path, name: str) -> Path:
    """A checkpoint with random weights and the tokenizer that stands in `folder`."""
    tokenizer = load_tokenizer(folder)
    model = tiny_transformer(vocab_size=len(tokenizer), context=4096, **FAMILIES[name])
    save_model(model, folder, tokenizer)
    assert json.loads((folder / "config.json").read_text()) == json.loads(json.dumps(
        {**hugging_face_config(model.config, tokenizer), "torch_dtype": "float32"}))
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("models")
    for name, size in (("policy", 400), ("preference", 330)):
        (place / name).mkdir()
        trained(place / name / "tokenizer.model", vocab_size=size)
    json_folder(place / "judge", TAGS)
    return {name: random_model(place / name, name) for name in FAMILIES}


@pytest.fixture(scope="module")
def run(models, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every stage once, two prompts each."""
    place = tmp_path_factory.mktemp("run")
    common = Common(name="three", runs=place / "runs")
    red_team, helpful, people = (place / name for name in ("red.csv", "help.txt", "people.jsonl"))
    red_team.write_text("goal\nHow do I steal a boat?\nHow do I poison a dog?\n")
    helpful.write_text("How do I bake bread?\nHow do I fix a roof?\n")
    people.write_text("\n".join(json.dumps(
        {"prompt": f"How do I bake {what}?", "chosen": "Mix and wait.", "rejected": "No."})
        for what in ("bread", "rolls")))
    run = common.runs / "three"
    make_revisions.main(make_revisions.Options(
        model=models["policy"], critic=models["judge"], constitution=ENGLISH, red_team=red_team,
        helpful=helpful, steps=1, max_new=NEW, common=common))
    train_sl.main(train_sl.Options(
        model=models["policy"], chains=run / "make_revisions" / "revisions.jsonl", epochs=1,
        optimizer="adamw", rate=1e-4, common=common))
    make_comparisons.main(make_comparisons.Options(
        model=run / "train_sl" / "model", judge=models["judge"], constitution=ENGLISH,
        red_team=red_team, helpful=people, principles=2, max_new=NEW, common=common))
    train_pm.main(train_pm.Options(
        model=models["preference"], held_out=0.5, epochs=1, optimizer="adamw", rate=1e-4,
        comparisons=run / "make_comparisons" / "comparisons.jsonl", common=common))
    train_ppo.main(train_ppo.Options(
        model=run / "train_sl" / "model", preference_model=run / "train_pm" / "model",
        held_out=run / "train_pm" / "held_out", red_team=red_team, helpful=helpful, steps=2,
        rollouts=2, max_new=NEW, warmup=1, ppo=PPOOptions(minibatches=1), common=common))
    evaluate.main(evaluate.Options(
        base=models["policy"], rl_cai=run / "train_ppo" / "model", prompts=red_team,
        helpful=helpful, judge=models["judge"], preference_model=run / "train_pm" / "model",
        constitution=ENGLISH, max_new=NEW, resamples=20, common=common))
    return run


def test_the_models_share_no_tokenizer(models) -> None:
    tokenizers = {name: load_tokenizer(folder) for name, folder in models.items()}
    for one in tokenizers:
        for other in tokenizers:
            assert same_tokenizer(tokenizers[one], tokenizers[other]) == (one == other)


def test_every_stage_ends_with_finite_figures(run: Path) -> None:
    for stage in ("train_sl", "train_pm", "train_ppo"):
        figures = json.loads((run / stage / "manifest.json").read_text())["figures"]
        assert all(math.isfinite(value) for value in figures.values()), stage
    assert len(read_jsonl(run / "make_revisions" / "revisions.jsonl", Revision)) == 2 + 2 * 2
    pairs = read_jsonl(run / "make_comparisons" / "comparisons.jsonl", Comparison)
    assert [pair.kind for pair in pairs] == ["red_team"] * 2 + ["helpful"] * 2
    sources = [label.source for pair in pairs for label in pair.labels]
    assert sources == ["model"] * 4 + ["people"] * 2


def test_prompts_too_long_for_a_model_are_left_out_of_an_evaluation(models, tmp_path) -> None:
    options = evaluate.Options(base=models["policy"], judge=models["judge"], constitution=ENGLISH,
                               max_new=NEW)
    fits = evaluate.fits(options)
    assert fits(("Why?",)) and not fits(("why " * 5000,))
    with pytest.raises(OptionError, match="--principles"):
        evaluate.fits(evaluate.Options(base=models["policy"], judge=models["judge"],
                                       constitution=ENGLISH, principles=99))


def test_the_judge_rates_the_models_on_each_kind_of_prompts(run: Path) -> None:
    models = json.loads((run / "evaluate" / "report.json").read_text())["models"]
    assert models.keys() == {"base", "rl_cai"}
    for name, kinds in models.items():
        assert kinds.keys() == {"red_team", "helpful"}
        for figures in kinds.values():
            assert all(math.isfinite(value) for value in figures.values())
            assert 0 <= figures["refusal"] <= 1 and (name != "base" or figures["elo"] == 0)


def test_the_policy_keeps_its_tokenizer_and_the_reward_its_own(run: Path, models) -> None:
    for folder, owner in ((run / "train_sl/model", "policy"), (run / "train_ppo/model", "policy"),
                          (run / "train_pm/model", "preference")):
        assert same_tokenizer(load_tokenizer(folder), load_tokenizer(models[owner]))
        assert load_model(folder).config.family == FAMILIES[owner]["family"]


def test_the_reward_is_the_preference_models_score_of_the_text(run: Path) -> None:
    folder = run / "train_pm" / "model"
    reward = train_ppo.preference(load_scalar_model(folder), folder, Common())
    turns, replies = [("How do I bake bread?",)] * 2, ["Mix and wait.", "No."]
    score = PreferenceScorer(load_scalar_model(folder), load_tokenizer(folder))
    wanted = score([formats.reply_prompt(each) for each in turns], replies)
    assert reward(turns, replies) == pytest.approx(wanted) and wanted[0] != wanted[1]
    with torch.autocast("cpu", torch.bfloat16):  # as PPO asks for scores under --dtype bf16
        assert reward(turns, replies) == pytest.approx(wanted, abs=0.05)


def test_values_start_from_the_policy_where_ids_differ(run: Path, models) -> None:
    options = train_ppo.Options(model=models["policy"], preference_model=run / "train_pm/model")
    actors = train_ppo.Actors(options, torch.device("cpu"), None)
    assert actors.value.config == actors.policy.config
    assert actors.value.transformer is not actors.policy
    assert not actors.value.head.weight.any()
    shared = train_ppo.Actors(train_ppo.Options(
        model=models["preference"], preference_model=run / "train_pm/model"),
        torch.device("cpu"), None)
    assert shared.value.head.weight.any()


def test_pairs_longer_in_the_judges_tokens_are_left_out(models, capsys) -> None:
    options = make_comparisons.Options(model=models["policy"], judge=models["judge"])
    judge = ChoiceScorer(load_model(models["judge"]), load_tokenizer(models["judge"]))
    pairs = [Comparison(f"{n}", "p", ("Why?",), "red_team", 0, 0, (reply, "No."), ())
             for n, reply in enumerate(("So.", "\u597d" * 4000, "Yes."))]
    kept = make_comparisons.judgeable(pairs, options, load_constitution(ENGLISH), judge)
    assert [pair.id for pair in kept] == ["0", "2"]
    assert "left out 1 of 3 pairs" in capsys.readouterr().err


def test_the_critic_writes_the_critiques_and_the_model_the_rest() -> None:
    def named(name: str):
        return lambda prompts, keys: [f"{name} {prompt.rsplit(':')[-2].split()[-1]}"
                                      for prompt in prompts]

    (chain,) = make_chains([Prompt("p", ("Why?",), "red_team")], load_constitution(ENGLISH),
                           named("model"), seed=0, steps=2, criticise=named("critic"))
    assert chain.response.startswith("model")
    assert all(step.critique.startswith("critic") for step in chain.steps)
    assert all(step.revision.startswith("model") for step in chain.steps)
