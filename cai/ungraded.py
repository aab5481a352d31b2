"""Evaluation without a grader: what can be said of models where nobody knows the truth.

Detectors of refusal, evasion, apology and boilerplate; scores of a preference model; and Elo from
a judge model under principles. Pure: scores are given.
"""

from collections.abc import Sequence

from cai.constitution import Constitution
from cai.detectors import rates
from cai.elo import Game, Rating
from cai.evaluation import Reply, Report, diversity, ratings, table
from cai.feedback import ChoiceScore, label_pairs
from cai.records import Comparison, record_id
from cai.statistics import bootstrap_interval
from cai.targets import normalised


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


def judged_elos(replies: dict[str, list[Reply]], constitution: Constitution, score: ChoiceScore,
                *, seed: int, principles: int, examples: bool, resamples: int
                ) -> dict[str, dict[str, Rating]]:
    """Elo ratings on each kind of prompts, the first model at 0, of the judged games."""
    first, elos = next(iter(replies)), {}
    for kind in {reply.kind for reply in replies[first]}:
        of_kind = {name: [reply for reply in each if reply.kind == kind]
                   for name, each in replies.items()}
        played = judged_games(of_kind, constitution, score, seed=seed, principles=principles,
                              examples=examples)
        elos[kind] = ratings(played, first, seed, resamples)
    return elos


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
