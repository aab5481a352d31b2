"""Multiple choice by log-probability: a model's accuracy, after a reasoning of its own or at once.

Pure: what scores the options and what writes the reasoning are given.
"""

import collections
from collections.abc import Callable, Sequence
from pathlib import Path

from cai import formats
from cai.evaluation import Report, Share, table
from cai.feedback import Judge
from cai.keys import noise_key
from cai.kinds.choices import Choice
from cai.readers import find, tell_skipped
from cai.records import InputError


def read_choices(path: str | Path) -> list[Choice]:
    """The questions of a file that have a right option. InputError: none has, or as for `find`."""
    found = find(path, "choices")
    tell_skipped(path, found)
    return with_answer(path, found.records)


def with_answer(path: str | Path, choices: Sequence[Choice]) -> list[Choice]:
    """The questions that have a right option. InputError: none has."""
    known = [choice for choice in choices if choice.correct is not None]
    if not known:
        raise InputError(f"{path}: found no question with a right option, expected some")
    return known


def fits(choice: Choice, model: Judge) -> bool:
    """Whether a question, with the reasoning that may be written, fits the model's context."""
    prompt = choice.prompt if model.reason is None else formats.thought_prompt(choice.prompt, "")
    return model.fits(prompt, choice.options)


def chosen(choices: Sequence[Choice], model: Judge, seed: int) -> list[int]:
    """The place of the likeliest option of each question, after the reasoning if there is one."""
    prompts = [choice.prompt for choice in choices]
    if model.reason is not None:
        written = model.reason(list(map(formats.thinking_prompt, prompts)),
                               [noise_key(seed, prompt, "reasoning") for prompt in prompts])
        prompts = list(map(formats.thought_prompt, prompts, written))
    by_options: dict[tuple[str, ...], list[int]] = collections.defaultdict(list)
    for number, choice in enumerate(choices):
        by_options[choice.options].append(number)
    places = [0] * len(choices)
    for options, numbers in by_options.items():
        scores = model.score([prompts[number] for number in numbers], options)
        for number, row in zip(numbers, scores, strict=True):
            places[number] = row.index(max(row))
    return places


def answered(choices: Sequence[Choice], model: Judge, seed: int = 0) -> list[bool]:
    """Whether the likeliest option of each question is the right one."""
    return [place == choice.correct
            for place, choice in zip(chosen(choices, model, seed), choices, strict=True)]


def measured_on(path: str | Path, seed: int) -> Callable[[Judge], Report]:
    """Reads a file; then measures a model on the questions that fit it. InputError: none does."""
    choices = read_choices(path)

    def measure(model: Judge) -> Report:
        kept = [choice for choice in choices if fits(choice, model)]
        if not kept:
            raise InputError(f"{path}: found no question that fits the model's context, "
                             "expected some")
        return choice_report(kept, answered(kept, model, seed), len(choices) - len(kept))

    return measure


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
