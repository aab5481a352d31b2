"""Evaluate models on held-out requests: shares, Elo, revisions, AI labels, preference model.

In the small world the truth grades every reply. On real prompts, where nobody knows the truth,
detectors, a preference model and a judge model tell of the replies; and models alone are measured
on multiple choice and by their agreement with people.
"""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from cai import (
    agreement,
    bbq,
    compare,
    diagnose,
    evaluation,
    faithfulness,
    formats,
    manner,
    multiple_choice,
    plotting,
    sizes,
    ungraded,
)
from cai.constitution import Constitution, load_constitution
from cai.critique_revision import make_chains
from cai.evaluation import Reply, Report, Share
from cai.feedback import Judge, label_pairs, longest_question, sample_pairs
from cai.keys import noise_key
from cai.readers import read_fitting
from cai.records import (
    KINDS,
    Comparison,
    InputError,
    Label,
    Prompt,
    read_jsonl,
    read_metrics,
    record_id,
)
from cai.statistics import calibration_error
from cai.targets import label_preference, soft_target
from model.checkpoint import load_tokenizer, read_config
from model.sampling import Sampling
from model.text import ChoiceScorer, PreferenceScorer, Sampler
from rl.diagnose import policy_numbers
from training.log import Log
from training.models import load_frozen, load_frozen_scalar
from training.options import Common, Flat, require, start
from training.stage import Stage, write_json
from world import people, requests, truth
from world.replies import offers

MODELS = ("base", "sl_cai", "rl_cai", "rlhf_helpful", "shuffled")
INPUTS = (*MODELS, "preference_model", "constitution", "prompts", "helpful", "judge",
          "multiple_choice", "bbq", "agreement", "ppo_metrics")
ALONE = ("multiple_choice", "bbq", "agreement")  # on which --model is measured
STEPS = 4
DRAWN = ("harmful", "reasoned", "helpful", "dual_harmful", "dual_helpful")
PPO_CURVES = ("score_red_team", "score_helpful", "held_out_score", "kl", "entropy", "length")
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
    bbq: Path | None = None
    """Folder of BBQ's files, on which --model alone is measured: accuracy and bias by category."""
    agreement: Path | None = None
    """File of PandaLM or LLMBar, or folder of such, on which --model alone judges pairs of
    replies: agreement with people by subset."""
    principle: str | None = None
    """Id of the principle of --constitution under which it judges them; by default helpfulness."""
    model: tuple[Path, ...] = ()
    """Checkpoint of the model that answers them; of several, one table by size."""
    split: Literal["test", "valid"] = "test"
    """Split of the world's requests; valid for any choice that is made by the outcome."""
    requests: int = 1000
    """Requests of each kind, at most; also the most prompts to read of a file."""
    chains: int = 400
    """Harmful requests of the revision curve, four revisions each."""
    chain_temperature: float = 0.7
    """Sampling temperature of the revision curve, that of make_revisions.py; replies have 1."""
    pairs: int = 800
    """Harmful requests for which a pair of replies is sampled and labelled."""
    helpful_pairs: int = 2000
    """Benign requests for which a pair of replies is sampled; the truth decides one in ten."""
    principles: int = 1
    """Principles under which each pair is labelled, as many as make_comparisons.py draws."""
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
        for name in ("requests", "chains", "pairs", "helpful_pairs", "principles", "max_new",
                     "max_reasoning", "rows", "resamples"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        require(self.chain_temperature >= 0, "chain_temperature", self.chain_temperature,
                "0 or more")
        alone = [f"--{name.replace('_', '-')}" for name in ALONE if getattr(self, name)]
        require(len(alone) == bool(self.model), "model",
                f"{len(self.model)} models for {' and '.join(alone) or 'nothing to answer'}",
                f"models with one of --{', --'.join(ALONE).replace('_', '-')}")
        require(self.principle is None or self.agreement is not None, "principle", self.principle,
                "--agreement with it")
        require(bool(self.compare or self.diagnose or self.model or given(self)), "base",
                "no model at all", "at least one checkpoint to evaluate")


def given(options: Options) -> dict[str, Path]:
    """The models to evaluate, by name; the first is the anchor of the Elo ratings."""
    return {name: getattr(options, name) for name in MODELS if getattr(options, name)}


def sampler(options: Options, folder: Path, log: Log, temperature: float = 1.0) -> Sampler:
    """Samples replies from the checkpoint in `folder`."""
    return Sampler(load_frozen(folder, options.common), load_tokenizer(folder),
                   Sampling(options.max_new, temperature), formats.STOP, options.rows,
                   log.advanced)


def choice_scorer(options: Options, folder: Path) -> ChoiceScorer:
    """Scores options by the model in `folder`."""
    return ChoiceScorer(load_frozen(folder, options.common), load_tokenizer(folder))


def judge_in(options: Options, folder: Path) -> Judge:
    """The model in `folder` as one that chooses, after reasoning if asked."""
    score, written = choice_scorer(options, folder), options.max_reasoning * options.reasoning
    reason = Sampler(score.model, score.tokenizer, Sampling(options.max_reasoning), formats.STOP,
                     options.rows) if options.reasoning else None
    return Judge(score, lambda prompt, choices: score.fits(prompt, choices, written), reason)


def preference_scorer(options: Options, folder: Path) -> evaluation.Score:
    """Scores replies to dialogues by the preference model in `folder`."""
    score = PreferenceScorer(load_frozen_scalar(folder, options.common), load_tokenizer(folder))
    return lambda turns, replies: score(list(map(formats.reply_prompt, turns)), replies)


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
                               offers=offers(reply.text),
                               dual=requests.parse(reply.turns).dual)


