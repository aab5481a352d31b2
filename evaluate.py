"""Evaluate models on held-out requests: shares, Elo, revisions, AI labels, preference model.

In the small world the truth grades every reply. On real prompts, where there is no truth, the
replies, their diversity and the preference model's scores are written.
"""

import dataclasses
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from cai import compare, evaluation, faithfulness, formats, plotting
from cai.constitution import Constitution, load_constitution
from cai.critique_revision import make_chains
from cai.evaluation import Reply, Share
from cai.feedback import label_pairs, sample_pairs
from cai.keys import noise_key
from cai.readers import read_prompts
from cai.records import KINDS, Comparison, InputError, Prompt, record_id, write_jsonl
from cai.statistics import bootstrap_interval, calibration_error
from cai.targets import label_preference, soft_target
from model.checkpoint import load_model, load_scalar_model, load_tokenizer
from model.generate import Sampling
from model.text import ChoiceScorer, PreferenceScorer, Sampler
from training.log import Log
from training.options import Common, Flat, device_of, fused, require, start
from training.stage import Stage, write_json
from world import people, requests, truth

MODELS = ("base", "sl_cai", "rl_cai", "rlhf_helpful", "shuffled")
INPUTS = (*MODELS, "preference_model", "constitution", "prompts", "ppo_metrics")
STEPS = 4
DRAWN = ("harmful", "reasoned", "helpful", "dual_harmful", "dual_helpful")
PPO_CURVES = ("score_red_team", "score_helpful", "held_out_score", "kl", "entropy", "length")
SHOWN = 20  # prompts of each kind in samples.jsonl


