"""The supervised stage: what is learnt in one step."""

from train_sl import by_prompt


def test_replies_to_one_prompt_are_one_family_wherever_they_stand() -> None:
    pairs = [([1, 2], [3]), ([1], [2, 3]), ([1, 2], [4]), ([2], [3]), ([1], [5])]
    assert by_prompt(pairs) == [[0, 2], [1, 4], [3]]