def revision_shares(options: Options, constitution: Constitution, log: Log) -> list[Share]:
    """The harmful share of replies after revision 0, 1, ..., all by the base model."""
    prompts = requests.prompts(options.split, options.chains, options.common.seed, "red_team")
    sample = sampler(options, options.base, log, options.chain_temperature)
    chains = make_chains(prompts, constitution, sample, seed=options.common.seed, steps=STEPS,
                         examples=options.few_shot)
    return [Share.of([truth.grade(chain.turns, chain.texts[n]).gives_steps for chain in chains])
            for n in range(STEPS + 1)]


def truths(pairs: Sequence[Comparison]) -> list[float | None]:
    """Which reply of each pair the truth prefers: 1.0 the first, 0.0 the second, None neither."""
    return [truth.preference(pair.turns, *pair.responses) for pair in pairs]


def label_figures(options: Options, constitution: Constitution, pairs: Sequence[Comparison]
                  ) -> tuple[Share, float | None]:
    """Agreement of the averaged AI labels with the truth, and the single labels' calibration."""
    labels = labels_of(options, constitution, pairs, options.principles)
    topics = {principle.id: principle.topics for principle in constitution.feedback}
    agreed = evaluation.agreement(list(map(soft_target, labels)), truths(pairs), 0.5)
    single = evaluation.decided(
        [label_preference(label) for each in labels for label in each],
        [truth.preference_under(pair.turns, *pair.responses, topics[label.principle])
         for pair, each in zip(pairs, labels, strict=True) for label in each])
    return agreed, calibration_error(*single) if single[0] else None


def labels_of(options: Options, constitution: Constitution, pairs: Sequence[Comparison],
              principles: int) -> list[tuple[Label, ...]]:
    """The base model's labels of each pair under as many principles, after reasoning if asked."""
    judge = judge_in(options, options.base)
    return label_pairs(pairs, constitution, judge.score, seed=options.common.seed,
                       principles=principles, examples=options.few_shot, reason=judge.reason)


