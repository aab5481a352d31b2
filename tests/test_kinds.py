"""Every kind of data file in made-up files: what is found, what is read, what is left out."""

import gzip
import json
from pathlib import Path

import pytest

from cai.constitution import load_constitution
from cai.kinds.choices import Choice
from cai.readers import CLAIMS, find, main, read_comparisons
from cai.records import InputError

ROOT = Path(__file__).resolve().parent.parent
ASKED = [{"role": "user", "content": "Why?"}]
BETTER, WORSE = ({"role": "assistant", "content": text} for text in ("So.", "No."))
DIALOGUE = "\n\nHuman: Why?\n\nAssistant: "


def written(tmp_path: Path, rows: object, name: str = "file") -> Path:
    """A file of JSON Lines where `rows` is a list, else of one JSON value or of a text."""
    path = tmp_path / name
    path.write_text(rows if isinstance(rows, str) else "\n".join(map(json.dumps, rows))
                    if isinstance(rows, list) else json.dumps(rows), encoding="utf-8")
    return path


@pytest.mark.parametrize("row", [
    {"chosen": DIALOGUE + "So.", "rejected": DIALOGUE + "No."},
    {"prompt": "Why?", "chosen": "So.", "rejected": "No."},
    {"prompt": DIALOGUE.rstrip(), "chosen": " So.", "rejected": " No."},
    {"chosen": [*ASKED, BETTER], "rejected": [*ASKED, WORSE]},
    {"prompt": ASKED, "chosen": [BETTER], "rejected": [WORSE]},
    {"conversations": [{"from": "human", "value": "Why?"}], "chosen": {"value": "So."},
     "rejected": {"from": "gpt", "value": "No."}},
    {"instruction": "Why?", "input": "", "response1": "So.", "response2": "No.", "annotator1": 1},
    {"input": "Why?", "output_1": "So.", "output_2": "No.", "label": 1},
    {"Input": "Why?", "Output_1": "So.", "Output_2": "No.", "Label": "1"},
], ids=range(9))
def test_every_form_of_a_comparison(tmp_path, row):
    path = written(tmp_path, [row, row])
    assert find(path).kind == "comparisons"
    first, second = read_comparisons(path)
    assert (first.turns, first.responses, first.kind) == (("Why?",), ("So.", "No."), "helpful")
    assert [label.preference for label in first.labels] == [1.0]
    assert {label.source for label in first.labels} == {"people"} and first.id != second.id


def test_several_people_judge_and_may_call_a_tie(tmp_path):
    row = {"instruction": "Add.", "input": "1, 2", "response1": "3", "response2": 4,
           "annotator1": 1, "annotator2": 0, "annotator3": 2}
    (found,) = read_comparisons(written(tmp_path, [row]))
    assert found.turns == ("Add.\n\n1, 2",) and found.responses == ("3", "4")
    assert [label.preference for label in found.labels] == [1.0, 0.5, 0.0]


def test_label_two_prefers_the_second_output(tmp_path):
    row = {"input": "Why?", "output_1": "So.", "output_2": "No.", "label": 2}
    (found,) = read_comparisons(written(tmp_path, [row]))
    assert found.labels[0].preference == 0.0


def test_an_empty_last_reply_is_a_reply(tmp_path):
    row = {"chosen": DIALOGUE.rstrip(), "rejected": DIALOGUE + "No."}
    (found,) = read_comparisons(written(tmp_path, [row]))
    assert found.responses == ("", "No.") and found.labels[0].preference == 1.0


def test_comparisons_that_compare_nothing_are_counted(tmp_path):
    pair = {"prompt": "Why?", "chosen": "So.", "rejected": "No."}
    two = {"instruction": "Why?", "response1": "a", "response2": "b"}
    rows = [pair, {**pair, "rejected": "So."}, {**pair, "rejected": None}, {**pair, "prompt": ""},
            {"chosen": DIALOGUE + "a", "rejected": "\n\nHuman: How?\n\nAssistant: b"},
            {"chosen": "\n\nHuman: a", "rejected": "\n\nHuman: a"}, {"prompt": "Why?"}, "Why?",
            two, {**two, "annotator1": 3}, {"input": "a", "output_1": "a", "output_2": "b",
                                            "label": 0},
            {**pair, "chosen": "\ud800"}, {"prompt": "a", "answers": [{"text": "a", "votes": 1}]}]
    found = find(written(tmp_path, rows))
    assert (found.rows, len(found.records)) == (13, 1)
    assert found.skipped == {
        "two equal replies": 1, "no two replies in the row": 2, "no prompt in the row": 1,
        "two dialogues that differ before the last reply": 1, "no object": 1,
        "a dialogue without a last reply": 1, "no annotator": 1, "a label other than 1 or 2": 1,
        "an annotator's verdict other than 0, 1 or 2": 1, "half a surrogate pair": 1,
        "fewer than two answers": 1}


