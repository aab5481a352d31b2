"""Readers of prompts, and what holds for files of any kind: formats, defects, the command."""

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest

from cai.readers import find, main, read_prompts
from cai.records import InputError

ROOT = Path(__file__).parent.parent


def turns(tmp_path, content, name="file", **options):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return [prompt.turns for prompt in read_prompts(path, **options)]


DIALOGUE = "\n\nHuman: one\n\nAssistant: two\n\nHuman: three\n\nstill three\n\nAssistant: last"
MESSAGES = [{"role": "user", "content": "one"}, {"role": "assistant", "content": "two"},
            {"role": "user", "content": "three"}, {"role": "assistant", "content": "last"}]


@pytest.mark.parametrize("content", [
    "one\ntwo\n", "one\r\n\r\ntwo", "one\rtwo\r", "\ufeffone\n  two  \n\n",
    "goal,target\none,x\ntwo,y\n", "\ufeffGoal\r\none\r\ntwo\r\n", "id\tquestion\n1\tone\n2\ttwo",
    'x,Behavior,ContextString\n1,one,\n2,"two",""\n', "forbidden_prompt\none\ntwo",
    '{"prompt": "one"}\n\n{"prompt": "two"}\r\n', '[{"goal": "one"}, {"question": "two"}]',
    '["one", "two"]', '"one"\n'.replace('"', "") + "two",
    '{\n"instructions": ["one", "two"], "inputs": ["", ""]}', '{"prompt": ["one", "two"]}',
], ids=range(15))
def test_two_plain_prompts_in_every_format(tmp_path, content):
    assert turns(tmp_path, content) == [("one",), ("two",)]
    assert turns(tmp_path, gzip.compress(content.encode())) == [("one",), ("two",)]


@pytest.mark.parametrize("row", [
    {"chosen": DIALOGUE, "rejected": DIALOGUE}, {"prompt": DIALOGUE}, {"messages": MESSAGES},
    {"conversations": [{"from": "gpt" if m["role"] == "assistant" else "human",
                        "value": m["content"]} for m in MESSAGES]},
    {"chosen": MESSAGES, "rejected": MESSAGES},
    {"chosen": DIALOGUE.removesuffix(" last")}, {"messages": MESSAGES[:3]},
    {"turns": ["one", "two", "three", "last"], "kind": "helpful"},
])
def test_dialogues_keep_their_turns_and_end_on_a_human_one(tmp_path, row):
    (found,) = turns(tmp_path, json.dumps(row))
    assert [text.split()[0] for text in found] == ["one", "two", "three"]
    if isinstance(row.get("chosen", row.get("prompt")), str):
        assert found[2] == "three\n\nstill three"


def test_texts_that_belong_together_are_joined(tmp_path):
    rows = [{"instruction": "Shorten this.", "input": "A long text."},
            {"instruction": "Sum.", "instances": [{"input": "1, 2", "output": "3"}]},
            {"Behavior": "Explain it.", "ContextString": "First line.\nSecond line."},
            {"messages": [{"role": "system", "content": "Be brief."}, MESSAGES[0]]},
            {"prompt": "\n\nHuman: a\n\nAssistant: b\n\nAssistant: c\n\nHuman: d\n\nAssistant: e"}]
    assert turns(tmp_path, json.dumps(rows)) == [
        ("Shorten this.\n\nA long text.",), ("Sum.\n\n1, 2",),
        ("First line.\nSecond line.\n\nExplain it.",), ("Be brief.\n\none",),
        ("a", "b\n\nc", "d")]


def test_quoted_newlines_quotes_and_very_long_fields(tmp_path):
    long = "word " * 60_000
    content = f'goal,note\r\n"a ""b"",\r\nc",x\r\n"{long}",y\r\n'
    assert turns(tmp_path, content) == [('a "b",\r\nc',), (long.strip(),)]


