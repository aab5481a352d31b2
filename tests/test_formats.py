"""Formats: the text of each, exactly, and prompts as heads of whole documents."""

from cai import formats
from cai.constitution import FeedbackPrinciple, RevisionPrinciple

TURNS = ("Hi.", "Yes?", "Help me.")
REVISE = RevisionPrinciple("r", "What is wrong?", "Mend it.")
CHOOSE = FeedbackPrinciple("f", "Choose the better.")
TALK = "\n\nHuman: Hi.\n\nAssistant: Yes?\n\nHuman: Help me."


def test_the_text_of_each_prompt():
    assert formats.reply_prompt(TURNS) == TALK + "\n\nAssistant:"
    critique = TALK + "\n\nAssistant: No.\n\nCritiqueRequest: What is wrong?\n\nCritique:"
    assert formats.critique_prompt(TURNS, "No.", REVISE) == critique
    assert formats.revision_prompt(TURNS, "No.", "Bad.", REVISE) == (
        critique + " Bad.\n\nRevisionRequest: Mend it.\n\nRevision:")
    assert formats.revision_prompt(TURNS, "No.", None, REVISE) == (
        TALK + "\n\nAssistant: No.\n\nRevisionRequest: Mend it.\n\nRevision:")
    question = ("\n\nConsider:" + TALK + "\n\nPrinciple: Choose the better."
                "\n\nOptions:\n(A) No.\n(B) Sure.")
    assert formats.feedback_prompt(TURNS, "No.", "Sure.", CHOOSE) == (
        question + "\n\nThe answer is:")
    thinking = question + "\n\nLet's think step by step:"
    assert formats.reasoning_prompt(TURNS, "No.", "Sure.", CHOOSE) == thinking
    assert formats.reasoned_prompt(TURNS, "No.", "Sure.", CHOOSE, "Hm.") == (
        thinking + " Hm.\n\nThe answer is:")
    assert formats.CHOICES == (" (A)", " (B)")


def test_a_prompt_and_its_text_are_the_head_of_the_document():
    assert formats.document_conversation(TURNS, "No.") == formats.reply_prompt(TURNS) + " No."
    assert formats.document_retelling(TURNS, "He asks.") == TALK + "\n\nHe asks."
    assert formats.document_voted(TURNS, "No.", 7) == (
        "\n\nConsider:" + TALK + "\n\nAssistant: No.\n\nVotes: 7")
    whole = formats.document_critique(TURNS, "No.", REVISE, "Bad.", "Good.")
    assert whole == formats.revision_prompt(TURNS, "No.", "Bad.", REVISE) + " Good."
    assert whole.startswith(formats.critique_prompt(TURNS, "No.", REVISE) + " Bad.")
    direct = formats.document_critique(TURNS, "No.", REVISE, None, "Good.")
    assert direct == formats.revision_prompt(TURNS, "No.", None, REVISE) + " Good."
    for answer, letter in enumerate("AB"):
        assert formats.document_comparison(TURNS, "a", "b", CHOOSE, answer) == (
            formats.feedback_prompt(TURNS, "a", "b", CHOOSE) + f" ({letter})")
        assert formats.document_reasoning(TURNS, "a", "b", CHOOSE, "Hm.", answer) == (
            formats.reasoned_prompt(TURNS, "a", "b", CHOOSE, "Hm.") + f" ({letter})")


def test_examples_come_first_and_change_nothing_else():
    shots = ("\n\nHuman: one", "\n\nHuman: two")
    for prompt in (
        lambda e: formats.critique_prompt(TURNS, "No.", REVISE, e),
        lambda e: formats.revision_prompt(TURNS, "No.", "Bad.", REVISE, e),
        lambda e: formats.revision_prompt(TURNS, "No.", None, REVISE, e),
        lambda e: formats.feedback_prompt(TURNS, "a", "b", CHOOSE, e),
        lambda e: formats.reasoning_prompt(TURNS, "a", "b", CHOOSE, e),
        lambda e: formats.reasoned_prompt(TURNS, "a", "b", CHOOSE, "Hm.", e),
    ):
        assert prompt(shots) == "".join(shots) + prompt(())


def test_every_heading_of_a_document_stops_a_sampled_text():
    whole = (formats.document_critique(TURNS, "x", REVISE, "x", "x")
             + formats.document_reasoning(TURNS, "x", "x", CHOOSE, "x", 0))
    headings = [part.split(":")[0] for part in whole.split("\n\n")[1:]]
    missing = [head for head in headings if f"\n\n{head}:" not in formats.STOP]
    assert missing == ["Let's think step by step"]
