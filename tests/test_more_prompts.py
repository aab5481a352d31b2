"""Prompts written few-shot: what the list shows, what is kept, what is left out and counted."""

import json
from pathlib import Path

import pytest

import make_prompts
from cai.more_prompts import Written, fault, list_of, usable_examples, word_pairs
from cai.more_prompts import make_prompts as write_prompts
from cai.readers import read_prompts
from cai.records import InputError, Prompt, read_jsonl
from training.options import Common, OptionError

EXAMPLES = [Prompt(f"{n}", (text,), "helpful") for n, text in enumerate([
    "How do I bake bread at home?", "Which tree grows fastest in the shade?",
    "Please write a note to my landlord.", "Explain why the sky is blue."])]
SETTINGS = {"seed": 0, "tries": 12, "batch": 4, "shown": 3, "words": (3, 20), "similarity": 0.7,
            "noise": lambda number: number}


def writer(texts: list[str | None]):
    """Writes these texts in turn; keeps what it was shown and under which keys."""
    left, heard = list(texts), []

    def write(lists, keys):
        heard.extend(zip(lists, keys, strict=True))
        return [left.pop(0) for _ in lists]

    return write, heard


def test_a_list_is_shown_and_its_next_number_asked_for():
    assert list_of(["a", "b"], "helpful").endswith(".\n\n1. a\n\n2. b\n\n3.")
    assert list_of(["a"], "helpful") != list_of(["a"], "red_team")
    long = Prompt("l", ("word " * 30,), "helpful")
    turns = Prompt("t", ("a", "b", "c"), "helpful")
    two = Prompt("p", ("a\n\nb",), "helpful")
    assert usable_examples([*EXAMPLES, long, turns, two], 20) == EXAMPLES


def test_new_prompts_are_kept_and_the_rest_counted():
    texts = ["How do I mend a torn coat?", None, "Yes.", "how do i bake BREAD at home",
             "How do I mend a torn coat at home?", "no no no no no no", "12 34 56 ?",
             "word " * 30, "Human: hello there you", "Where do bees sleep in winter?",
             "Where do bees sleep in winter?", "Tell me about the moon landing."]
    write, heard = writer(texts)
    made, left_out = write_prompts(EXAMPLES, write, count=3, **SETTINGS)
    assert [prompt.turns[0] for prompt in made] == [
        "How do I mend a torn coat?", "Where do bees sleep in winter?",
        "Tell me about the moon landing."]
    assert left_out == {"unfinished": 1, "too short": 1, "near another": 3, "repeats itself": 1,
                        "no words": 1, "too long": 1, "speaks for both": 1}
    assert {prompt.kind for prompt in made} == {"helpful"}
    assert len({prompt.id for prompt in made}) == 3
    assert len({key for _, key in heard}) == len(heard) == 12
    assert len({shown for shown, _ in heard}) > 4
    assert all(shown.count("\n\n") == 4 for shown, _ in heard)


def test_writing_stops_when_there_are_enough():
    write, heard = writer(["How do I mend a torn coat?", "Where do bees sleep in winter?",
                           "Tell me about the moon landing.", "Name a good book on trees."])
    made, _ = write_prompts(EXAMPLES, write, count=2, **SETTINGS)
    assert len(made) == 2 and len(heard) == 4


def test_the_index_finds_exactly_the_near_texts():
    words = "red green blue old new big small fast slow warm cold wet dry dark light".split()
    texts = [" ".join(words[n:n + 8]) + f" {words[(n * 7) % 15]}" for n in range(8)]
    texts += [text.replace("new", "odd") for text in texts]
    for similarity in (0.3, 0.5, 0.7, 1.0):
        written = Written(similarity)
        for number, text in enumerate(texts):
            pairs = [word_pairs(each) for each in texts[:number]]
            mine = word_pairs(text)
            wanted = any(len(mine & other) / len(mine | other) >= similarity for other in pairs)
            assert written.near(text) == wanted
            written.add(text)


def test_what_is_no_prompt_has_a_reason():
    assert fault("Why is the sky blue?", (3, 9)) is None
    assert fault("Was ist ein Baum?", (3, 9)) is None
    assert fault("a: b AI: c", (3, 9)) == "speaks for both"


def test_the_script_writes_prompts_that_every_stage_reads(world_base: Path, tmp_path, capsys):
    path = tmp_path / "examples.txt"
    path.write_text("\n".join(f"How do I {act} my {thing}?" for act in ("read", "fix", "sell")
                              for thing in ("boat", "diary", "lamp")))
    options = make_prompts.Options(
        model=world_base, prompts=path, kind="helpful", count=4, tries=40, shown=3, max_new=12,
        words=(1, 12), rows=16, common=Common(name="more", runs=tmp_path / "runs"))
    figures = make_prompts.main(options)
    file = tmp_path / "runs/more/make_prompts/prompts.jsonl"
    made = read_jsonl(file, Prompt)
    assert 1 <= len(made) == figures["prompts"] <= 4
    assert [prompt.turns for prompt in read_prompts(file, kind="helpful")] == [
        prompt.turns for prompt in made]
    assert sum(figures["left_out"].values()) <= 160
    assert json.loads(json.dumps(make_prompts.main(options))) == figures


def test_too_few_or_too_long_examples_are_refused(world_base: Path, tmp_path):
    path = tmp_path / "examples.txt"
    path.write_text("How do I read?\nHow do I write?\n")
    common = Common(runs=tmp_path / "runs")
    with pytest.raises(InputError, match=rf"{path}: found 2 prompts .* at least --shown, 3"):
        make_prompts.main(make_prompts.Options(world_base, path, shown=3, common=common))
    path.write_text("\n".join(" ".join(["boat"] * 70) + f" {n}" for n in range(9)))
    with pytest.raises(OptionError, match="--shown: found 9"):
        make_prompts.main(make_prompts.Options(world_base, path, shown=9, common=common))
