"""From a Polis export to a constitution: python -m cai.collective --polis DIR --out X.toml

Writes X.toml and X.json and tells what each step left. Or: --diff A.toml B.toml
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cai.collective.build import Outcome, Settings, build
from cai.collective.clean import Rules
from cai.collective.diff import difference
from cai.collective.document import entries, merge, read_document, write_document
from cai.collective.group import IMPUTATIONS, PCAS
from cai.collective.read import read_ids, read_polis
from cai.collective.rewrite import Wording, rewrite, rewrite_by_model
from cai.collective.select import Choices, read_choices
from cai.collective.sensitivity import sensitivity, sensitivity_table
from cai.constitution import load_constitution
from cai.records import InputError
from model.errors import CheckpointError, PromptError


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser("python -m cai.collective", description=__doc__)
    add = parser.add_argument
    add("--polis", type=Path, metavar="DIR", help="folder of a Polis export")
    add("--out", type=Path, metavar="X.toml", help="constitution to write; X.json goes beside it")
    add("--diff", nargs=2, type=Path, metavar=("A.toml", "B.toml"),
        help="tell what two constitutions share, and what only one of them has")
    add("--drop", type=Path, metavar="FILE", help="participants to leave out, one id a line")
    add("--min-votes", type=int, default=0, metavar="N",
        help="only participants with more than N votes, on whatever statement (0)")
    add("--unmoderated", action="store_true",
        help="also statements that no moderator looked at")
    add("--groups", choices=("kmeans", "export", "published"), default="kmeans",
        help="find opinion groups, take the export's, or repeat the published processing, which "
             "mixes its labels up (kmeans)")
    add("--k", type=int, metavar="K", help="number of groups (2 to 5, by silhouette)")
    add("--imputation", choices=IMPUTATIONS, default="zero",
        help="what stands for a missing vote when groups are found (zero)")
    add("--pca", choices=PCAS, default="published",
        help="axes as in the published processing, or the usual ones, which three groups or more "
             "need (published)")
    add("--unsmoothed", action="store_true", help="consensus by A / N, not (A + 1) / (N + 2)")
    add("--threshold", type=float, default=0.723, metavar="T",
        help="least group-aware consensus (0.723)")
    add("--top", type=int, metavar="N",
        help="the N most shared statements, in place of --threshold")
    add("--alike", type=float, default=0.6, metavar="S",
        help="similarity from which two statements are one, above 1 for never (0.6)")
    add("--choices", type=Path, metavar="FILE",
        help="TOML with statement ids: drop and keep (lists), same and different (lists of pairs)")
    add("--rounds", type=int, default=1000, metavar="N", help="bootstrap rounds (1000)")
    add("--seed", type=int, default=0, help="seed of groups and intervals (0)")
    add("--model", type=Path, metavar="DIR", help="checkpoint that rewrites the statements")
    add("--overwrite", action="store_true", help="forget what was edited by hand in X.toml")
    add("--figure", type=Path, metavar="X.png", help="draw groups, consensus and what divides")
    add("--sensitivity", type=Path, metavar="X.md",
        help="write how the selection changes with every choice")
    given = parser.parse_args(arguments)
    if not given.diff and not (given.polis and given.out):
        parser.error("expected --polis DIR and --out X.toml, or --diff A.toml B.toml")
    for name, least in (("min_votes", 0), ("k", 1), ("top", 1), ("rounds", 1)):
        value = getattr(given, name)
        if value is not None and value < least:
            parser.error(f"found --{name.replace('_', '-')} {value}, expected at least {least}")
    if given.out and given.out.suffix != ".toml":
        parser.error(f"found --out {given.out}, expected a name that ends in .toml")
    return given


def settings_of(given: argparse.Namespace) -> Settings:
    """The settings that the command line asks for."""
    rules = Rules(read_ids(given.drop) if given.drop else frozenset(), given.min_votes,
                  given.unmoderated)
    choices = read_choices(given.choices) if given.choices else Choices()
    return Settings(rules, given.groups, given.k, given.imputation, given.pca,
                    not given.unsmoothed, given.threshold, given.top, given.alike, choices,
                    given.rounds, given.seed)


def words_of(statements: Sequence[str], model: Path | None, seed: int) -> list[Wording]:
    """Each statement reworded, by the model where there is one."""
    if model is None:
        return list(map(rewrite, statements))
    from model.checkpoint import load_model, load_tokenizer
    from model.sampling import Sampling
    from model.text import Sampler
    sample = Sampler(load_model(model).eval(), load_tokenizer(model), Sampling(120), "\n\n", 16)
    return rewrite_by_model(statements, sample, seed)


def tell(outcome: Outcome, settings: Settings) -> None:
    """What every step left, on the standard output."""
    conversation, selection = outcome.conversation, outcome.selection
    texts = {each.id: each.text for each in conversation.statements}
    for count in outcome.counts:
        print(f"{count.rule}: {count.participants} participants, {count.statements} statements")
    print("votes on them: {} agree, {} disagree, {} pass".format(
        *((conversation.votes == value).sum() for value in (1, -1, 0))))
    print(f"groups: {' and '.join(map(str, outcome.grouping.sizes))}",
          *(f"silhouette of {k}: {score:.3f}" for k, score in outcome.grouping.silhouettes.items()),
          sep="; ")
    above = np.array([each.id in selection.above for each in conversation.statements])
    wholly = outcome.intervals[:, 0] >= settings.threshold
    print(f"{len(selection.above)} statements " + (
        f"at or above {settings.threshold:g}; {int((above & wholly).sum())} of them with the whole "
        "interval" if settings.top is None else "taken"))
    for pair in selection.duplicates:
        print(f"alike {pair.score:.2f}: {pair.dropped} dropped  {texts[pair.dropped]}\n"
              f"{'':12}{pair.kept} kept     {texts[pair.kept]}")
    print(f"selected: {len(selection.selected)}")


def collect(given: argparse.Namespace) -> None:
    """Read, clean, group, agree, select, rewrite, write. InputError where hand edits conflict."""
    settings = settings_of(given)
    conversation = read_polis(given.polis)
    outcome = build(conversation, settings)
    tell(outcome, settings)
    selected = outcome.selection.selected
    texts = {each.id: each.text for each in outcome.conversation.statements}
    wordings = words_of([texts[each] for each in selected], given.model, given.seed)
    print("reworded:", ", ".join(f"{rule} {count}" for rule, count in
                                 Counter(wording.rule for wording in wordings).most_common()))
    beside = given.out.with_suffix(".json")
    old = {} if given.overwrite else read_document(given.out)
    before = json.loads(beside.read_text("utf-8"))["selected"] if old and beside.exists() else ()
    document, kept, conflicts = merge(
        entries(wordings, [outcome.origin(each) for each in selected]), old, before)
    for each in kept:
        print(f"kept as edited by hand: {each}")
    for each in conflicts:
        print(f"conflict: {each}", file=sys.stderr)
    if conflicts:
        raise InputError(f"{given.out}: found {len(conflicts)} conflicts with edits by hand, "
                         "expected none; nothing was written")
    write_document(given.out, document)
    beside.write_text(json.dumps(outcome.report(), indent=1) + "\n", encoding="utf-8")
    if given.figure:
        from cai.collective.look import draw
        draw(given.figure, outcome, settings.threshold)
    if given.sensitivity:
        text = sensitivity_table(sensitivity(conversation, settings))
        given.sensitivity.write_text(text + "\n", encoding="utf-8")
        print(text)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 2 where the input is bad, told in one line."""
    given = options(arguments)
    try:
        if given.diff:
            first, second = ([each.principle for each in load_constitution(path).feedback]
                             for path in given.diff)
            print(difference(first, second))
        else:
            collect(given)
    except (InputError, CheckpointError, PromptError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
