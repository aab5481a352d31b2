"""What sequences share: found, packed, and each token's place kept."""

import random

import pytest
import torch

from model.sharing import common_prefix, families, learning, pack, row_length, shared_by_all
from model.transformer import Transformer
from model.vocabulary import learn_tokens


def random_sequences(seed: int) -> list[list[int]]:
    """Sequences of a small tree: heads that some share, tails of their own, a few repeated."""
    rng = random.Random(seed)
    heads = [[rng.randrange(9) for _ in range(rng.randrange(12))] for _ in range(3)]
    rows = [rng.choice(heads) + [rng.randrange(9) for _ in range(rng.randrange(1, 9))]
            for _ in range(12)]
    return rows + rng.choices(rows, k=4)


@pytest.mark.parametrize(("sequences", "length"), [
    ([[1, 2, 3], [1, 2, 4], [1, 2]], 2), ([[1, 2], [3]], 0), ([[5, 6]], 2), ([[], [1]], 0),
    ([[2, 1], [2, 1]], 2), ([[1, 9], [1, 2, 9], [1, 3]], 1)])
def test_common_prefix(sequences: list[list[int]], length: int) -> None:
    assert common_prefix(sequences) == length


def test_a_prefix_is_read_apart_where_it_is_long_and_leaves_what_is_asked() -> None:
    long = list(range(100))
    assert shared_by_all([[*long, 1], [*long, 2]], 99) == 96
    assert shared_by_all([[*long, 1], [*long, 2]], 50) == 48
    assert shared_by_all([[*long[:31], 1], [*long[:31], 2]], 31) == 0
    assert shared_by_all([long], 99) == 0


@pytest.mark.parametrize("seed", range(5))
def test_families_are_all_sequences_once_and_spare_tokens(seed: int) -> None:
    sequences = random_sequences(seed)
    groups = families(sequences)
    assert sorted(n for group in groups for n in group) == list(range(len(sequences)))
    assert any(len(group) > 1 for group in groups)
    for group in groups:
        lengths = [len(sequences[n]) for n in group]
        assert row_length(sequences, group) <= min(sum(lengths), 2 * max(lengths))


def test_both_orders_of_a_question_are_one_family_and_others_stand_alone() -> None:
    question = list(range(20))
    sequences = [[*question, 1, 2, 3], [30, 31, 32], [*question, 2, 1, 3], [*question[:2], 9, 9, 9]]
    assert sorted(map(sorted, families(sequences))) == [[0, 2], [1], [3]]


@pytest.mark.parametrize("seed", range(5))
def test_every_token_of_a_packed_batch_is_found_at_its_place(seed: int) -> None:
    sequences = random_sequences(seed)
    groups = families(sequences)
    packed = pack(sequences, groups)
    order = [n for group in groups for n in group]
    for n, row, columns in zip(order, packed.row.tolist(), packed.columns, strict=True):
        assert packed.tokens[row, columns].tolist() == sequences[n]
        assert packed.positions[row, columns].tolist() == list(range(len(sequences[n])))
    at, counts = packed.at([range(len(sequences[n]) - 1, len(sequences[n])) for n in order])
    assert packed.tokens.gather(1, at)[counts].tolist() == [sequences[n][-1] for n in order]


@pytest.mark.parametrize("together", [[[0], [1], [2], [3]], [[2, 0], [3], [1]]])
def test_what_is_learnt_of_rows_is_all_but_what_is_given(together: list[list[int]]) -> None:
    """The first token of a row of which nothing is given has nothing that it could follow."""
    rows, given = [[1, 2, 3, 4], [7, 8, 9], [1, 2, 5, 5, 6], [5, 5], [4, 4]], [2, 0, 2, 1, 1]
    learnt = learning(rows, given, together)
    tokens = torch.cat([group.tokens.flatten() for group in learnt.groups])
    places = torch.cat([group.positions.expand(group.tokens.shape).flatten()
                        for group in learnt.groups])
    states = learnt.at[learnt.drawn_from]
    assert len(set(learnt.at.tolist())) == len(learnt.at)
    wanted = [(rows[n][place - 1], place - 1, rows[n][place]) for family in together
              for n in family for place in range(max(1, given[n]), len(rows[n]))]
    assert list(zip(tokens[states].tolist(), places[states].tolist(), learnt.targets.tolist(),
                    strict=True)) == wanted


def test_replies_to_one_prompt_are_learnt_as_each_alone(any_family: Transformer) -> None:
    """Loss and gradient, also where replies begin with the same words or are the same."""
    rows = [[1, 2, 3, 4, 5], [1, 2, 3, 4, 6, 7], [1, 2, 8], [9, 1, 2, 3], [1, 2, 3, 4, 5]]
    given = [2, 2, 2, 1, 2]

    def learn(together: list[list[int]]) -> tuple[float, list[torch.Tensor]]:
        any_family.zero_grad()
        learnt = learning(rows, given, together)
        hidden = any_family.forward_groups(learnt.groups, learnt.at)
        loss = learn_tokens(any_family, hidden[learnt.drawn_from], learnt.targets)
        return loss.item(), [p.grad.clone() for p in any_family.parameters()
                             if p.grad is not None]

    alone, gradients = learn([[0], [1], [2], [3], [4]])
    shared, found = learn([[0, 1, 2, 4], [3]])
    assert shared == pytest.approx(alone, rel=1e-5)
    for one, other in zip(gradients, found, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-5)
