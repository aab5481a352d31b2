"""Sample pairs of replies and label them: AI feedback, and people's votes (sections 4.1 and 4.2).

Two replies of the SL-CAI model to each red-team prompt are compared by a feedback model under
principles of the constitution. Helpfulness comparisons are people's: in the embedded world its
simulated people vote, elsewhere they come from a file of comparisons.
"""

import dataclasses
import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from cai import formats
from cai.constitution import Constitution, load_constitution
from cai.feedback import label_pairs, longest_question, sample_pairs
from cai.readers import read_comparisons, read_fitting
from cai.records import Comparison, InputError, Label, Prompt, record_id, write_jsonl
from model.checkpoint import AnyTokenizer, load_tokenizer
from model.sampling import Sampling
from model.text import ChoiceScorer, Sampler
from training.models import load_frozen
from training.options import Common, Flat, require, start
from training.stage import Stage
from world.people import helpful_votes, votes
from world.replies import drafts, draw, write
from world.requests import parse
from world.requests import prompts as world_prompts

#: Kinds of the worse reply of a written pair, whose better one helps. A refusal with a reason must
#: be told from help by the request alone, wrong steps and garbled ones by every word.
WORSE = {"reasoned": 0.24, "wrong": 0.34, "garbled": 0.34, "misfit": 0.02, "refused": 0.015,
         "evasive": 0.015, "scolding": 0.015, "boilerplate": 0.015}
#: Share of pairs with wrong or garbled steps that are two drafts of one reply.
DRAFTS = 0.7


