"""Records: ids, the way to disk and back, and every defect named with its line."""

import dataclasses
import json

import pytest

from cai.records import (
    Comparison,
    InputError,
    Label,
    Prompt,
    Revision,
    Step,
    content_digest,
    read_jsonl,
    read_metrics,
    record_id,
    write_jsonl,
)

LABEL = Label("model", 0.25, "p", ((-1.5, -0.5), (-2.0, -1.0)), (False, True), ("why", "so"))
CHAIN = Revision("r", "p", ("a", "b", "c"), "red_team", 3, 1, "x", (Step("s", None, "y\u2028z"),))
PAIR = Comparison("c", "p", ("é",), "helpful", 3, 0, ("one", "two"),
                  (LABEL, Label("people", 1.0)))


def test_an_id_depends_on_every_part():
    parts = [("stage", ["a", "b"], 0, 0), ("other", ["a", "b"], 0, 0), ("stage", ["ab"], 0, 0),
             ("stage", ["b", "a"], 0, 0), ("stage", ["a", "b"], 1, 0), ("stage", ["a", "b"], 0, 1)]
    ids = [record_id(*each) for each in parts]
    assert len(set(ids)) == len(parts)
    assert all(len(each) == 16 and int(each, 16) >= 0 for each in ids)
    assert record_id(*parts[0]) == record_id("stage", ("a", "b"), 0, 0)


def test_a_digest_depends_on_content_and_not_on_the_order_of_keys():
    assert content_digest({"a": 1, "b": [2]}) == content_digest({"b": [2], "a": 1})
    assert content_digest({"a": 1}) != content_digest({"a": 2})


@pytest.mark.parametrize("record", [Prompt("p", ("hello\nthere",), "red_team"), CHAIN, PAIR])
def test_what_is_written_is_read_again(tmp_path, record):
    other = dataclasses.replace(record, id="another")
    write_jsonl(tmp_path / "deep" / "file.jsonl", iter([record, other]))
    assert read_jsonl(tmp_path / "deep" / "file.jsonl", type(record)) == [record, other]
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["file.jsonl"]


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "file.jsonl"
    write_jsonl(path, [PAIR])
    before = path.read_bytes()

    def broken():
        yield CHAIN
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_jsonl(path, broken())
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def changed(**fields):
    """The JSON row of PAIR without its digest, with some fields changed or (None) removed."""
    row = json.loads(json.dumps(dataclasses.asdict(PAIR))) | fields
    return json.dumps({name: value for name, value in row.items() if value is not None})


@pytest.mark.parametrize(("line", "complaint"), [
    ("{", "no JSON"),
    ("[1]", "object"),
    (changed(seed=None), "seed"),
    (changed(seed=True), "seed"),
    (changed(seed="1"), "seed"),
    (changed(extra=1), "extra"),
    (changed(turns=["a", "b"]), "odd number"),
    (changed(kind="odd"), "kind"),
    (changed(responses=["a"]), "responses"),
    (changed(labels=[{"source": "model", "preference": 1.5}]), "preference"),
    (changed(labels=[{"source": "cat", "preference": 0.5}]), "source"),
    (changed(labels=[{"source": "model", "preference": 0.5, "logprobs": [[-1, -2]]}]), "swapped"),
    (changed(labels=[{"source": "model", "preference": 0.5, "logprobs": [[-1]]}]), "logprobs"),
    (changed(digest="0" * 16), "digest"),
    (changed(id="c"), "again"),
])
def test_a_defect_is_named_with_file_and_line(tmp_path, line, complaint):
    path = tmp_path / "file.jsonl"
    path.write_text(changed() + "\n" + line + "\n")
    with pytest.raises(InputError) as caught:
        read_jsonl(path, Comparison)
    message = str(caught.value)
    assert message.startswith(f"{path}:2: found") and complaint in message and "\n" not in message


def test_a_row_by_hand_needs_no_digest_and_whole_numbers_serve_as_floats(tmp_path):
    path = tmp_path / "file.jsonl"
    path.write_text(changed(labels=[{"source": "people", "preference": 1}]))
    (record,) = read_jsonl(path, Comparison)
    assert record.labels == (Label("people", 1.0),)
    assert isinstance(record.labels[0].preference, float)


@pytest.mark.parametrize("content", [b"", b"\xff\n"])
def test_an_empty_or_foreign_file_is_refused(tmp_path, content):
    path = tmp_path / "file.jsonl"
    path.write_bytes(content)
    with pytest.raises(InputError, match="file.jsonl:1"):
        read_jsonl(path, Prompt)
    with pytest.raises(InputError, match="absent"):
        read_jsonl(tmp_path / "absent", Prompt)


def test_a_log_prob_that_is_not_finite_never_becomes_a_label():
    with pytest.raises(ValueError, match="log-prob"):
        Label("model", 0.5, "p", ((float("nan"), -1.0),), (False,))


def test_metrics_come_line_by_line_and_a_broken_file_is_named(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 0, "kl": 0.5}\n{"step": 1}\n')
    assert read_metrics(path) == [{"step": 0, "kl": 0.5}, {"step": 1}]
    path.write_text('{"step": 0, "k')
    for defect in (path, tmp_path / "absent"):
        with pytest.raises(InputError, match=f"{defect.name}: found no metrics"):
            read_metrics(defect)