def on_world(options: Options, folder: Path, log: Log) -> Report:
    """The report, its intervals and its table, on requests of the world."""
    seed = options.common.seed
    prompts = [prompt for kind in KINDS
               for prompt in requests.prompts(options.split, options.requests, seed, kind)]
    replies = {name: list(map(graded, answer(options, name, prompts, log)))
               for name in given(options)}
    compare.write_replies(folder, replies)
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
    report, bounds, table = evaluation.world_report(shares, varied, elos, *further)
    return report, bounds, f"{table}\n\n{manner.manner_table(replies, seed, options.resamples)}"


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
            sample_pairs(requests.prompts(options.split, count, seed, kind), sample, seed=seed)
            for count, kind in zip((options.pairs, options.helpful_pairs), KINDS, strict=True))
        if options.base:
            labels, ece = label_figures(options, constitution, harmful)
        if options.preference_model:
            score = preference_scorer(options, options.preference_model)
            pm = {name: evaluation.preference_accuracy(score, pairs, truths(pairs))
                  for name, pairs in zip(pm, (harmful, benign), strict=True)}
    return revisions, labels, ece, pm


def constitution_of(options: Options) -> Constitution:
    """The constitution, which has as many principles as are asked for."""
    constitution = load_constitution(options.constitution)
    require(options.principles <= len(constitution.feedback), "principles", options.principles,
            f"at most {len(constitution.feedback)}, as many as {options.constitution} has")
    return constitution


def on_prompts(options: Options, folder: Path, log: Log) -> Report:
    """The report, its intervals and its table, on prompts without a known truth."""
    prompts = [prompt for kind, path in zip(KINDS, (options.prompts, options.helpful), strict=True)
               if path for prompt in read_fitting(path, fits(options), options.requests, kind)]
    replies = {name: answer(options, name, prompts, log) for name in given(options)}
    if options.preference_model:
        score = preference_scorer(options, options.preference_model)
        replies = {name: evaluation.scored(each, score) for name, each in replies.items()}
    compare.write_replies(folder, replies)
    elos = ungraded.judged_elos(
        replies, constitution_of(options), choice_scorer(options, options.judge),
        seed=options.common.seed, principles=options.principles, examples=options.few_shot,
        resamples=options.resamples) if options.judge else {}
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


def on_models(options: Options, folder: Path, log: Log) -> Report:
    """The report, its intervals and its table, of one model alone; of several, by size."""
    measure = measured_alone(options)

    def sized(checkpoint: Path) -> tuple[str, int, Report]:
        model = judge_in(options, checkpoint)
        parameters = sum(each.numel() for each in model.score.model.parameters())
        return str(checkpoint), parameters, measure(model)

    found = list(map(sized, options.model))
    return sizes.by_size(found) if len(found) > 1 else found[0][2]


def measured_alone(options: Options) -> Callable[[Judge], Report]:
    """What is measured of a model alone, its data read."""
    seed, resamples = options.common.seed, options.resamples
    if options.multiple_choice:
        return multiple_choice.measured_on(options.multiple_choice, seed)
    if options.bbq:
        return bbq.measured_on(options.bbq, seed, resamples)
    constitution = agreement.under(load_constitution(options.constitution), options.principle)
    return agreement.measured_on(options.agreement, constitution, options.few_shot, seed, resamples)


def under_principles(options: Options) -> tuple[dict, str]:
    """What the base model, as the judge, finds of the compared replies under each principle."""
    constitution = load_constitution(options.constitution)
    pairs = faithfulness.pairs_between(*(compare.read_replies(each, options.compared)
                                         for each in options.compare), options.pairs)
    labels = labels_of(options, constitution, pairs, len(constitution.feedback))
    return faithfulness.principle_report(constitution.feedback, labels, options.common.seed,
                                         options.resamples)


def compared(options: Options) -> dict:
    """Differences in every figure between two evaluations, and what a judge finds of principles."""
    first, second = options.compare
    stage = Stage("compare", __file__, options, options.common, {
        "compare": None, "first": first, "second": second, "base": options.base,
        "constitution": options.constitution})
    if not stage.done:
        figures, table = compare.compare_folders(
            first, second, options.compared, options.common.seed, options.resamples,
            judged(options.common.seed))
        if options.base:
            further, more = under_principles(options)
            figures, table = figures | further, f"{table}\n\n{more}"
        finish(stage, figures, table)
    print((stage.path / "table.md").read_text(encoding="utf-8"))
    return stage.figures


