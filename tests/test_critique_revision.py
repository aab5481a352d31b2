"""Chains: length, principles, batches, keys. The sampler answers with its key."""

import dataclasses
from collections import Counter

import pytest

from cai.constitution import (
    Constitution,
    CritiqueExample,
    RevisionPrinciple,
)
from cai.critique_revision import longest_step, make_chains
from cai.records import Prompt

PRINCIPLES = tuple(RevisionPrinciple(f"p{i}", f"critique by {i}?", f"revise by {i}!")
                   for i in range(4))
EXAMPLE = CritiqueExample(("shown",), "shown response", PRINCIPLES[0], "shown critique",
                          "shown revision")
CONSTITUTION = Constitution(PRINCIPLES, (), (EXAMPLE,))
PROMPTS = [Prompt(f"id{i}", (f"question {i}",), "red_team") for i in range(3)]
HELPFUL = Prompt("help", ("plain question",), "helpful")


class Recorder:
    """A sampler whose text is a function of its key alone; it keeps what it was asked."""

    def __init__(self):
        self.batches = []

    def __call__(self, prompts, keys):
        self.batches.append((list(prompts), list(keys)))
        return [f"<{key}>" for key in keys]


def run(prompts=PROMPTS, constitution=CONSTITUTION, **options):
    sample = Recorder()
    return make_chains(prompts, constitution, sample, **({"seed": 5} | options)), sample.batches


def test_one_chain_a_prompt_and_draw_with_the_steps_asked_for():
    for steps in (0, 1, 4):
        chains, batches = run(steps=steps, draws=2)
        assert [(c.prompt, c.draw) for c in chains] == [
            (f"id{i}", draw) for i in range(3) for draw in (0, 1)]
        assert all(len(chain.steps) == steps and chain.seed == 5 for chain in chains)
        assert len({chain.id for chain in chains}) == 6
        assert len(batches) == 1 + 2 * steps
        assert all(len(prompts) == len(keys) == 6 for prompts, keys in batches)


def test_every_text_is_put_where_the_next_prompt_and_the_record_need_it():
    (chain,), batches = run(PROMPTS[:1], steps=2, examples=False)
    by_id = {principle.id: principle for principle in PRINCIPLES}
    response = chain.response
    assert batches[0][0] == ["\n\nHuman: question 0\n\nAssistant:"]
    for step, ((critique_prompt,), _), ((revision_prompt,), _) in zip(
            chain.steps, batches[1::2], batches[2::2], strict=True):
        principle = by_id[step.principle]
        assert critique_prompt == (
            f"\n\nHuman: question 0\n\nAssistant: {response}"
            f"\n\nCritiqueRequest: {principle.critique_request}\n\nCritique:")
        assert revision_prompt == (
            f"{critique_prompt} {step.critique}"
            f"\n\nRevisionRequest: {principle.revision_request}\n\nRevision:")
        response = step.revision
    assert chain.texts[-1] == chain.steps[1].revision
    assert dataclasses.replace(chain, steps=()).texts[-1] == chain.response


def test_without_critiques():
    chains, batches = run(steps=3, critiques=False)
    assert len(batches) == 4
    assert all(step.critique is None for chain in chains for step in chain.steps)
    assert not any("Critique" in prompt or "shown critique" in prompt
                   for prompts, _ in batches for prompt in prompts)
    assert all("shown revision" in prompt for prompt in batches[1][0])


def test_every_noise_key_is_its_own():
    _, batches = run([*PROMPTS, HELPFUL], steps=4, draws=3)
    keys = [key for _, each in batches for key in each]
    assert len(set(keys)) == len(keys) == 9 * 9 + 3
    other, _ = run([*PROMPTS, HELPFUL], seed=6)
    assert not {chain.response for chain in other} & {f"<{key}>" for key in keys}


def test_a_helpful_prompt_has_no_steps_and_meets_no_principle():
    chains, batches = run([PROMPTS[0], HELPFUL, PROMPTS[1]], steps=2, draws=2)
    assert [len(chain.steps) for chain in chains] == [2, 2, 0, 0, 2, 2]
    assert not any("plain question" in p for prompts, _ in batches[1:] for p in prompts)
    only, batches = run([HELPFUL], Constitution((), ()), steps=0)
    assert len(batches) == 1 and only[0].steps == ()


def test_a_chain_is_the_same_alone_and_in_company():
    together, _ = run([*PROMPTS, HELPFUL], draws=2)
    alone = [chain for prompt in (*PROMPTS, HELPFUL) for chain in run([prompt], draws=2)[0]]
    assert together == alone


def test_principles_are_drawn_anew_evenly_and_with_replacement():
    prompts = [Prompt(f"id{i}", ("q",), "red_team") for i in range(1000)]
    chains, _ = run(prompts, steps=4)
    for number in range(4):
        counts = Counter(chain.steps[number].principle for chain in chains)
        assert set(counts) == {"p0", "p1", "p2", "p3"}
        assert max(abs(count - 250) for count in counts.values()) < 5 * (250 * 0.75) ** 0.5
    repeats = sum(a.principle == b.principle
                  for chain in chains for a, b in zip(chain.steps, chain.steps[1:], strict=False))
    assert abs(repeats - 750) < 5 * (750 * 0.75) ** 0.5


def test_a_principle_with_examples_of_its_own_shows_them():
    own = dataclasses.replace(EXAMPLE, response="private words", own_to="p1")
    chains, batches = run([Prompt(f"id{i}", ("q",), "red_team") for i in range(40)],
                          Constitution(PRINCIPLES, (), (EXAMPLE, own)), steps=1)
    for chain, prompt in zip(chains, batches[1][0], strict=True):
        assert ("private words" in prompt) == (chain.steps[0].principle == "p1")
        assert ("shown response" in prompt) == (chain.steps[0].principle != "p1")


def test_impossible_options_are_refused():
    for options in ({"steps": -1}, {"draws": 0}):
        with pytest.raises(ValueError, match="expected"):
            run(**options)
    with pytest.raises(ValueError, match="principle"):
        run(constitution=Constitution((), ()))


@pytest.mark.parametrize("critiques", [False, True])
@pytest.mark.parametrize("examples", [False, True])
def test_the_longest_step_is_the_longest_that_is_asked(critiques, examples):
    wordy = RevisionPrinciple("wordy", "criticise at length?", "revise at greater length!")
    constitution = Constitution((*PRINCIPLES, wordy), (), (EXAMPLE,))
    asked = []

    def sample(prompts, keys):
        asked.extend(prompts)
        return ["ten chars."] * len(prompts)

    make_chains([Prompt("id", ("question",), "red_team")], constitution, sample, seed=5, draws=20,
                critiques=critiques, examples=examples)
    written = len("question") + 10 * (1 + critiques)
    assert max(map(len, asked)) == written + longest_step(constitution, len, critiques, examples)
