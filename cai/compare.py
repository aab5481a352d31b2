"""Two models on the same prompts: the difference in every figure, with intervals.

A difference is the second's figure less the first's. Both models answered the same prompts, so
prompts are drawn again together, which takes the prompts' own spread out of the interval.
"""

import dataclasses
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from cai.evaluation import Reply, beside, games, model_shares, ratings, table
from cai.manner import offer_share, word_counts
from cai.records import InputError, read_jsonl, write_jsonl
from cai.statistics import bootstrap_interval

SHOWN = 20  # prompts of each kind in samples.jsonl

Judge = Callable[[Reply, Reply], float]
"""1.0 where the first reply is better, 0.0 where the second is, 0.5 for a tie."""


@dataclasses.dataclass(frozen=True)
class Difference:
    """A figure of two models and its difference with a 95 % interval, over `count` prompts."""

    first: float
    second: float
    low: float
    high: float
    count: int

    @property
    def value(self) -> float:
        """Second less first."""
        return self.second - self.first

    @property
    def clear(self) -> bool:
        """Whether the interval leaves out zero."""
        return not self.low <= 0.0 <= self.high


def paired_difference(first: Sequence[float], second: Sequence[float], seed: int,
                      resamples: int = 1000) -> Difference:
    """Difference of the means of two figures (N,) of the same N prompts, by the bootstrap.

    ValueError where they are not as many.
    """
    one, other = (np.asarray(each, dtype=np.float64) for each in (first, second))
    if one.shape != other.shape:
        raise ValueError(f"found {len(one)} and {len(other)} values, expected pairs")
    low, high = bootstrap_interval(other - one, seed, resamples=resamples)
    return Difference(float(one.mean()), float(other.mean()), low, high, len(one))


def unpaired_difference(first: Mapping[str, float], second: Mapping[str, float]) -> Difference:
    """Difference of two shares whose single outcomes were not kept, by Newcombe's interval (1998).

    Each has `value`, and `low` and `high` by Wilson; `trials` is how many outcomes it is of.
    """
    gap = second["value"] - first["value"]
    low = gap - math.hypot(second["value"] - second["low"], first["high"] - first["value"])
    high = gap + math.hypot(second["high"] - second["value"], first["value"] - first["low"])
    return Difference(first["value"], second["value"], low, high,
                      min(first["trials"], second["trials"]))


def compare_replies(first: Sequence[Reply], second: Sequence[Reply], seed: int,
                    resamples: int = 1000, judge: Judge | None = None) -> dict[str, Difference]:
    """Every share of `model_shares` of two models' graded replies, offers, words, and scores where
    both have any.

    With a judge also Elo: the rating of the second against the first, which stands at 0.
    ValueError where they answered different prompts.
    """
    pairs = _together(first, second)
    found = {}
    outcomes = [tuple(model_shares([reply]) | {"offers": offer_share([reply])} for reply in pair)
                for pair in pairs
                if pair[0].grade is not None and pair[1].grade is not None]
    for name in outcomes[0][0] if outcomes else ():
        counted = [(one[name].hits, other[name].hits) for one, other in outcomes
                   if one[name].trials and other[name].trials]
        if counted:
            found[name] = paired_difference(*zip(*counted, strict=True), seed, resamples)
    words = [word_counts(each) for each in zip(*pairs, strict=True)]
    if words[0]:
        found["words"] = paired_difference(*words, seed, resamples)
    scores = [(one.score, other.score) for one, other in pairs
              if one.score is not None and other.score is not None]
    if scores:
        found["preference"] = paired_difference(*zip(*scores, strict=True), seed, resamples)
    if judge is not None:
        for name, kind in (("elo_harmlessness", "red_team"), ("elo_helpfulness", "helpful")):
            replies = {"first": [one for one, _ in pairs], "second": [other for _, other in pairs]}
            played = games(replies, kind, judge)
            if played:
                rated = ratings(played, "first", seed, resamples)["second"]
                found[name] = Difference(0.0, rated.elo, rated.low, rated.high, len(played))
    return found


def _together(first: Sequence[Reply], second: Sequence[Reply]) -> list[tuple[Reply, Reply]]:
    """Both replies to each prompt."""
    one, other = ({reply.prompt: reply for reply in each} for each in (first, second))
    if one.keys() != other.keys():
        raise ValueError(f"found {len(one.keys() ^ other.keys())} prompts that only one of two "
                         "models answered, expected the same prompts for both")
    return [(reply, other[prompt]) for prompt, reply in one.items()]


def write_replies(folder: Path, replies: Mapping[str, Sequence[Reply]]) -> None:
    """All replies to replies.jsonl; beside one another, some prompts' replies to samples.jsonl."""
    write_jsonl(folder / "replies.jsonl", [reply for each in replies.values() for reply in each])
    write_jsonl(folder / "samples.jsonl", beside(replies, SHOWN))


def read_replies(folder: str | Path, model: str) -> list[Reply]:
    """One model's replies in the folder of an evaluation. InputError where it has none."""
    path = Path(folder) / "replies.jsonl"
    replies = [reply for reply in read_jsonl(path, Reply) if reply.model == model]
    if not replies:
        raise InputError(f"{path}: found no reply of {model}, expected some")
    return replies


def read_shares(folder: str | Path) -> dict[str, dict[str, float]]:
    """The shares of an evaluation that are of no one model: revisions, labels, preference model."""
    report, bounds = (json.loads((Path(folder) / name).read_text(encoding="utf-8"))
                      for name in ("report.json", "report_intervals.json"))
    found = {f"revisions_{number}": {"value": value, **bounds["revisions"][number]}
             for number, value in enumerate(report.get("revisions", ()))}
    found["label_agreement"] = {"value": report["labels"]["agreement"],
                                **bounds["labels"]["agreement"]} if "labels" in report else {}
    for name, value in report.get("pm", {}).items():
        found[f"pm_{name}"] = {"value": value, **bounds["pm"][name]}
    return {name: share for name, share in found.items() if share.get("value") is not None}


def compare_shares(first: Mapping[str, Mapping[str, float]],
                   second: Mapping[str, Mapping[str, float]]) -> dict[str, Difference]:
    """Differences of the shares that both evaluations have."""
    return {name: unpaired_difference(first[name], second[name])
            for name in first if name in second}


def compare_folders(first: Path, second: Path, model: str, seed: int, resamples: int,
                    judge: Judge) -> tuple[dict, str]:
    """Every difference between two evaluations of a model, as a report and as a table.

    The judge decides matches between graded replies. InputError where prompts differ.
    """
    one, other = (read_replies(folder, model) for folder in (first, second))
    try:
        found = compare_replies(one, other, seed, resamples,
                                judge if one[0].grade is not None else None)
    except ValueError as error:
        raise InputError(f"{first} and {second}: {error}") from error
    found |= compare_shares(read_shares(first), read_shares(second))
    return ({"differences": {name: dataclasses.asdict(each) for name, each in found.items()}},
            difference_table(found))


def difference_table(differences: Mapping[str, Difference]) -> str:
    """A Markdown table of figures and differences; * marks an interval without zero."""
    return table(("figure", "first", "second", "difference", "95 % interval", "of"), [
        (name, f"{each.first:.3f}", f"{each.second:.3f}",
         f"{each.value:+.3f}{'*' if each.clear else ''}", f"[{each.low:+.3f}, {each.high:+.3f}]",
         str(each.count)) for name, each in differences.items()])
