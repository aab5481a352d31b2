"""AI feedback: which of two replies is better, by multiple choice (section 4.1)."""

import dataclasses
from collections.abc import Callable, Sequence

from cai import formats
from cai.constitution import Constitution, FeedbackExample, FeedbackPrinciple, examples_for
from cai.critique_revision import Sample
from cai.keys import named_generator, noise_key
from cai.records import Comparison, Label, Prompt, record_id
from cai.targets import label_preference

ChoiceScore = Callable[[list[str], tuple[str, ...]], list[tuple[float, ...]]]
"""(prompts, choices) -> for each prompt the log-prob of every choice as its continuation."""


Fits = Callable[[str, Sequence[str]], bool]
"""(prompt, choices) -> whether both, and what is yet to be written between, fit the context."""


@dataclasses.dataclass(frozen=True)
class Judge:
    """A model that chooses; `reason` writes its reasoning first where it is to have one."""

    score: ChoiceScore
    fits: Fits
    reason: Sample | None = None


@dataclasses.dataclass(frozen=True)
class _Question:
    """One pair under one principle in one order."""

    pair: Comparison
    principle: FeedbackPrinciple
    swapped: bool
    documents: tuple[str, ...]

    @property
    def shown(self) -> tuple:
        """What every feedback format takes first: turns, (A), (B), principle."""
        first, second = self.pair.responses
        if self.swapped:
            first, second = second, first
        return self.pair.turns, first, second, self.principle


def sample_pairs(prompts: Sequence[Prompt], sample: Sample, *, seed: int,
                 draws: int = 1) -> list[Comparison]:
    """Two replies a prompt and draw, as comparisons without labels (section 4.1)."""
    pairs = [
        Comparison(record_id("comparison", [prompt.id], seed, draw), prompt.id, prompt.turns,
                   prompt.kind, seed, draw, responses=("", ""), labels=())
        for prompt in prompts for draw in range(draws)
    ]
    asked = [(formats.reply_prompt(pair.turns), noise_key(seed, pair.id, "response", side))
             for pair in pairs for side in (0, 1)]
    replies = sample([prompt for prompt, _ in asked], [key for _, key in asked])
    return [dataclasses.replace(pair, responses=both)
            for pair, both in zip(pairs, zip(replies[::2], replies[1::2], strict=True),
                                  strict=True)]


def label_pairs(pairs: Sequence[Comparison], constitution: Constitution, score: ChoiceScore, *,
                seed: int, principles: int = 1, both_orders: bool = True, examples: bool = True,
                reason: Sample | None = None) -> list[tuple[Label, ...]]:
    """The labels of each pair, one a principle, each with the raw log-probs of every order.

    `principles` are drawn from the constitution for each pair, without replacement (the paper: 1).
    With `both_orders` each is asked with either reply as (A), which cancels a liking for a letter;
    otherwise in one order, drawn. `reason` writes a reasoning first (chain of thought).
    The few-shot examples are the same in both orders, each under a principle drawn for it.
    ValueError: more principles than there are, or fewer than one.
    """
    if not 1 <= principles <= len(constitution.feedback):
        raise ValueError(f"found {principles} principles a pair, expected 1 to "
                         f"{len(constitution.feedback)}, as many as the constitution has")
    questions = [question for pair in pairs for question in _questions(
        pair, constitution, seed, principles, both_orders, examples, reason is not None)]
    if reason is None:
        reasonings = None
        prompts = [formats.feedback_prompt(*q.shown, q.documents) for q in questions]
    else:
        reasonings = reason(
            [formats.reasoning_prompt(*q.shown, q.documents) for q in questions],
            [noise_key(seed, q.pair.id, q.principle.id, q.swapped, "reasoning")
             for q in questions])
        prompts = [formats.reasoned_prompt(*q.shown, text, q.documents)
                   for q, text in zip(questions, reasonings, strict=True)]
    scores = score(prompts, formats.CHOICES)
    if len(scores) != len(questions):
        raise ValueError(f"found {len(scores)} scores, expected {len(questions)}")

    orders = 2 if both_orders else 1
    labels = [
        _label(questions[start:start + orders], scores[start:start + orders],
               reasonings[start:start + orders] if reasonings is not None else ())
        for start in range(0, len(questions), orders)
    ]
    return [tuple(labels[start:start + principles]) for start in range(0, len(labels), principles)]


