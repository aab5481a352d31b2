"""Chains of critique and revision: the supervised stage's data (section 3.1 of the paper)."""

import dataclasses
from collections.abc import Callable, Sequence

from cai import formats
from cai.constitution import Constitution, RevisionPrinciple, examples_for
from cai.keys import named_generator, noise_key
from cai.records import Prompt, Revision, Step, record_id

Sample = Callable[[list[str], list[str]], list[str]]
"""(prompts, noise keys) -> one text a prompt, without leading space, cut at the first stop."""


def make_chains(prompts: Sequence[Prompt], constitution: Constitution, sample: Sample, *,
                seed: int, steps: int = 4, draws: int = 1, critiques: bool = True,
                examples: bool = True, criticise: Sample | None = None) -> list[Revision]:
    """One Revision per prompt and draw, prompt by prompt; a helpful prompt's chain has no steps.

    Every step draws its principle anew from all of the constitution's (sections 3.1 and 3.4: four
    steps, sixteen principles). `critiques=False` asks for revisions directly (section 3.5);
    `criticise` writes the critiques where another model than `sample`'s is to.
    All chains take a step together, so `sample` sees each step as one batch.
    ValueError: a count below its range, or steps wanted of a constitution without principles.
    """
    if steps < 0 or draws < 1:
        raise ValueError(f"found steps {steps} and draws {draws}, expected from 0 and from 1")
    if steps and not constitution.revisions:
        raise ValueError("found no [[revision]] principle in the constitution, expected some")
    chains = [
        Revision(record_id("revision", [prompt.id], seed, draw), prompt.id, prompt.turns,
                 prompt.kind, seed, draw, response="", steps=())
        for prompt in prompts for draw in range(draws)
    ]
    responses = sample([formats.reply_prompt(chain.turns) for chain in chains],
                       [noise_key(seed, chain.id, "response") for chain in chains])
    chains = [dataclasses.replace(chain, response=response)
              for chain, response in zip(chains, responses, strict=True)]
    revised = [index for index, chain in enumerate(chains) if chain.kind == "red_team"]
    for number in range(steps if revised else 0):
        longer = _take_step([chains[index] for index in revised], number, constitution, sample,
                            criticise or sample, critiques, examples)
        for index, chain in zip(revised, longer, strict=True):
            chains[index] = chain
    return chains


def longest_step(constitution: Constitution, length: Callable[[str], int],
                 critiques: bool = True, examples: bool = True) -> int:
    """Tokens, by `length`, of the longest prompt that a step can show of a dialogue without text.

    With those of the dialogue, the response and the critique: no less than any step's prompt has.
    """
    return max(length(formats.revision_prompt(
        ("",), "", "" if critiques else None, principle,
        _documents(constitution, principle, critiques) if examples else ()))
        for principle in constitution.revisions)


def _take_step(chains: list[Revision], number: int, constitution: Constitution, sample: Sample,
               criticise: Sample, critiques: bool, examples: bool) -> list[Revision]:
    principles = [
        named_generator(chain.seed, chain.id, number, "principle").choice(constitution.revisions)
        for chain in chains
    ]
    shown = [_documents(constitution, principle, critiques) if examples else ()
             for principle in principles]
    written: list[str | None] = [None] * len(chains)
    if critiques:
        written = list(criticise(
            [formats.critique_prompt(chain.turns, chain.texts[-1], principle, documents)
             for chain, principle, documents in zip(chains, principles, shown, strict=True)],
            [noise_key(chain.seed, chain.id, number, "critique") for chain in chains]))
    revisions = sample(
        [formats.revision_prompt(chain.turns, chain.texts[-1], critique, principle, documents)
         for chain, critique, principle, documents
         in zip(chains, written, principles, shown, strict=True)],
        [noise_key(chain.seed, chain.id, number, "revision") for chain in chains])
    return [
        dataclasses.replace(chain, steps=(*chain.steps, Step(principle.id, critique, revision)))
        for chain, principle, critique, revision
        in zip(chains, principles, written, revisions, strict=True)
    ]


def _documents(constitution: Constitution, principle: RevisionPrinciple,
               critiques: bool) -> tuple[str, ...]:
    """The few-shot examples as whole documents, without their critiques where none is asked for."""
    return tuple(
        formats.document_critique(example.turns, example.response, example.principle,
                                  example.critique if critiques else None, example.revision)
        for example in examples_for(constitution.critique_examples, principle)
    )