def diagnosed(options: Options) -> dict[str, float]:
    """Every check that the stages of a run allow; a stage that is not there is not checked.

    In float32, since the bounds are those of its rounding.
    """
    common = dataclasses.replace(options.common, dtype="float32")
    options = dataclasses.replace(options, common=common)
    run, seed, numbers = options.diagnose, options.common.seed, {}
    policy, reference, preference = (run / stage / "model"
                                     for stage in ("train_ppo", "train_sl", "train_pm"))
    metrics = run / "train_ppo/metrics.jsonl"
    comparisons = run / "make_comparisons/comparisons.jsonl"
    if policy.exists() and reference.exists():
        asked = [formats.reply_prompt(prompt.turns) for kind in KINDS
                 for prompt in requests.prompts(options.split, CHECKED // 2, seed, kind)]
        sample = Sampler(load_frozen(policy, common), load_tokenizer(policy),
                         Sampling(options.max_new), formats.STOP, options.rows)
        numbers |= policy_numbers(sample, load_frozen(reference, common), asked,
                                  [noise_key(seed, "diagnose", text) for text in asked])
    if metrics.exists():
        numbers["first_ratio"] = max(line["first_ratio"] for line in read_metrics(metrics))
    if comparisons.exists():
        pairs = read_jsonl(comparisons, Comparison)
        labels = [each for pair in pairs for each in pair.labels if each.source == "model"]
        if labels:
            numbers["label_bias"] = diagnose.letter_bias(labels)
        if preference.exists():
            score = preference_scorer(options, preference)
            numbers |= diagnose.preference_numbers(score, pairs[:CHECKED])
            numbers["padding_invariance"] = max(numbers.get("padding_invariance", 0.0),
                                                diagnose.neighbour_change(score, pairs[:8]))
    if not numbers:
        raise InputError(f"{run}: found no stage to check, expected the folder of a run")
    print(diagnose.told(numbers))
    return numbers


def measured(options: Options) -> tuple[Callable[[Options, Path, Log], Report], int]:
    """What is measured, and how many texts are sampled for it."""
    models = len(given(options))
    if options.model:
        return on_models, 0
    if options.prompts or options.helpful:
        return on_prompts, models * options.requests * (bool(options.prompts)
                                                        + bool(options.helpful))
    pairs = bool(options.sl_cai) * (options.pairs + options.helpful_pairs)
    return on_world, (2 * models * options.requests + 2 * pairs
                      + bool(options.base) * options.chains * (1 + 2 * STEPS))


def finish(stage: Stage, report: dict, table: str) -> None:
    """Write the table and the report of a stage, which is whole then."""
    (stage.path / "table.md").write_text(table + "\n", encoding="utf-8")
    write_json(stage.path / "report.json", report)
    stage.finish(report)


def main(options: Options) -> dict:
    """Evaluate models on held-out requests, on prompts of a file, or alone."""
    if options.compare:
        return compared(options)
    if options.diagnose:
        return diagnosed(options)
    stage = Stage("evaluate", __file__, options, options.common,
                  {name: getattr(options, name) for name in INPUTS}
                  | {f"model_{n}": model for n, model in enumerate(options.model)})
    if not stage.done:
        measure, total = measured(options)
        if options.ppo_metrics:
            plotting.training_curves(stage.path / "ppo.png", read_metrics(options.ppo_metrics),
                                     PPO_CURVES)
        with stage.log(total, unit="text") as log:
            report, bounds, table = measure(options, stage.path, log)
        write_json(stage.path / "report_intervals.json", bounds)
        finish(stage, report, table)
    print((stage.path / "table.md").read_text(encoding="utf-8"))
    print(f"report: {stage.path / 'report.json'}")
    return stage.figures


if __name__ == "__main__":
    start(main, Options, (InputError,))