def askable(pairs: Sequence[Comparison], constitution: Constitution, judge: Judge, *, seed: int,
            principles: int = 1, examples: bool = True) -> list[Comparison]:
    """The pairs of which every question that `label_pairs` asks in both orders fits the judge."""
    def fits(question: _Question) -> bool:
        prompt = (formats.feedback_prompt(*question.shown, question.documents)
                  if judge.reason is None else
                  formats.reasoned_prompt(*question.shown, "", question.documents))
        return judge.fits(prompt, formats.CHOICES)

    return [pair for pair in pairs if all(map(fits, _questions(
        pair, constitution, seed, principles, True, examples, judge.reason is not None)))]


def longest_question(constitution: Constitution, length: Callable[[str], int],
                     examples: bool = True, reasoned: bool = False) -> int:
    """Tokens, by `length`, of the longest question that a pair without text can be asked.

    With those of the dialogue, both replies and the reasoning: no less than any question has.
    """
    def asked(principle: FeedbackPrinciple) -> int:
        shown = (("",), "", "", principle)
        question = (formats.reasoned_prompt(*shown, "") if reasoned
                    else formats.feedback_prompt(*shown))
        held = examples_for(_held(constitution, reasoned), principle) if examples else []
        return length(question) + sum(
            max(length(_document(example, drawn, reasoned))
                for drawn in example.principles or constitution.feedback) for example in held)

    return max(map(asked, constitution.feedback)) + max(map(length, formats.CHOICES))


def _questions(pair: Comparison, constitution: Constitution, seed: int, principles: int,
               both_orders: bool, examples: bool, reasoned: bool) -> list[_Question]:
    generator = named_generator(seed, pair.id, "principles")
    questions = []
    for principle in generator.sample(constitution.feedback, principles):
        documents = _documents(constitution, principle, seed, pair.id, reasoned) if examples else ()
        swapped = named_generator(seed, pair.id, principle.id, "order").random() < 0.5
        orders = (False, True) if both_orders else (swapped,)
        questions += [_Question(pair, principle, order, documents) for order in orders]
    return questions


def _documents(constitution: Constitution, principle: FeedbackPrinciple, seed: int, pair_id: str,
               reasoned: bool) -> tuple[str, ...]:
    """The few-shot examples as whole documents, each under a principle drawn for it alone."""
    generator = named_generator(seed, pair_id, principle.id, "examples")
    return tuple(
        _document(example, generator.choice(example.principles or constitution.feedback), reasoned)
        for example in examples_for(_held(constitution, reasoned), principle))


def _held(constitution: Constitution, reasoned: bool) -> tuple[FeedbackExample, ...]:
    return constitution.reasoning_examples if reasoned else constitution.feedback_examples


def _document(example: FeedbackExample, principle: FeedbackPrinciple, reasoned: bool) -> str:
    shown = (example.turns, example.first, example.second, principle)
    if reasoned:
        return formats.document_reasoning(*shown, example.reasoning, example.answer)
    return formats.document_comparison(*shown, example.answer)


def _label(questions: list[_Question], scores: list[tuple[float, ...]],
           reasonings: Sequence[str]) -> Label:
    """The label of one principle; a row of log-probs is turned back where the order was swapped."""
    rows = tuple((b, a) if question.swapped else (a, b)
                 for question, (a, b) in zip(questions, scores, strict=True))
    label = Label("model", 0.5, questions[0].principle.id, rows,
                  tuple(question.swapped for question in questions), tuple(reasonings))
    return dataclasses.replace(label, preference=label_preference(label))
