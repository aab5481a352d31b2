"""Evaluate models on held-out requests: shares, Elo, revisions, AI labels, preference model.

In the small world the truth grades every reply. On real prompts, where nobody knows the truth,
detectors, a preference model and a judge model tell of the replies; and a model alone is measured
on multiple choice.
"""

import dataclasses
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from cai import compare, diagnose, evaluation, faithfulness, formats, plotting, ungraded
from cai.constitution import Constitution, load_constitution
from cai.critique_revision import make_chains
from cai.elo import Rating
from cai.evaluation import Reply, Share
from cai.feedback import label_pairs, longest_question, sample_pairs
from cai.keys import noise_key
from cai.readers import find, read_fitting, tell_skipped
from cai.records import (
    KINDS,
    Comparison,
    InputError,
    Prompt,
    read_jsonl,
    record_id,
    write_jsonl,
)
from cai.statistics import calibration_error
from cai.targets import label_preference, soft_target
from model.checkpoint import load_model, load_scalar_model, load_tokenizer, read_config
from model.generate import Sampling
from model.text import ChoiceScorer, PreferenceScorer, Sampler
from rl.diagnose import kl_upper, padding_change, scorer_parity
from rl.rollout import pack, response_logprobs
from training.log import Log
from training.options import Common, Flat, device_of, fused, require, start
from training.stage import Stage, write_json
from world import people, requests, truth

MODELS = ("base", "sl_cai", "rl_cai", "rlhf_helpful", "shuffled")
INPUTS = (*MODELS, "preference_model", "constitution", "prompts", "helpful", "judge", "model",
          "multiple_choice", "ppo_metrics")
