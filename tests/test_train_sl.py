"""The supervised stage: what is learnt in one step."""

from train_sl import by_prompt


def test_replies_to_one_prompt_are_one_family_wherever_they_stand() -> None:
    pairs = [([1, 2], [3]), ([1], [2, 3]), ([1, 2], [4]), ([2], [3]), ([1], [5])]
    assert by_prompt(pairs, 100) == [[0, 2], [1, 4], [3]]


def test_many_replies_to_one_prompt_are_no_step_of_any_length() -> None:
    parts = by_prompt([([1, 2], [3, 4, n]) for n in range(40)], 50)
    assert sum(parts, []) == list(range(40))
    assert all(5 * len(part) <= 50 for part in parts) and len(parts) == 4
