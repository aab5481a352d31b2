"""Batches of unequal sequences: every sequence once, little padding, sizes as asked."""

import pytest
import torch

from model.batches import alike, batches_by_length, pad_right, random_steps


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


def test_batches_hold_every_index_once_within_the_size() -> None:
    lengths = lengths_of(500)
    batches = batches_by_length(lengths, 1024)
    assert sorted(n for batch in batches for n in batch) == list(range(500))
    assert all(len(batch) * max(lengths[n] for n in batch) <= 1024 for batch in batches)
    assert padding(batches, lengths) < 0.1


def test_a_sequence_above_the_size_stands_alone() -> None:
    assert sorted(batches_by_length([3, 50, 3, 60], 10)) == [[0, 2], [1], [3]]
    assert batches_by_length([], 10) == []


def test_steps_hold_every_index_once_and_about_the_tokens_asked() -> None:
    lengths = lengths_of(2000)
    steps = random_steps(lengths, 2048, generator())
    assert sorted(n for step in steps for n in step) == list(range(2000))
    for step in steps[:-1]:
        assert 2048 <= sum(lengths[n] for n in step) < 2048 + 120
    assert random_steps([], 2048, generator()) == []


def test_steps_mix_long_and_short() -> None:
    lengths = lengths_of(2000)
    mean = sum(lengths) / len(lengths)
    for step in random_steps(lengths, 2048, generator())[:-1]:
        assert 0.5 * mean < sum(lengths[n] for n in step) / len(step) < 1.8 * mean


def test_every_epoch_of_steps_differs_and_comes_back_with_its_seed() -> None:
    lengths, one = lengths_of(300), generator()
    first, second = random_steps(lengths, 512, one), random_steps(lengths, 512, one)
    assert first != second
    assert random_steps(lengths, 512, generator()) == first
    assert random_steps(lengths, 512, generator(1)) != first


@pytest.mark.parametrize("spread", [0.5, 0.8, 1.0])
def test_groups_hold_every_index_once_and_only_lengths_alike(spread: float) -> None:
    lengths = lengths_of(300)
    groups = alike(lengths, spread)
    assert sorted(n for group in groups for n in group) == list(range(300))
    for group in groups:
        held = [lengths[n] for n in group]
        assert min(held) >= spread * max(held)
    assert padding(groups, lengths) <= 1 - spread
    # No more groups than must be: what opens one was too short for the one before.
    for longer, shorter in zip(groups, groups[1:], strict=False):
        assert lengths[shorter[0]] < spread * lengths[longer[0]]
    assert alike([]) == []