STEPS = 4
DRAWN = ("harmful", "reasoned", "helpful", "dual_harmful", "dual_helpful")
PPO_CURVES = ("score_red_team", "score_helpful", "held_out_score", "kl", "entropy", "length")
SHOWN = 20  # prompts of each kind in samples.jsonl
CHECKED = 100  # replies, and pairs of replies, that a diagnosis looks at


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
    diagnose: Path | None = None
    """Folder of a run, such as runs/demo, whose stages are checked and nothing else is done."""
    prompts: Path | None = None
    """File of red-team prompts to answer, in place of the world's; then nothing is graded."""
    helpful: Path | None = None
    """File of helpful prompts to answer, likewise."""
    judge: Path | None = None
    """Checkpoint of the model that compares the replies to such files under principles, for Elo."""
    multiple_choice: Path | None = None
    """File of multiple-choice questions, on which --model alone is measured."""
    model: Path | None = None
    """Checkpoint of the model that answers them."""
    split: Literal["test", "valid"] = "test"
    """Split of the world's requests; valid for any choice that is made by the outcome."""
    requests: int = 1000
    """Requests of each kind, at most; also the most prompts to read of a file."""
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
    max_reasoning: int = 80
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
        require((self.multiple_choice is None) == (self.model is None), "model", self.model,
                "a checkpoint together with --multiple-choice, and not without")
        require(bool(self.compare or self.diagnose or self.model or given(self)), "base",
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
    score = choice_scorer(options, options.base)
    reason = Sampler(score.model, score.tokenizer, Sampling(options.max_reasoning), formats.STOP,
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
    seed, constitution = options.common.seed, constitution_of(options)
    revisions, labels, ece = [], Share(0, 0), None
    pm = {"accuracy_harmlessness": Share(0, 0), "accuracy_helpfulness": Share(0, 0)}
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


def constitution_of(options: Options) -> Constitution:
    """The constitution, which has as many principles as are asked for."""
    constitution = load_constitution(options.constitution)
    require(options.principles <= len(constitution.feedback), "principles", options.principles,
            f"at most {len(constitution.feedback)}, as many as {options.constitution} has")
    return constitution


def on_prompts(options: Options, folder: Path, log: Log) -> tuple[dict, dict, str]:
    """The report, its intervals and its table, on prompts without a known truth."""
    prompts = [prompt for kind, path in zip(KINDS, (options.prompts, options.helpful), strict=True)
               if path for prompt in read_fitting(path, fits(options), options.requests, kind)]
    replies = {name: answer(options, name, prompts, log) for name in given(options)}
    if options.preference_model:
        for name, each in replies.items():
            scores = preference_scores(options, [reply.turns for reply in each],
                                       [reply.text for reply in each])
            replies[name] = [dataclasses.replace(reply, score=score)
                             for reply, score in zip(each, scores, strict=True)]
    write_replies(folder, replies)
    elos = {kind: judged_elo(options, replies, kind) for kind in {p.kind for p in prompts}
            } if options.judge else {}
    return ungraded.prompts_report(replies, elos, options.common.seed, options.resamples)


def fits(options: Options) -> Callable[[Sequence[str]], bool]:
    """Tells whether a dialogue leaves room for a reply in the context of every model, and for
    the judge's question about two replies.
    """
    readers = [(load_tokenizer(folder), read_config(folder).context - options.max_new)
               for folder in given(options).values()]
    if options.judge:
        tokenizer = load_tokenizer(options.judge)
        question = longest_question(constitution_of(options),
                                    lambda text: len(tokenizer.encode(text)), options.few_shot)
        room = read_config(options.judge).context - question - 2 * options.max_new
        readers.append((tokenizer, room))
    return lambda turns: all(len(tokenizer.encode(formats.reply_prompt(turns))) <= room
                             for tokenizer, room in readers)


def judged_elo(options: Options, replies: dict[str, list[Reply]], kind: str) -> dict[str, Rating]:
    """Elo ratings on one kind of prompts, the first model at 0, by the judge under principles."""
    seed = options.common.seed
    played = ungraded.judged_games(
        {name: [reply for reply in each if reply.kind == kind] for name, each in replies.items()},
        constitution_of(options), choice_scorer(options, options.judge), seed=seed,
        principles=options.principles, examples=options.few_shot)
    return evaluation.ratings(played, next(iter(replies)), seed, options.resamples)


def on_choices(options: Options, folder: Path, log: Log) -> tuple[dict, dict, str]:
    """The report, its intervals and its table, of one model on multiple choice."""
    found = find(options.multiple_choice, "choices")
    tell_skipped(options.multiple_choice, found)
    score = choice_scorer(options, options.model)
    asked = ungraded.with_answer(options.multiple_choice, found.records)
    choices = ungraded.fitting(options.multiple_choice, asked,
                               lambda choice: score.fits(choice.prompt, choice.options))
    right = ungraded.answered(choices, score)
    return ungraded.choice_report(choices, right, len(asked) - len(choices))


def choice_scorer(options: Options, folder: Path) -> ChoiceScorer:
    """Scores options by the model in `folder`."""
    model = load_model(folder, device=device_of(options.common)).eval()
    return ChoiceScorer(fused(model, options.common), load_tokenizer(folder))


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


def diagnosed(options: Options) -> dict[str, float]:
    """Every check that the stages of a run allow; a stage that is not there is not checked."""
    run, numbers = options.diagnose, {}
    metrics, comparisons = run / "train_ppo/metrics.jsonl", run / "make_comparisons"
    if (run / "train_ppo/model").exists() and (run / "train_sl/model").exists():
        numbers |= policy_numbers(options)
    if metrics.exists():
        numbers["first_ratio"] = max(
            json.loads(line)["first_ratio"] for line in metrics.read_text("utf-8").splitlines())
    if (comparisons / "comparisons.jsonl").exists():
        pairs = read_jsonl(comparisons / "comparisons.jsonl", Comparison)
        labels = [each for pair in pairs for each in pair.labels if each.source == "model"]
        if labels:
            numbers["label_bias"] = diagnose.letter_bias(labels)
        if (run / "train_pm/model").exists():
            of_run = dataclasses.replace(options, preference_model=run / "train_pm/model")
            numbers |= diagnose.preference_numbers(
                lambda turns, replies: preference_scores(of_run, turns, replies), pairs[:CHECKED])
            few = [(pair.turns, pair.responses[0]) for pair in pairs[:8]]
            alone = [preference_scores(of_run, [turns], [text])[0] for turns, text in few]
            batch = preference_scores(of_run, *map(list, zip(*few, strict=True)))
            numbers["padding_invariance"] = max(
                numbers.get("padding_invariance", 0.0),
                *(abs(one - other) for one, other in zip(alone, batch, strict=True)))
    if not numbers:
        raise InputError(f"{run}: found no stage to check, expected the folder of a run")
    print(diagnose.told(numbers))
    return numbers


def policy_numbers(options: Options) -> dict[str, float]:
    """Checks of the policy on its own replies, and of its KL to the model that it started from."""
    run, seed, device = options.diagnose, options.common.seed, device_of(options.common)
    policy, reference = (load_model(run / name / "model", device=device).eval()
                         for name in ("train_ppo", "train_sl"))
    tokenizer = load_tokenizer(run / "train_ppo/model")
    asked = [formats.reply_prompt(prompt.turns) for kind in KINDS for prompt in requests.prompts(
        options.split, CHECKED // 2, seed, kind)]
    done = Sampler(policy, tokenizer, Sampling(options.max_new), formats.STOP,
                   options.rows).complete(asked, [noise_key(seed, "diagnose", text)
                                                  for text in asked])
    packed = [tensor.to(device) for tensor in pack(
        *zip(*((tokenizer.encode(text), each.tokens) for text, each in
               zip(asked, done, strict=True) if each.tokens), strict=True))]
    rescored = response_logprobs(policy, *packed)
    return {"scorer_parity": scorer_parity([e.logprobs for e in done if e.tokens], rescored),
            "padding_invariance": padding_change(policy, *packed, filler=tokenizer.end),
            "kl_sign": kl_upper(rescored, response_logprobs(reference, *packed))}


def measured(options: Options) -> tuple[Callable[[Options, Path, Log], ungraded.Report], int]:
    """What is measured, and how many texts are sampled for it."""
    models = len(given(options))
    if options.multiple_choice:
        return on_choices, 0
    if options.prompts or options.helpful:
        return on_prompts, models * options.requests * (bool(options.prompts)
                                                        + bool(options.helpful))
    return on_world, (2 * models * options.requests + bool(options.sl_cai) * 4 * options.pairs
                      + bool(options.base) * options.chains * (1 + 2 * STEPS))


def main(options: Options) -> dict:
    """Evaluate models on held-out requests, on prompts of a file, or one on multiple choice."""
    if options.compare:
        return compared(options)
    if options.diagnose:
        return diagnosed(options)
    stage = Stage("evaluate", __file__, options, options.common,
                  {name: getattr(options, name) for name in INPUTS})
    if not stage.done:
        measure, total = measured(options)
        draw_training(options, stage.path)
        with Log(stage.path, "evaluate", total, options.common.log, unit="text") as log:
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
