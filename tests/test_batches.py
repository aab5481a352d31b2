"""Batches of unequal sequences: every sequence once, little padding, sizes as asked."""

import pytest
import torch

from model.batches import batches_by_length, pad_right, steps_of


def lengths_of(count: int, seed: int = 0) -> list[int]:
    """`count` lengths from 5 to 120, most of them short."""
    drawn = torch.rand(count, generator=torch.Generator().manual_seed(seed))
    return (5 + 115 * drawn**2).int().tolist()


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def padding(batches: list[list[int]], lengths: list[int]) -> float:
    """Share of padding in all batches."""
    cells = sum(len(batch) * max(lengths[n] for n in batch) for batch in batches)
    return 1 - sum(lengths[n] for batch in batches for n in batch) / cells


def test_pad_right() -> None:
    assert pad_right([[1, 2], [3]], fill=9).tolist() == [[1, 2], [3, 9]]
    wide = pad_right([[1]], width=3)
    assert wide.tolist() == [[1, 0, 0]] and wide.dtype == torch.int64


@pytest.mark.parametrize("shuffled", [False, True])
def test_batches_hold_every_index_once_within_the_size(shuffled: bool) -> None:
    lengths = lengths_of(500)
    batches = batches_by_length(lengths, 1024, generator() if shuffled else None)
    assert sorted(n for batch in batches for n in batch) == list(range(500))
    assert all(len(batch) * max(lengths[n] for n in batch) <= 1024 for batch in batches)
    assert padding(batches, lengths) < 0.1


def test_a_sequence_above_the_size_stands_alone() -> None:
    assert sorted(batches_by_length([3, 50, 3, 60], 10)) == [[0, 2], [1], [3]]
    assert batches_by_length([], 10) == []


def test_every_epoch_of_batches_differs_and_comes_back_with_its_seed() -> None:
    lengths = lengths_of(200)
    one = generator()
    first, second = batches_by_length(lengths, 512, one), batches_by_length(lengths, 512, one)
    assert first != second
    assert batches_by_length(lengths, 512, generator()) == first
    widths = [max(lengths[n] for n in batch) for batch in first]
    assert widths != sorted(widths)


@pytest.mark.parametrize("parts", [1, 2, 4])
def test_steps_hold_every_index_once_and_about_the_tokens_asked(parts: int) -> None:
    lengths = lengths_of(2000)
    steps = steps_of(lengths, 2048, parts, generator())
    assert sorted(n for step in steps for part in step for n in part) == list(range(2000))
    for step in steps[:-1]:
        assert 2048 <= sum(lengths[n] for part in step for n in part) < 2048 + 120
        assert 1 <= len(step) <= parts and all(step)


def test_the_parts_of_a_step_group_by_length() -> None:
    lengths = lengths_of(2000)
    wasted = {parts: padding([part for step in steps_of(lengths, 2048, parts, generator())
                              for part in step], lengths) for parts in (1, 2, 4)}
    assert wasted[1] > wasted[2] > wasted[4]
    assert wasted[4] < 0.6 * wasted[1]
    for step in steps_of(lengths, 2048, 2, generator()):
        if len(step) == 2:
            assert max(lengths[n] for n in step[0]) <= min(lengths[n] for n in step[1])


def test_steps_mix_long_and_short() -> None:
    lengths = lengths_of(2000)
    mean = sum(lengths) / len(lengths)
    for step in steps_of(lengths, 2048, 2, generator())[:-1]:
        held = [lengths[n] for part in step for n in part]
        assert 0.5 * mean < sum(held) / len(held) < 1.8 * mean


def test_steps_follow_their_seed() -> None:
    lengths = lengths_of(300)
    assert steps_of(lengths, 512, 2, generator(1)) == steps_of(lengths, 512, 2, generator(1))
    assert steps_of(lengths, 512, 2, generator(1)) != steps_of(lengths, 512, 2, generator(2))
    assert steps_of([4, 4], 100, 2, generator()) in ([[[0], [1]]], [[[1], [0]]])