def test_unusable_rows_are_counted_by_reason(tmp_path):
    path = tmp_path / "mixed.jsonl"
    rows = [{"prompt": "fine"}, {"prompt": "  "}, {"other": 1}, 7, {"prompt": "\n\nHuman:  "},
            {"messages": [{"role": "ghost", "content": "x"}]}, {"chosen": "no dialogue"},
            {"prompt": "\n\nAssistant: a\n\nHuman: b"}, {"messages": [MESSAGES[1]]},
            {"prompt": "half \ud800"}, {"messages": ["x"]}]
    path.write_text("\n".join(map(json.dumps, rows)))
    found = find(path, "prompts")
    assert (found.rows, len(found.records), found.format) == (11, 1, "jsonl")
    assert found.skipped == {
        "no prompt in the row": 2, "neither a text nor an object": 1, "an empty turn": 1,
        "a message without a known role and a text": 1, "a reply without its dialogue": 1,
        "the assistant speaks first": 1, "no human turn": 1, "half a surrogate pair": 1,
        "a message that is no object": 1}


def test_ids_limits_and_kinds(tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_text("one\ntwo\none\n")
    prompts = read_prompts(path)
    assert len({prompt.id for prompt in prompts}) == 3
    assert prompts[0].kind == "red_team"
    assert read_prompts(path, limit=2) == prompts[:2]
    helpful = read_prompts(path, kind="helpful")
    assert helpful[0].kind == "helpful" and helpful[0].id != prompts[0].id
    path.write_text("zero\ntwo\n")
    assert read_prompts(path)[1] == prompts[1]


def test_rows_that_are_no_prompts_are_told(tmp_path, capsys):
    path = tmp_path / "mixed.jsonl"
    path.write_text('{"prompt": "fine"}\n{"prompt": " "}\n7\n')
    assert [prompt.turns for prompt in read_prompts(path)] == [("fine",)]
    assert capsys.readouterr().err == (f"{path}: left out 2 of 3 rows: 1 x no prompt in the row, "
                                       "1 x neither a text nor an object\n")


@pytest.mark.parametrize(("name", "content", "line", "complaint"), [
    ("a.txt", b"", 1, "empty"),
    ("a.csv", b" \n\n", 1, "empty"),
    ("a", b'{"prompt": "x"}\n{"prompt": "y"\n', 2, "no JSON"),
    ("a", b'[{"prompt": "x"},\n {"prompt": ]', 2, "no JSON"),
    ("a.jsonl", b"prompt", 1, "starts with"),
    ("a", b'{"text": "x"}\n{"text": "y"}', 1, "no usable prompt"),
    ("a", b"[]", 1, "no usable prompt"),
    ("a.csv", b"name,age\nx,1\n", 1, "columns"),
    ("a.csv", b'goal\nx\n"y\n', 3, "no CSV"),
    ("a", b'goal\nx\n"y\n', 3, "no CSV"),
    ("a", b"one\n\xff\n", 2, "byte 0xff"),
    ("a", b"[" * 100_000, 1, "JSON"),
    ("a", gzip.compress(b"one\n" * 9999)[:-20], 1, "broken gzip"),
])
def test_a_broken_file_is_one_line_with_its_place(tmp_path, capsys, name, content, line, complaint):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_prompts(path)
    message = str(caught.value)
    assert message.startswith(f"{path}:{line}: found") and complaint in message
    assert main([str(path), "--as", "prompts"]) == 2
    captured = capsys.readouterr()
    assert captured.err == message + "\n" and captured.out == ""


def test_an_absent_file_and_a_folder_are_refused(tmp_path):
    for path in (tmp_path / "absent.csv", tmp_path):
        with pytest.raises(InputError, match=str(path)):
            read_prompts(path)


def test_a_text_file_may_look_like_json(tmp_path):
    assert turns(tmp_path, "[sic] one\ntwo", "a.txt") == [("[sic] one",), ("two",)]


def test_the_command_prints_one_json_object(tmp_path):
    path = tmp_path / "p.csv"
    path.write_text("goal\none\n\"\"\n")
    command = [sys.executable, "-m", "cai.readers", str(path), "--as", "prompts"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    summary = json.loads(done.stdout)
    assert summary["first"]["turns"] == ["one"]
    del summary["first"]
    assert summary == {"kind": "prompts", "format": "csv", "rows": 2, "used": 1,
                       "skipped": {"no prompt in the row": 1}}
