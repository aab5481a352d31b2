"""Evaluation without a grader: what can be said of models where nobody knows the truth.

Multiple choice by log-probability; detectors of refusal, evasion, apology and boilerplate; scores
of a preference model; and Elo from a judge model under principles. Pure: scores are given.
"""

import collections
from collections.abc import Callable, Sequence

from cai.constitution import Constitution
from cai.detectors import rates
from cai.elo import Game, Rating
from cai.evaluation import Reply, Share, diversity, table
from cai.feedback import ChoiceScore, label_pairs
from cai.kinds.choices import Choice
from cai.records import Comparison, InputError, record_id
from cai.statistics import bootstrap_interval
from cai.targets import normalised

Report = tuple[dict, dict, str]
"""The report, the intervals of its figures in the same shape, and its table."""


def chosen(choices: Sequence[Choice], score: ChoiceScore) -> list[int]:
    """The place of the likeliest option of each question."""
    by_options: dict[tuple[str, ...], list[int]] = collections.defaultdict(list)
    for number, choice in enumerate(choices):
        by_options[choice.options].append(number)
    places = [0] * len(choices)
    for options, numbers in by_options.items():
        scores = score([choices[number].prompt for number in numbers], options)
        for number, row in zip(numbers, scores, strict=True):
            places[number] = row.index(max(row))
    return places


def answered(choices: Sequence[Choice], score: ChoiceScore) -> list[bool]:
    """Whether the likeliest option of each question is the right one."""
    return [place == choice.correct
            for place, choice in zip(chosen(choices, score), choices, strict=True)]


def choice_report(choices: Sequence[Choice], right: Sequence[bool], left_out: int) -> Report:
    """Accuracy beside the level of guessing: the mean over questions of 1 / options."""
    accuracy = Share.of(right)
    chance = sum(1 / len(choice.options) for choice in choices) / len(choices)
    figures = {"accuracy": accuracy.value, "chance": chance, "questions": len(choices),
               "left_out": left_out}
    bounds = {"accuracy": dict(zip(("low", "high"), accuracy.interval, strict=True))}
    rows = [("accuracy", str(accuracy)), ("chance", f"{chance:.3f}"),
            ("questions", str(len(choices))), ("left out, too long", str(left_out))]
    return {"multiple_choice": figures}, {"multiple_choice": bounds}, table(["figure", "value"],
                                                                            rows)


def with_answer(path: object, choices: Sequence[Choice]) -> list[Choice]:
    """The questions that have a right option. InputError: none has."""
    known = [choice for choice in choices if choice.correct is not None]
    if not known:
        raise InputError(f"{path}: found no question with a right option, expected some")
    return known


def judged_games(replies: dict[str, list[Reply]], constitution: Constitution, score: ChoiceScore,
                 *, seed: int, principles: int, examples: bool) -> list[Game]:
    """Every two models' replies to the same prompts, judged under principles in both orders.

    Under one principle a reply wins where it is preferred whether it is shown first or second;
    where the order decides it is a tie. A game's score is the mean over the principles.
    """
    names, pairs, players = list(replies), [], []
    for place, first in enumerate(names):
        for second in names[place + 1:]:
            for one, other in zip(replies[first], replies[second], strict=True):
                number = record_id("match", [one.id, other.id], seed, 0)
                pairs.append(Comparison(number, one.prompt, one.turns, one.kind, seed, 0,
                                        (one.text, other.text), ()))
                players.append((first, second))
    labels = label_pairs(pairs, constitution, score, seed=seed, principles=principles,
                         examples=examples) if pairs else []
    return [(*both, sum(outcome(label.logprobs) for label in each) / len(each))
            for both, each in zip(players, labels, strict=True)]


def outcome(logprobs: Sequence[tuple[float, float]]) -> float:
    """1 where every order prefers the first reply, 0 where every order the second, else 0.5."""
    sides = {(p > 0.5) - (p < 0.5) for p in (normalised(*row) for row in logprobs)}
    return {frozenset({1}): 1.0, frozenset({-1}): 0.0}.get(frozenset(sides), 0.5)


def prompts_report(replies: dict[str, list[Reply]], elos: dict[str, dict[str, Rating]],
                   seed: int, resamples: int) -> Report:
    """Figures of each model by kind of prompt; `elos` by kind, empty without a judge."""
    report, bounds, rows = {}, {}, []
    for name, each in replies.items():
        report[name], bounds[name] = {}, {}
        for kind in dict.fromkeys(reply.kind for reply in each):
            of_kind = [reply for reply in each if reply.kind == kind]
            figures, intervals = _figures(of_kind, seed, resamples)
            if (rating := elos.get(kind, {}).get(name)) is not None:
                figures["elo"] = rating.elo
                intervals["elo"] = {"low": rating.low, "high": rating.high}
            report[name][kind], bounds[name][kind] = figures, intervals
            rows.append((name, kind, *(_shown(key, figures, intervals) for key in COLUMNS)))
    return {"models": report}, {"models": bounds}, table(["model", "prompts", *COLUMNS], rows)


COLUMNS = ("refusal", "evasion", "apology", "boilerplate", "distinct", "entropy", "preference",
           "elo")


def _figures(replies: Sequence[Reply], seed: int, resamples: int) -> tuple[dict, dict]:
    texts = [reply.text for reply in replies]
    shares = rates(texts)
    figures = {**{key: share.value for key, share in shares.items()}, **diversity(texts),
               "preference": None, "elo": None}
    intervals = {key: dict(zip(("low", "high"), share.interval, strict=True))
                 for key, share in shares.items()}
    scores = [reply.score for reply in replies if reply.score is not None]
    if scores:
        figures["preference"] = sum(scores) / len(scores)
        low, high = bootstrap_interval(scores, seed, resamples=resamples)
        intervals["preference"] = {"low": low, "high": high}
    return figures, intervals


def _shown(key: str, figures: dict, intervals: dict) -> str:
    if figures[key] is None:
        return "-"
    digits = ".0f" if key == "elo" else ".3f"
    bounds = intervals.get(key)
    between = f" [{bounds['low']:{digits}}, {bounds['high']:{digits}}]" if bounds else ""
    return f"{figures[key]:{digits}}{between}"


def fitting(path: object, choices: Sequence[Choice], fits: Callable[[Choice], bool]
            ) -> list[Choice]:
    """The questions short enough by `fits`. InputError: none is."""
    kept = [choice for choice in choices if fits(choice)]
    if not kept:
        raise InputError(f"{path}: found no question that fits the model's context, expected some")
    return kept