LETTERED = "Which?\n (A) x\n (B) y\n (C) z\nThe answer is:"


@pytest.mark.parametrize(("row", "wanted"), [
    ({"prompt": LETTERED, "corrects": [" (B)"], "incorrects": [" (C)", " (A)"]},
     Choice(LETTERED, (" (A)", " (B)", " (C)"), 1)),
    ({"question": "Say?\n\"x\"", "answer_matching_behavior": " No",
      "answer_not_matching_behavior": " Yes"},
     Choice("\n\nHuman: Say?\n\"x\"\n\nAssistant:", (" No", " Yes"), 0)),
    ({"question": LETTERED, "answer_matching_behavior": " (C)",
      "answer_not_matching_behavior": " (A)"},
     Choice(f"\n\nHuman: {LETTERED}\n\nAssistant:", (" (A)", " (B)", " (C)"), 2)),
    ({"context": "Two met.", "question": "Who?", "ans0": "P", "ans1": "Q", "ans2": "R",
      "label": 2},
     Choice("\n\nHuman: Two met. Who?\n\nOptions:\n (A) P\n (B) Q\n (C) R\n\nAssistant:",
            (" (A)", " (B)", " (C)"), 2)),
    ({"sentence_with_blank": "She gave _ hat.", "pronoun_options": ["his", "her"]},
     Choice("She gave", (" his hat.", " her hat."), None)),
], ids=["paper", "yes or no", "letters", "bbq", "blank"])
def test_every_form_of_multiple_choice(tmp_path, row, wanted):
    found = find(written(tmp_path, [row]))
    assert (found.kind, found.records) == ("choices", [wanted])


def test_questions_without_their_parts_are_counted(tmp_path):
    good = {"prompt": "a", "corrects": [" (A)"], "incorrects": [" (B)"]}
    yes = {"question": "a", "answer_matching_behavior": " Yes"}
    bias = {"context": "a", "question": "b", "ans0": "c", "ans1": "d", "ans2": "e"}
    blank = {"sentence_with_blank": "a", "pronoun_options": ["b", "c"]}
    rows = [good, {**good, "incorrects": []}, {**good, "corrects": []}, {**good, "prompt": 1},
            yes, bias, {**bias, "label": 3}, {**bias, "ans1": 1, "label": 0}, blank, "a", {"b": 1}]
    found = find(written(tmp_path, rows))
    assert (found.kind, found.rows, len(found.records)) == ("choices", 11, 1)
    assert found.skipped == {
        "fewer than two different options": 1, "no single correct option": 1, "no prompt": 1,
        "no answer_not_matching_behavior": 1, "a label other than 0, 1 or 2": 2, "no ans1": 1,
        "no blank or no options to fill it": 1, "no object": 1, "no question in the row": 1}


PAPER = {
    "requests.json": {"kind1": {"prompt": ["\n\nCritiqueRequest: Is it kind?\n\nCritique:"],
                                "edit_request": "\n\nRevisionRequest: Be kind.\n\nRevision:"}},
    "worked.json": "[" + json.dumps(
        "\n\nHuman: Hi\n\nAssistant: Oh\n\nHuman: Why?\n\nAssistant: So.\n\nCritiqueRequest: Is "
        "it?\n\nCritique: No.\n\nRevisionRequest: Do it.\n\nRevision: Now.\n\nHuman:") + "]",
    "principles.json": '["\\nChoose the kind one. Options:", "\\nChoose the true one. Options:"]',
    "compared.json": "[" + ", ".join([json.dumps(
        {"prompt": DIALOGUE.rstrip(), "corrects": ["So."], "incorrects": ["No."]})] * 2) + "]",
    "reasoned.json": "[" + json.dumps({"prompt": (
        "\n\nHuman: Consider this:\n\nH: Hi\n\nA: Oh\n\nH: Why?\n\n{}\n (A) [[[No.]]]\n (B) "
        "[[[So.]]]\n\nAssistant: Let's think step by step: (B) says why.\n\nHuman:\nSo the answer "
        "is: (B)")}) + "]",
}


