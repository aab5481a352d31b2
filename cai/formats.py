"""Every prompt format, in one file: what a model is shown, and the whole documents it learnt from.

A prompt ends just before the text that is asked for, and that text follows after one space. So
`prompt + " " + text` is also the head of the whole document, token for token. Few-shot examples are
whole documents put in front (section 3.1 and appendix E of the paper).
"""

from collections.abc import Sequence

from cai.constitution import FeedbackPrinciple, RevisionPrinciple

CHOICES = (" (A)", " (B)")
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

STOP = tuple(f"\n\n{head}:" for head in (
    "Human", "Assistant", "CritiqueRequest", "Critique", "RevisionRequest", "Revision",
    "Consider", "Principle", "Options", "The answer is"))
"""A sampled text of any kind ends before the first of these, or at the end token."""


def conversation(turns: Sequence[str]) -> str:
    """The dialogue so far. Turns alternate human, assistant, human, ..."""
    names = ("Human", "Assistant")
    return "".join(f"\n\n{names[i % 2]}: {turn}" for i, turn in enumerate(turns))


def reply_prompt(turns: Sequence[str]) -> str:
    """Asks for the assistant's next turn."""
    return conversation(turns) + "\n\nAssistant:"


def critique_prompt(turns: Sequence[str], response: str, principle: RevisionPrinciple,
                    examples: Sequence[str] = ()) -> str:
    """Asks what is wrong with a response under a principle (section 3.1)."""
    return ("".join(examples) + reply_prompt(turns) + f" {response}"
            f"\n\nCritiqueRequest: {principle.critique_request}\n\nCritique:")


def revision_prompt(turns: Sequence[str], response: str, critique: str | None,
                    principle: RevisionPrinciple, examples: Sequence[str] = ()) -> str:
    """Asks for the better response: after its critique, or directly where `critique` is None."""
    if critique is None:
        before = "".join(examples) + reply_prompt(turns) + f" {response}"
    else:
        before = critique_prompt(turns, response, principle, examples) + f" {critique}"
    return before + f"\n\nRevisionRequest: {principle.revision_request}\n\nRevision:"


def feedback_prompt(turns: Sequence[str], first: str, second: str, principle: FeedbackPrinciple,
                    examples: Sequence[str] = ()) -> str:
    """Asks which of two responses to choose (section 4.1); CHOICES continue it."""
    return _question(turns, first, second, principle, examples) + "\n\nThe answer is:"


def reasoning_prompt(turns: Sequence[str], first: str, second: str, principle: FeedbackPrinciple,
                     examples: Sequence[str] = ()) -> str:
    """Asks for the reasoning that comes before the choice (chain of thought, section 4.1)."""
    return _question(turns, first, second, principle, examples) + "\n\nLet's think step by step:"


def reasoned_prompt(turns: Sequence[str], first: str, second: str, principle: FeedbackPrinciple,
                    reasoning: str, examples: Sequence[str] = ()) -> str:
    """Asks for the choice after a reasoning that was given; CHOICES continue it."""
    asked = reasoning_prompt(turns, first, second, principle, examples)
    return f"{asked} {reasoning}\n\nThe answer is:"


def options_prompt(question: str, options: Sequence[str]) -> str:
    """Asks the assistant to choose among options; their letters, as " (A)", continue it."""
    listed = "\n".join(f" ({letter}) {option}"
                       for letter, option in zip(LETTERS, options, strict=False))
    return reply_prompt((f"{question}\n\nOptions:\n{listed}",))


def thinking_prompt(asked: str) -> str:
    """Asks for the reasoning that comes before the choice among options: `asked` opens a reply or
    ends in "The answer is:", in whose place it stands (appendix B of the paper).
    """
    head = asked.removesuffix("The answer is:").rstrip()
    return head + (" " if head.endswith("Assistant:") else "\n\n") + "Let's think step by step:"


def thought_prompt(asked: str, reasoning: str) -> str:
    """Asks for the choice among options after a reasoning that was given; the options continue it.
    """
    return f"{thinking_prompt(asked)} {reasoning}\n\nThe answer is:"


def document_conversation(turns: Sequence[str], reply: str) -> str:
    """A whole conversation that ends on the assistant's reply."""
    return reply_prompt(turns) + f" {reply}"


def document_retelling(turns: Sequence[str], text: str) -> str:
    """A dialogue and what is said of it by one who takes no part."""
    return conversation(turns) + f"\n\n{text}"


def document_critique(turns: Sequence[str], response: str, principle: RevisionPrinciple,
                      critique: str | None, revision: str) -> str:
    """A whole worked critique and revision; without the critique where it is None."""
    return revision_prompt(turns, response, critique, principle) + f" {revision}"


def document_comparison(turns: Sequence[str], first: str, second: str,
                        principle: FeedbackPrinciple, answer: int) -> str:
    """A whole worked choice; `answer` 0 is (A), the first, and 1 is (B), the second."""
    return feedback_prompt(turns, first, second, principle) + CHOICES[answer]


def document_reasoning(turns: Sequence[str], first: str, second: str,
                       principle: FeedbackPrinciple, reasoning: str, answer: int) -> str:
    """A whole worked choice with the reasoning before it."""
    return reasoned_prompt(turns, first, second, principle, reasoning) + CHOICES[answer]


def document_voted(turns: Sequence[str], reply: str, votes: int) -> str:
    """A conversation that others look at, and how many votes its last reply got."""
    return f"\n\nConsider:{document_conversation(turns, reply)}\n\nVotes: {votes}"


def _question(turns: Sequence[str], first: str, second: str, principle: FeedbackPrinciple,
              examples: Sequence[str]) -> str:
    return ("".join(examples) + "\n\nConsider:" + conversation(turns)
            + f"\n\nPrinciple: {principle.principle}\n\nOptions:\n(A) {first}\n(B) {second}")