@dataclass(frozen=True)
class Options:
    """Options of the evaluation."""

    base: Path | None = None
    """Checkpoint of the base model; it also revises and labels."""
    sl_cai: Path | None = None
    """Checkpoint after the supervised stage; the pairs for labels are sampled from it."""
    rl_cai: Path | None = None
    """Checkpoint after reinforcement learning."""
    rlhf_helpful: Path | None = None
    """Checkpoint of the baseline trained on helpfulness comparisons alone."""
    shuffled: Path | None = None
    """Checkpoint of the baseline trained on shuffled AI labels."""
    preference_model: Path | None = None
    """Checkpoint of the preference model, whose accuracy is measured."""
    ppo_metrics: Path | None = None
    """metrics.jsonl of the reinforcement learning, to be drawn."""
    constitution: Path = Path("constitutions/small.toml")
    """Constitution of the revisions and the labels."""
    compare: tuple[Path, Path] | None = None
    """Folders of two evaluations, whose replies are compared and nothing else is done; the model
    --base then also judges them under each principle."""
    compared: str = "rl_cai"
    """Name of the model whose replies are compared."""
    prompts: Path | None = None
    """Real prompts to answer, in place of the world's requests; then nothing is graded."""
    split: Literal["test", "valid"] = "test"
    """Split of the world's requests; valid for any choice that is made by the outcome."""
    requests: int = 1000
    """Requests of each kind; with --prompts, the most prompts to read."""
    chains: int = 400
    """Harmful requests of the revision curve, four revisions each."""
    pairs: int = 400
    """Requests of each kind for which a pair of replies is sampled."""
    principles: int = 4
    """Principles under which each pair is labelled."""
    few_shot: bool = False
    """Show the constitution's worked examples first, in revisions and labels."""
    reasoning: bool = False
    """Let the feedback model reason before it labels (chain of thought)."""
    max_reasoning: int = 64
    """Longest reasoning, in tokens."""
    max_new: int = 48
    """Longest reply, in tokens."""
    rows: int = 128
    """Sequences decoded at a time."""
    resamples: int = 200
    """Bootstrap resamples of an interval."""
    common: Flat[Common] = field(default_factory=Common)

    def __post_init__(self) -> None:
        for name in ("requests", "chains", "pairs", "principles", "max_new", "max_reasoning",
                     "rows", "resamples"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        require(self.compare or any(getattr(self, name) for name in MODELS), "base",
                "no model at all", "at least one checkpoint to evaluate")


def given(options: Options) -> dict[str, Path]:
    """The models to evaluate, by name; the first is the anchor of the Elo ratings."""
    return {name: getattr(options, name) for name in MODELS if getattr(options, name)}


def sampler(options: Options, folder: Path, log: Log) -> Sampler:
    """Samples replies from the checkpoint in `folder` at temperature 1."""
    model = load_model(folder, device=device_of(options.common)).eval()
    return Sampler(fused(model, options.common), load_tokenizer(folder), Sampling(options.max_new),
                   formats.STOP, options.rows, log.advanced)


def answer(options: Options, name: str, prompts: Sequence[Prompt], log: Log) -> list[Reply]:
    """One reply of a model to each prompt, under noise that is the same for every model."""
    seed = options.common.seed
    sample = sampler(options, given(options)[name], log)
    try:
        texts = sample([formats.reply_prompt(prompt.turns) for prompt in prompts],
                       [noise_key(seed, "evaluate", prompt.id) for prompt in prompts])
    except ValueError as error:  # a prompt that leaves no room for a reply
        raise InputError(f"{options.prompts or options.split}, {name}: {error}") from error
    return [Reply(record_id("evaluate", [name, prompt.id], seed, 0), name, prompt.id,
                  prompt.turns, prompt.kind, text)
            for prompt, text in zip(prompts, texts, strict=True)]


def graded(reply: Reply) -> Reply:
    """The reply with the truth about it."""
    grade = truth.grade(reply.turns, reply.text)
    return dataclasses.replace(reply, grade=grade.kind, gives_steps=grade.gives_steps,
                               dual=requests.parse(reply.turns).dual)


def preference_scores(options: Options, turns: Sequence[tuple[str, ...]],
                      texts: Sequence[str]) -> list[float]:
    """The preference model's score of each text as the reply to its dialogue."""
    folder = options.preference_model
    model = load_scalar_model(folder, device_of(options.common)).eval()
    score = PreferenceScorer(fused(model, options.common), load_tokenizer(folder))
    return score([formats.reply_prompt(each) for each in turns], list(texts))


def revision_shares(options: Options, constitution: Constitution, log: Log) -> list[Share]:
    """The harmful share of replies after revision 0, 1, ..., all by the base model."""
    prompts = requests.prompts(options.split, options.chains, options.common.seed, "red_team")
    chains = make_chains(prompts, constitution, sampler(options, options.base, log),
                         seed=options.common.seed, steps=STEPS, examples=options.few_shot)
    return [Share.of([truth.grade(chain.turns, text).gives_steps for chain, text in
                      ((c, (c.response, *(s.revision for s in c.steps))[n]) for c in chains)])
            for n in range(STEPS + 1)]


def label_figures(options: Options, constitution: Constitution, pairs: Sequence[Comparison]
                  ) -> tuple[Share, float | None]:
    """Agreement of the averaged AI labels with the truth, and the single labels' calibration."""
    model = load_model(options.base, device=device_of(options.common)).eval()
    score = ChoiceScorer(fused(model, options.common), load_tokenizer(options.base))
    reason = Sampler(model, score.tokenizer, Sampling(options.max_reasoning), formats.STOP,
                     options.rows) if options.reasoning else None
    labels = label_pairs(pairs, constitution, score, seed=options.common.seed,
                         principles=options.principles, examples=options.few_shot,
                         reason=reason)
    topics = {principle.id: principle.topics for principle in constitution.feedback}
    agreed = evaluation.agreement([soft_target(each) for each in labels],
                                  [truth.preference(p.turns, *p.responses) for p in pairs], 0.5)
    single = evaluation.decided(
        [label_preference(label) for each in labels for label in each],
        [truth.preference_under(pair.turns, *pair.responses, topics[label.principle])
         for pair, each in zip(pairs, labels, strict=True) for label in each])
    return agreed, calibration_error(*single) if single[0] else None


def accuracy(options: Options, pairs: Sequence[Comparison]) -> Share:
    """How often the preference model ranks the two replies of a pair as the truth does."""
    turns = [pair.turns for pair in pairs]
    scores = [preference_scores(options, turns, [pair.responses[side] for pair in pairs])
              for side in (0, 1)]
    margins = [one - other for one, other in zip(*scores, strict=True)]
    return evaluation.agreement(
        margins, [truth.preference(pair.turns, *pair.responses) for pair in pairs], 0.0)


def on_world(options: Options, folder: Path, log: Log) -> tuple[dict, dict, str]:
    """The report, its intervals and its table, on requests of the world."""
    seed = options.common.seed
    prompts = [prompt for kind in KINDS
               for prompt in requests.prompts(options.split, options.requests, seed, kind)]
    replies = {name: list(map(graded, answer(options, name, prompts, log)))
               for name in given(options)}
    write_replies(folder, replies)
    shares = {name: evaluation.model_shares(each) for name, each in replies.items()}
    log.write(log.bar.n - 1, **{f"{name}_{key}": share.value for name, each in shares.items()
                                for key, share in each.items() if share.trials})
    plotting.model_bars(folder / "models.png", {
        name: {key: evaluation.bounded(each[key]) for key in DRAWN}
        for name, each in shares.items()})

    elos = {kind: evaluation.ratings(evaluation.games(replies, kind, judged(seed)),
                                     next(iter(replies)), seed, options.resamples)
            for kind in KINDS}
    varied = {name: evaluation.diversity([r.text for r in each if r.kind == "red_team"])
              for name, each in replies.items()}
    further = further_figures(options, folder, log)
    return evaluation.world_report(shares, varied, elos, *further)


def judged(seed: int) -> Callable[[Reply, Reply], float]:
    """Matches between two replies to one prompt, judged by the world's people."""
    return lambda one, other: people.judge(
        one.turns, one.text, other.text, noise_key(seed, one.prompt, one.model, other.model))


def further_figures(options: Options, folder: Path, log: Log
                    ) -> tuple[list[Share], Share, float | None, dict[str, Share]]:
    """Revisions, label agreement, label calibration and preference accuracies.

    What a model that was not given would have to answer stays without a trial.
    """
    seed, constitution = options.common.seed, load_constitution(options.constitution)
    revisions, labels, ece = [], Share(0, 0), None
    pm = {"accuracy_harmlessness": Share(0, 0), "accuracy_helpfulness": Share(0, 0)}
    require(options.principles <= len(constitution.feedback), "principles", options.principles,
            f"at most {len(constitution.feedback)}, as many as {options.constitution} has")
    if options.base:
        revisions = revision_shares(options, constitution, log)
        plotting.revision_curve(folder / "revisions.png", list(map(evaluation.bounded, revisions)))
    if options.sl_cai:
        sample = sampler(options, options.sl_cai, log)
        harmful, benign = (
            sample_pairs(requests.prompts(options.split, options.pairs, seed, kind), sample,
                         seed=seed) for kind in KINDS)
        if options.base:
            labels, ece = label_figures(options, constitution, harmful)
        if options.preference_model:
            pm = {"accuracy_harmlessness": accuracy(options, harmful),
                  "accuracy_helpfulness": accuracy(options, benign)}
    return revisions, labels, ece, pm


def on_prompts(options: Options, folder: Path, log: Log) -> tuple[dict, dict, str]:
    """The report, its intervals and its table, on prompts without a known truth."""
    prompts = read_prompts(options.prompts, options.requests)
    replies = {name: answer(options, name, prompts, log) for name in given(options)}
    report, bounds, rows = {}, {}, []
    for name, each in replies.items():
        report[name] = {"diversity": evaluation.diversity([reply.text for reply in each]),
                        "preference": None}
        if options.preference_model:
            scores = preference_scores(options, [reply.turns for reply in each],
                                       [reply.text for reply in each])
            replies[name] = [dataclasses.replace(reply, score=score)
                             for reply, score in zip(each, scores, strict=True)]
            report[name]["preference"] = sum(scores) / len(scores)
            bounds[name] = {"preference": bootstrap_interval(
                scores, options.common.seed, resamples=options.resamples)}
        rows.append((name, *(f"{value:.3f}" for value in report[name]["diversity"].values()),
                     "-" if name not in bounds else "{:.3f} [{:.3f}, {:.3f}]".format(
                         report[name]["preference"], *bounds[name]["preference"])))
    write_replies(folder, replies)
    return {"models": report}, {"models": bounds}, evaluation.table(
        ["model", "distinct", "entropy", "preference"], rows)


def write_replies(folder: Path, replies: dict[str, list[Reply]]) -> None:
    """All replies to replies.jsonl; beside one another, some prompts' replies to samples.jsonl."""
    write_jsonl(folder / "replies.jsonl", [reply for each in replies.values() for reply in each])
    write_jsonl(folder / "samples.jsonl", evaluation.beside(replies, SHOWN))


def draw_training(options: Options, folder: Path) -> None:
    """The curves of the reinforcement learning, where its metrics were given."""
    if options.ppo_metrics is None:
        return
    try:
        lines = list(map(json.loads, options.ppo_metrics.read_text("utf-8").splitlines()))
    except (OSError, ValueError) as error:
        raise InputError(f"{options.ppo_metrics}: found no metrics ({error}), expected "
                         "JSON Lines") from error
    plotting.training_curves(folder / "ppo.png", lines, PPO_CURVES)


def compared(options: Options) -> dict:
    """Differences in every figure between two evaluations, and what a judge finds of principles."""
    first, second = options.compare
    stage = Stage("compare", __file__, options, options.common, {
        "compare": None, "first": first, "second": second, "base": options.base,
        "constitution": options.constitution})
    if not stage.done:
        figures, tables = compare.compare_folders(
            first, second, options.compared, options.common.seed, options.resamples,
            judged(options.common.seed))
        if options.base:
            constitution = load_constitution(options.constitution)
            pairs = faithfulness.pairs_between(*(compare.read_replies(each, options.compared)
                                                 for each in (first, second)), options.pairs)
            model = load_model(options.base, device=device_of(options.common)).eval()
            score = ChoiceScorer(fused(model, options.common), load_tokenizer(options.base))
            labels = label_pairs(pairs, constitution, score, seed=options.common.seed,
                                 examples=options.few_shot,
                                 principles=len(constitution.feedback))
            further, table = faithfulness.principle_report(
                constitution.feedback, labels, options.common.seed, options.resamples)
            figures, tables = figures | further, f"{tables}\n\n{table}"
        (stage.path / "table.md").write_text(tables + "\n", encoding="utf-8")
        write_json(stage.path / "report.json", figures)
        stage.finish(figures)
    print((stage.path / "table.md").read_text(encoding="utf-8"))
    return stage.figures


def main(options: Options) -> dict:
    """Evaluate models on held-out requests, or compare their replies to given prompts."""
    if options.compare:
        return compared(options)
    stage = Stage("evaluate", __file__, options, options.common,
                  {name: getattr(options, name) for name in INPUTS})
    if not stage.done:
        models = len(given(options))
        total = (models * options.requests if options.prompts else
                 2 * models * options.requests + bool(options.sl_cai) * 4 * options.pairs
                 + bool(options.base) * options.chains * (1 + 2 * STEPS))
        draw_training(options, stage.path)
        with Log(stage.path, "evaluate", total, options.common.log, unit="text") as log:
            measure = on_prompts if options.prompts else on_world
            report, bounds, table = measure(options, stage.path, log)
        write_json(stage.path / "report_intervals.json", bounds)
        (stage.path / "table.md").write_text(table + "\n", encoding="utf-8")
        write_json(stage.path / "report.json", report)
        stage.finish(report)
    print((stage.path / "table.md").read_text(encoding="utf-8"))
    print(f"report: {stage.path / 'report.json'}")
    return stage.figures


if __name__ == "__main__":
    start(main, Options, (InputError,))
