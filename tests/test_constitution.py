"""Constitutions: the shipped ones are whole, and each defect names its entry."""

from pathlib import Path

import pytest

from cai.constitution import examples_for, load_constitution
from cai.records import InputError

SHIPPED = sorted((Path(__file__).parent.parent / "constitutions").glob("*.toml"))

SMALL = """
[[revision]]
id = "r1"
critique_request = "What is wrong?"
revision_request = "Mend it."
topics = ["law"]
[[revision.example]]
turns = ["one", "two", "three"]
response = "own"
critique = "c"
revision = "d"
[[revision]]
id = "r2"
critique_request = "Again?"
revision_request = "Again."
[[feedback]]
id = "f1"
principle = "Choose the better."
[[feedback]]
id = "f2"
principle = "Choose the other."
[[critique_example]]
human = "h"
response = "common"
principle = "r2"
critique = "c"
revision = "d"
[[feedback_example]]
human = "h"
first = "x"
second = "y"
answer = "B"
[[feedback_example]]
human = "h"
first = "x"
second = "y"
answer = "A"
principle = ["f1", "f2"]
[[reasoning_example]]
human = "h"
first = "x"
second = "y"
principle = "f2"
reasoning = "because"
answer = "A"
"""


def load(tmp_path, text):
    path = tmp_path / "c.toml"
    path.write_text(text)
    return load_constitution(path)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_a_shipped_constitution_is_whole(path):
    constitution = load_constitution(path)
    assert len(constitution.revisions) == len(constitution.feedback) == 16
    for texts in ([p.critique_request for p in constitution.revisions],
                  [p.revision_request for p in constitution.revisions],
                  [p.principle for p in constitution.feedback]):
        assert len(set(texts)) == 16
    assert len(constitution.critique_examples) >= 2
    for examples in (constitution.feedback_examples, constitution.reasoning_examples):
        assert {example.answer for example in examples} == {0, 1}
    assert all(example.reasoning for example in constitution.reasoning_examples)


def test_the_english_examples_are_as_many_as_the_method_needs():
    constitution = load_constitution(SHIPPED[0].with_name("english.toml"))
    assert len(constitution.critique_examples) == 5
    assert "help" in {example.principle.id for example in constitution.critique_examples}
    assert any(len(example.turns) > 1 for example in constitution.critique_examples)


def test_the_parts_of_a_file(tmp_path):
    constitution = load(tmp_path, SMALL)
    first, second = constitution.revisions
    assert (first.id, first.critique_request, first.revision_request, first.topics) == (
        "r1", "What is wrong?", "Mend it.", ("law",))
    assert second.topics == ()
    anywhere, either = constitution.feedback_examples
    assert anywhere.principles == () and anywhere.answer == 1
    assert either.principles == constitution.feedback and either.answer == 0
    assert constitution.reasoning_examples[0].principles == (constitution.feedback[1],)
    assert constitution.reasoning_examples[0].reasoning == "because"


def test_own_examples_stand_in_for_the_common_ones(tmp_path):
    constitution = load(tmp_path, SMALL)
    first, second = constitution.revisions
    own = examples_for(constitution.critique_examples, first)
    assert [(e.response, e.turns, e.principle) for e in own] == [
        ("own", ("one", "two", "three"), first)]
    assert [e.response for e in examples_for(constitution.critique_examples, second)] == ["common"]


@pytest.mark.parametrize(("old", "new", "complaint"), [
    ('critique_request = "Again?"', "", "revision 2 (r2): found no critique_request"),
    ('revision_request = "Mend it."', 'revision_request = " "', "revision 1 (r1)"),
    ('principle = "Choose the other."', "", "feedback 2 (f2): found no principle"),
    ('id = "f2"', 'id = "f1"', "id 'f1' again"),
    ('topics = ["law"]', 'topics = "law"', "topics"),
    ('principle = "r2"', 'principle = "r9"', "critique_example 1: found principle 'r9'"),
    ('["f1", "f2"]', '["f1", "f9"]', "feedback_example 2: found principle 'f9'"),
    ('answer = "B"', 'answer = "C"', "feedback_example 1: found answer 'C'"),
    ('reasoning = "because"', "", "reasoning_example 1: found no reasoning"),
    ('response = "own"', 'response = "own"\nhumour = 1', "example 1: found field 'humour'"),
    ('turns = ["one", "two", "three"]', 'turns = ["one", "two"]', "odd number"),
    ("[[reasoning_example]]", "[[unknown]]", "found field 'unknown'"),
    ("[[feedback]]", "[[feedback]", "line 16"),
])
def test_a_defect_names_its_entry(tmp_path, old, new, complaint):
    assert old in SMALL
    with pytest.raises(InputError) as caught:
        load(tmp_path, SMALL.replace(old, new, 1))
    assert "c.toml" in str(caught.value) and complaint in str(caught.value)


def test_an_absent_or_empty_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="absent"):
        load_constitution(tmp_path / "absent.toml")
    with pytest.raises(InputError, match="no principle"):
        load(tmp_path, "")