@dataclass(frozen=True)
class Options:
    """Options of the comparison stage."""

    model: Path
    """Checkpoint folder of the SL-CAI model that replies."""
    judge: Path
    """Checkpoint folder of the feedback model (the paper: a pre-trained one)."""
    constitution: Path = Path("constitutions/small.toml")
    """Constitution whose feedback principles are drawn."""
    red_team: Path | None = None
    """File of red-team prompts; without it the embedded world's."""
    helpful: Path | None = None
    """File of helpfulness comparisons that people labelled; without it and without red_team the
    embedded world's."""
    red_team_pairs: int = 1500
    """Pairs on red-team prompts, at most."""
    helpful_pairs: int = 16_000
    """Helpfulness comparisons, at most."""
    written: float = 0.985
    """Share of the helpful pairs whose replies other writers wrote, well and badly."""
    principles: int = 1
    """Principles a pair is judged under, drawn anew for each (the paper: 1)."""
    both_orders: bool = True
    """Ask with either reply as (A) and average."""
    few_shot: bool = False
    """Show the constitution's worked examples first; the world's model has read such examples."""
    reasoning: bool = False
    """Let the feedback model reason before it answers (chain of thought)."""
    max_reasoning: int = 80
    """Longest reasoning, in tokens."""
    people: Literal["helpful", "all", "helpful_only"] = "helpful"
    """Whom people judge: helpful pairs; red-team pairs too; or both, by help alone (RLHF)."""
    noise: float = 0.05
    """Share of people's votes that go against what they see."""
    voters: int = 5
    """People who vote on a pair; the share of their votes is its target."""
    max_new: int = 48
    """Longest reply, in tokens."""
    temperature: float = 1.0
    """Sampling temperature of the replies."""
    rows: int = 128
    """Sequences decoded at a time."""
    common: Flat[Common] = field(default_factory=Common)

    def __post_init__(self) -> None:
        require(0 <= self.written <= 1, "written", self.written, "a share from 0 to 1")
        require(0 <= self.noise <= 0.5, "noise", self.noise, "0 to 0.5")
        require(self.red_team is None or self.people == "helpful", "people", self.people,
                "helpful: the world's people know nothing of the prompts of a file")
        for name in ("red_team_pairs", "helpful_pairs", "temperature"):
            require(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")
        for name in ("principles", "voters", "max_new", "max_reasoning", "rows"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")


def written_pairs(prompts: list[Prompt], seed: int) -> list[Comparison]:
    """Pairs by the world's writers, one a prompt: a reply that helps and one of less worth."""
    pairs = []
    for prompt in prompts:
        pair = record_id("written", [prompt.id], seed, 0)
        rng = random.Random(f"{seed}/{pair}")
        request, kind = parse(prompt.turns), draw(WORSE, rng)
        if kind in ("wrong", "garbled") and rng.random() < DRAFTS:
            replies = list(drafts(kind, request, rng))
        else:
            replies = [write("comply", request, rng), write(kind, request, rng)]
        rng.shuffle(replies)
        pairs.append(Comparison(pair, prompt.id, prompt.turns, prompt.kind, seed, 0,
                                tuple(replies), ()))
    return pairs


def asked_of_people(pairs: list[Comparison], options: Options) -> list[Comparison]:
    """`pairs` with the votes of the simulated people."""
    ask = helpful_votes if options.people == "helpful_only" else votes
    return [dataclasses.replace(pair, labels=(Label("people", ask(
        pair.turns, *pair.responses, f"{options.common.seed}/{pair.id}", options.noise,
        options.voters)),))
        for pair in pairs]


def fits(options: Options, constitution: Constitution, tokenizer: AnyTokenizer, context: int,
         judge: ChoiceScorer) -> Callable[[Sequence[str]], bool]:
    """Tells whether a dialogue with all that is written about it fits the context of the model
    that replies and that of the judge, each text at its longest.
    """
    def length(text: str) -> int:
        return len(judge.tokenizer.encode(text))

    question = longest_question(constitution, length, options.few_shot, options.reasoning)
    written = options.max_new * 2 + options.max_reasoning * options.reasoning

    def both(turns: Sequence[str]) -> bool:
        asked = formats.reply_prompt(turns)
        return (len(tokenizer.encode(asked)) + options.max_new <= context
                and length(asked) + question + written <= judge.model.config.context)

    return both


def judgeable(pairs: list[Comparison], options: Options, constitution: Constitution,
              judge: ChoiceScorer) -> list[Comparison]:
    """The pairs whose question fits the judge's context; how many do not is told on stderr.

    Replies are bounded in the tokens of the model that wrote them, and may be more of the judge's.
    """
    def length(text: str) -> int:
        return len(judge.tokenizer.encode(text))

    room = judge.model.config.context - options.max_reasoning * options.reasoning - (
        longest_question(constitution, length, options.few_shot, options.reasoning))
    kept = [pair for pair in pairs if room >= sum(map(length, (
        formats.reply_prompt(pair.turns), *pair.responses)))]
    if len(kept) < len(pairs):
        print(f"{options.judge}: left out {len(pairs) - len(kept)} of {len(pairs)} pairs, longer "
              "than the judge's context allows", file=sys.stderr)
    return kept


def main(options: Options) -> dict:
    """Sample pairs of replies and label them by AI feedback and by people."""
    stage = Stage("make_comparisons", __file__, options, options.common,
                  {"model": options.model, "judge": options.judge,
                   "constitution": options.constitution, "red_team": options.red_team,
                   "helpful": options.helpful})
    if stage.done:
        return stage.figures
    seed = options.common.seed
    constitution = load_constitution(options.constitution)
    require(options.principles <= len(constitution.feedback), "principles", options.principles,
            f"at most {len(constitution.feedback)}, the constitution's")
    model, tokenizer = load_frozen(options.model, options.common), load_tokenizer(options.model)
    judge = ChoiceScorer(load_frozen(options.judge, options.common), load_tokenizer(options.judge))
    red_team = (read_fitting(options.red_team, fits(options, constitution, tokenizer,
                                                    model.config.context, judge),
                             options.red_team_pairs) if options.red_team
                else world_prompts("cai", options.red_team_pairs, seed + 1000, "red_team"))
    by_people = (read_comparisons(options.helpful, options.helpful_pairs) if options.helpful
                 else [])
    helpful = ([] if options.red_team or options.helpful
               else world_prompts("cai", options.helpful_pairs, seed + 1000, "helpful"))
    by_writers = round(len(helpful) * options.written)
    total = 2 * (len(red_team) + len(helpful) - by_writers)
    with stage.log(total, unit="text") as log:
        sample = Sampler(model, tokenizer, Sampling(options.max_new, options.temperature),
                         formats.STOP, options.rows, log.advanced)
        harmlessness = sample_pairs(red_team, sample, seed=seed)
        helpfulness = [*written_pairs(helpful[:by_writers], seed),
                       *sample_pairs(helpful[by_writers:], sample, seed=seed)]
        if options.people == "helpful":
            harmlessness = judgeable(harmlessness, options, constitution, judge)
            reason = Sampler(judge.model, judge.tokenizer, Sampling(options.max_reasoning),
                             formats.STOP, options.rows)
            labels = label_pairs(harmlessness, constitution, judge, seed=seed,
                                 principles=options.principles, both_orders=options.both_orders,
                                 examples=options.few_shot,
                                 reason=reason if options.reasoning else None)
            harmlessness = [dataclasses.replace(pair, labels=each)
                            for pair, each in zip(harmlessness, labels, strict=True)]
        else:
            harmlessness = asked_of_people(harmlessness, options)
    helpfulness = [*by_people, *asked_of_people(helpfulness, options)]
    write_jsonl(stage.path / "comparisons.jsonl", [*harmlessness, *helpfulness])
    return stage.finish({"harmlessness": len(harmlessness), "helpfulness": len(helpfulness)})


if __name__ == "__main__":
    start(main, Options, (InputError,))