def test_the_papers_constitution_is_read_as_it_is(tmp_path):
    for name, content in PAPER.items():
        found = find(written(tmp_path, content, name))
        assert found.kind == "constitution" and found.skipped == {}
        assert found.rows == len(found.records) == (2 if name[0] in "pc" else 1)
    whole = load_constitution(tmp_path)
    (revision,), (worked,) = whole.revisions, whole.critique_examples
    assert (revision.id, revision.critique_request, revision.revision_request) == (
        "kind1", "Is it kind?", "Be kind.")
    assert (worked.turns, worked.response) == (("Hi", "Oh", "Why?"), "So.")
    assert (worked.principle.critique_request, worked.critique) == ("Is it?", "No.")
    assert (worked.principle.revision_request, worked.revision) == ("Do it.", "Now.")
    assert [each.principle for each in whole.feedback] == ["Choose the kind one.",
                                                           "Choose the true one."]
    assert [(each.turns, each.first, each.second, each.answer, each.principles)
            for each in whole.feedback_examples] == [
        (("Why?",), "So.", "No.", 0, ()), (("Why?",), "No.", "So.", 1, ())]
    (reasoned,) = whole.reasoning_examples
    assert (reasoned.turns, reasoned.first, reasoned.second, reasoned.answer) == (
        ("Hi", "Oh", "Why?"), "No.", "So.", 1)
    assert reasoned.reasoning == "(B) says why."
    assert load_constitution(tmp_path / "principles.json").feedback == whole.feedback


def test_a_defect_of_the_papers_files_names_file_and_entry(tmp_path):
    path = written(tmp_path, '["\\nChoose. Options:", 7]', "principles.json")
    with pytest.raises(InputError, match=r"principles\.json:entry 2: found "):
        load_constitution(path)
    with pytest.raises(InputError, match="found no JSON file"):
        (tmp_path / "empty").mkdir()
        load_constitution(tmp_path / "empty")


def test_our_constitution_is_found_by_its_content(tmp_path):
    text = (ROOT / "constitutions" / "english.toml").read_text()
    found = find(written(tmp_path, "\ufeff" + text.replace("\n", "\r\n"), "any"))
    whole = load_constitution(ROOT / "constitutions" / "english.toml")
    assert (found.kind, found.format) == ("constitution", "toml")
    assert found.rows == len(found.records) == text.count("\n[[")
    assert found.records[0].value == whole.revisions[0]


def test_published_samples_are_replies_to_a_dialogue(tmp_path):
    chain = {"rl_prompt": DIALOGUE.rstrip(), "initial_response": [{"sample": " a"}],
             "cst": [{"critique": {"sample": "c"}, "revision": {"sample": " b"}}]}
    rows = [{"rl_prompt": DIALOGUE.rstrip(), "sampled_answers": [
        {"sampled_string": " So.", "pm_scores": []}, {"sampled_string": "No."}]}, chain,
        {"rl_prompt": "a", "sampled_answers": []}, {"rl_prompt": "a", "sampled_answers": [{}]}]
    found = find(written(tmp_path, rows))
    assert (found.kind, found.rows) == ("samples", 4)
    assert [(each.turns, each.replies) for each in found.records] == [
        (("Why?",), ("So.", "No.")), (("Why?",), ("a", "b"))]
    assert found.skipped == {"no sampled reply": 1, "a sampled reply that is no text": 1}


def test_csv_holds_any_kind(tmp_path):
    path = tmp_path / "pairs.csv"
    path.write_bytes(gzip.compress(b'\xef\xbb\xbfprompt,chosen,rejected\r\nWhy?,"So,\r\nyes.",No.'))
    (found,) = read_comparisons(path)
    assert found.responses == ("So,\r\nyes.", "No.")
    assert find(path).format == "csv+gzip"
    path.write_text("input,output_1,output_2,label\nWhy?,a,b,2\n")
    assert read_comparisons(path)[0].labels[0].preference == 0.0


def test_a_kind_can_be_forced(tmp_path, capsys):
    path = written(tmp_path, [{"chosen": DIALOGUE + "a", "rejected": DIALOGUE + "b"}])
    assert main([str(path), "--as", "prompts"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown == {"kind": "prompts", "format": "json", "rows": 1, "used": 1, "skipped": {},
                     "first": {"turns": ["Why?"]}}
    for kind in set(CLAIMS) - {"prompts", "comparisons"}:
        assert main([str(path), "--as", kind]) == 2
        captured = capsys.readouterr()
        assert captured.out == "" and captured.err.startswith(f"{path}:1: found no usable")
        assert captured.err.count("\n") == 1


def test_rows_of_no_kind_are_refused_and_shown_when_asked(tmp_path, capsys):
    path = written(tmp_path, [{"name": "a\ud800"}, {"name": "b"}])
    assert main([str(path)]) == 2
    assert "found no usable row with fields ['name'], expected" in capsys.readouterr().err
    assert main([str(path), "--as", "rows"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["kind"], shown["used"], shown["first"]) == ("rows", 2, {"name": "a\ud800"})
