"""Sampling: the same numbers as the full forward, whatever the batch; the right frequencies."""

import itertools
import math
from collections import Counter
from collections.abc import Callable

import pytest
import torch
from functorch.compile import make_boxed_func
from torch import nn
from torch._dynamo.backends.common import aot_autograd

from model import generate as model_generate
from model.cache import KVCache
from model.generate import Completion, bucket, generate, start
from model.noise import uniforms
from model.sampling import Sampling, filtered, sample_token
from model.scoring import score_continuations
from model.sharing import pack
from model.slots import Slots, cut_by_length
from model.text import cut_at
from model.transformer import ModelConfig, Transformer, at_columns

NO_END = (-1,)
CHI_SQUARE_7 = 24.32  # 99.9th percentile at 7 degrees of freedom
PROMPTS = [[5], [7, 8, 9], [1, 2, 3, 4, 5, 6, 7, 8, 9], [30, 31], [11] * 12, [3, 17], [8, 9, 7, 5]]


class Successor:
    """A model that is sure that each token is followed by the next number, and checks its place.

    Its hidden state is the token itself; a prompt [a, ..., p] must be continued at slots that
    follow the prompt, which holds because prompts here count up from 0.
    """

    def __init__(self, vocabulary: int = 50):
        self.config = ModelConfig(vocab_size=vocabulary, width=1, layers=1, heads=1, kv_heads=1,
                                  mlp=1, head_dim=2, context=40)
        self.lm_head, self.table = nn.Linear(1, vocabulary), torch.zeros(1)
        self.fused = False
        self.prefilled: list[int] = []
        self.misplaced = self.steps = 0

    def prefill(self, packed, cache, rows, at):
        self.prefilled.append(len(rows))
        return at_columns(packed.tokens, at)[..., None]

    def decode_one(self, tokens, slots, cache, rows, parts):
        self.steps += 1
        self.misplaced += int(((tokens != slots) & (tokens < 40)).sum())
        assert int(slots.max()) < self.config.context
        return tokens[..., None]

    def logits(self, hidden):
        return -100.0 * (torch.arange(self.config.vocab_size) - hidden - 1.0).abs()


def noise(count: int, steps: int, seed: int = 0) -> torch.Tensor:
    return uniforms([f"{seed}/{n}/0" for n in range(count)], steps)


def sample(model: Transformer, sampling: Sampling, rows: int = 3, **options) -> list[Completion]:
    return generate(model, PROMPTS, sampling, noise(len(PROMPTS), sampling.max_new),
                    options.pop("end_tokens", NO_END), rows=rows, **options)


@pytest.mark.parametrize("max_new", [1, 2, 4, 6, 9])
@pytest.mark.parametrize("stride", [1, 4, 16])
def test_each_prompt_is_continued_from_its_own_end(max_new: int, stride: int) -> None:
    model, finished = Successor(), []
    prompts = [list(range(n)) for n in (1, 9, 4, 2, 7, 7, 3, 12, 1)]
    replies = generate(model, prompts, Sampling(max_new), noise(9, max_new), NO_END, rows=4,
                       stride=stride, advanced=finished.append)
    for prompt, reply in zip(prompts, replies, strict=True):
        first = prompt[-1] + 1
        assert reply.tokens == list(range(first, first + max_new))
        assert reply.logprobs == pytest.approx([0.0] * max_new, abs=1e-6)
        assert not reply.ended
    assert sum(finished) == 9 and sum(model.prefilled) == 9 and max(model.prefilled) <= 4 + 2


@pytest.mark.parametrize("max_new", [1, 2, 4, 5, 6, 9])
def test_no_step_is_taken_of_which_nobody_wants_the_token(max_new: int) -> None:
    """The first token is drawn where the prompt was read."""
    model = Successor()
    generate(model, [[0], [0, 1, 2]], Sampling(max_new), noise(2, max_new), NO_END)
    assert model.steps == max_new - 1


def test_tokens_stand_where_the_prompt_ends() -> None:
    model = Successor()
    generate(model, [list(range(n)) for n in (3, 6)], Sampling(5), noise(2, 5), NO_END, stride=1)
    assert model.misplaced == 0


@pytest.mark.parametrize("stride", [1, 3, 4, 16])
def test_ends_with_the_end_token_and_keeps_it(stride: int) -> None:
    prompts = [list(range(n)) for n in (8, 3, 10, 2, 12)]
    replies = generate(Successor(), prompts, Sampling(6), noise(5, 6), (9, 15), rows=2,
                       stride=stride)
    assert [r.tokens for r in replies] == [[8, 9], [3, 4, 5, 6, 7, 8], [10, 11, 12, 13, 14, 15],
                                           [2, 3, 4, 5, 6, 7], [12, 13, 14, 15]]
    assert [r.ended for r in replies] == [True, False, True, False, True]
    assert all(len(r.logprobs) == len(r.tokens) for r in replies)


@pytest.mark.parametrize("stride", [1, 3, 4, 16])
def test_a_cut_ends_a_reply_where_it_says(stride: int) -> None:
    """A stop string of two tokens, 7 8: what is kept ends before it."""

    def cut(tokens: list[int]) -> int | None:
        pairs = list(zip(tokens, tokens[1:], strict=False))
        return pairs.index((7, 8)) if (7, 8) in pairs else None

    prompts = [list(range(n)) for n in (7, 5, 8, 1)]
    replies = generate(Successor(), prompts, Sampling(5), noise(4, 5), (6,), cut, rows=3,
                       stride=stride)
    assert [r.tokens for r in replies] == [[], [5, 6], [8, 9, 10, 11, 12], [1, 2, 3, 4, 5]]
    assert [r.ended for r in replies] == [True, True, False, False]
    replies = generate(Successor(), prompts[1:2], Sampling(5), noise(1, 5), NO_END, cut,
                       stride=stride)
    assert (replies[0].tokens, len(replies[0].logprobs), replies[0].ended) == ([5, 6], 2, True)


class Characters:
    """A tokenizer of single characters."""

    def decode_more(self, ids: list[int]) -> str:
        return "".join(map(chr, ids))


@pytest.mark.parametrize(("text", "kept"), [
    ("yes\n\nHuman: and", "yes"), ("yes\n\nHuman:", "yes"), ("\n\nHuman:", ""),
    ("yes\n\nHuman", None), ("a\n\nUser:\n\nHuman:", "a"), ("", None)])
def test_a_stop_string_of_many_tokens_leaves_nothing_of_itself(text: str, kept: str | None) -> None:
    length = cut_at(("\n\nHuman:", "\n\nUser:"), Characters())([ord(c) for c in text])
    assert (None if length is None else text[:length]) == kept


def test_a_prompt_may_fill_the_context_to_the_last_token(tiny) -> None:
    model = tiny(context=40)
    generator = torch.Generator().manual_seed(3)
    prompts = [torch.randint(40, (n,), generator=generator).tolist() for n in (33, 2, 34, 30)]
    replies = generate(model, prompts, Sampling(6), noise(4, 6), NO_END, rows=3, stride=4)
    rescored = score_continuations(model, prompts, [r.tokens for r in replies])
    for reply, logprobs in zip(replies, rescored, strict=True):
        torch.testing.assert_close(torch.tensor(reply.logprobs), logprobs, rtol=0, atol=2e-5)


@pytest.mark.parametrize("sampling", [
    Sampling(8), Sampling(8, temperature=0.6), Sampling(7, temperature=0), Sampling(1)], ids=str)
def test_cached_equals_full_forward(any_family: Transformer, sampling: Sampling) -> None:
    for prompt, reply in zip(PROMPTS, sample(any_family, sampling), strict=True):
        assert len(reply.tokens) == sampling.max_new
        tokens = torch.tensor([[*prompt, *reply.tokens]])
        with torch.no_grad():
            states = any_family(tokens)[0, len(prompt) - 1: -1]
            logits = any_family.logits(states) / (sampling.temperature or 1)
        drawn = torch.tensor(reply.tokens)
        full = logits.log_softmax(-1).gather(-1, drawn[:, None])[:, 0]
        torch.testing.assert_close(torch.tensor(reply.logprobs), full, rtol=0, atol=2e-5)
        if sampling.temperature == 0:
            assert reply.tokens == logits.argmax(-1).tolist()


def test_sampled_equals_rescored(tiny) -> None:
    model = tiny()
    replies = sample(model, Sampling(9, temperature=0.7), end_tokens=(4, 5, 6, 7))
    assert {reply.ended for reply in replies} == {True, False}
    rescored = score_continuations(model, PROMPTS, [r.tokens for r in replies], temperature=0.7)
    for reply, logprobs in zip(replies, rescored, strict=True):
        torch.testing.assert_close(torch.tensor(reply.logprobs), logprobs, rtol=0, atol=2e-5)


@pytest.mark.parametrize("sampling", [Sampling(9), Sampling(9, 1.3, top_k=12, top_p=0.9)], ids=str)
def test_a_reply_is_the_same_alone_and_in_any_batch(any_family, sampling: Sampling) -> None:
    """Alone, in any order, with few slots that are refilled, read at any stride, ends or not."""
    keyed = noise(len(PROMPTS), 9)
    ends = (4, 5)
    alone = [generate(any_family, [prompt], sampling, keyed[n: n + 1], ends)[0]
             for n, prompt in enumerate(PROMPTS)]
    assert {reply.ended for reply in alone} == {True, False}
    backwards = range(len(PROMPTS) - 1, -1, -1)
    for rows, stride, order in ((128, 4, range(7)), (2, 1, range(7)), (3, 4, backwards),
                                (1, 16, range(7)), (5, 3, backwards)):
        batch = generate(any_family, [PROMPTS[n] for n in order], sampling, keyed[list(order)],
                         ends, rows=rows, stride=stride)
        for n, reply in zip(order, batch, strict=True):
            assert (reply.tokens, reply.ended) == (alone[n].tokens, alone[n].ended)
            assert reply.logprobs == pytest.approx(alone[n].logprobs, abs=2e-5)


def test_a_prefix_that_all_share_is_read_once_and_changes_nothing(any_family) -> None:
    """Also where prompts then share more with one another, are equal, or fill the context."""
    generator = torch.Generator().manual_seed(5)
    few_shot = torch.randint(40, (37,), generator=generator).tolist()
    ends = ([], [1, 2, 3, 4], [1, 2, 3, 4, 5, 6, 7, 8], [1, 2, 3, 9], [1, 2, 3, 9], [7] * 14)
    prompts, keyed, read = [[*few_shot, 0, *end] for end in ends], noise(6, 12), []
    plain = any_family.read_once
    any_family.read_once = lambda prefix: read.append(prefix) or plain(prefix)
    alone = [generate(any_family, [prompt], Sampling(12), keyed[n: n + 1], (4, 5))[0]
             for n, prompt in enumerate(prompts)]
    assert not read
    for rows in (2, 6):
        together = generate(any_family, prompts, Sampling(12), keyed, (4, 5), rows=rows)
        assert read.pop() == few_shot[:32]
        for one, other in zip(alone, together, strict=True):
            assert one.tokens == other.tokens
            assert other.logprobs == pytest.approx(one.logprobs, abs=2e-5)


def test_a_fused_step_draws_the_same_and_is_compiled_once(tiny, monkeypatch) -> None:
    """Without a graph break, whatever the prompts' lengths and the rows that are left."""
    model, graphs = tiny(layers=1, qk_norm=True, head_dim=6), []

    def counted(graph: torch.fx.GraphModule, inputs: list) -> Callable:
        graphs.append(graph)
        return graph.forward

    def replies(seed: int) -> list[Completion]:
        generator = torch.Generator().manual_seed(seed)
        lengths = torch.randint(1, 45, (40,), generator=generator).tolist()
        prompts = [torch.randint(40, (n,), generator=generator).tolist() for n in lengths]
        return generate(model, prompts, Sampling(16), noise(40, 16, seed), (4, 5, 6), rows=15)

    plain = [replies(seed) for seed in range(3)]
    monkeypatch.setitem(model_generate.fused_step, "cpu", torch.compile(
        model_generate.step, fullgraph=True, dynamic=True, backend=counted))
    model.compile(dynamic=True)
    with torch._dynamo.config.patch(fail_on_recompile_limit_hit=True, recompile_limit=3):
        fused = [replies(seed) for seed in range(3)]
    for one, other in zip(itertools.chain(*fused), itertools.chain(*plain), strict=True):
        assert (one.tokens, one.ended) == (other.tokens, other.ended)
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-5)
    assert 2 <= len(graphs) <= 3, "one graph of rows in parts, one of few, one of a single row"


def test_a_fused_step_writes_its_tokens_alone_and_copies_no_cache(tiny) -> None:
    """Nothing of a cache's size is made anew: a write into a part of a buffer would scatter one."""
    written = []

    def kept(graph: torch.fx.GraphModule, inputs: list) -> Callable:
        written.extend(str(node.target) for node in graph.graph.nodes
                       if node.op == "call_function" and "val" in node.meta
                       and getattr(node.meta["val"], "ndim", 0) == 4
                       and node.meta["val"].shape[2] == capacity + 1)
        return make_boxed_func(graph.forward)

    model, capacity = tiny(layers=2), 23
    state = Slots(model, 3, capacity, 5, 4, None)
    with torch.inference_mode():
        start(model, state, [list(range(9))] * 3, [0, 1, 2], [0, 1, 2], noise(6, 4), Sampling(4))
        torch.compile(model_generate.step, fullgraph=True, backend=aot_autograd(fw_compiler=kept))(
            model, state, noise(6, 4), Sampling(4), [(3, 16)])
    assert written
    assert {name.split(".")[1] for name in written} <= {"view", "slice", "copy_"}


@pytest.mark.parametrize("parts", [1, 2, 3, 4])
def test_a_batch_is_cut_where_it_spares_most(parts: int) -> None:
    """One cut is the best there is; more never cost more; no part has a single row."""
    generator = torch.Generator().manual_seed(parts)
    for rows in range(4 * parts, 4 * parts + 9):
        lengths = torch.randint(1, 30, (rows,), generator=generator).sort(descending=True)[0]
        cuts = [cut_by_length(lengths.tolist(), n) for n in range(1, parts + 1)]
        costs = [sum(size * longest for size, longest in cut) for cut in cuts]
        assert costs == sorted(costs, reverse=True)
        sizes = [size for size, _ in cuts[-1]]
        assert len(sizes) == parts and sum(sizes) == rows and min(sizes) >= 2
        assert [longest for _, longest in cuts[-1]] == [
            part.max().item() for part in lengths.split(sizes)]
        if parts == 2:
            assert costs[1] == min(at * lengths[0] + (rows - at) * lengths[at]
                                   for at in range(2, rows - 1))


def test_rows_of_one_length_are_cut_in_halves() -> None:
    """What a compiler sees first is what it takes for usual: no part of two rows then."""
    assert cut_by_length([7] * 16, 3) == [(8, 7), (4, 7), (4, 7)]


def holding(model: Transformer, held: dict[int, int], rows: int = 12) -> Slots:
    state = Slots(model, rows, 16, 20, 4, None)
    state.place(torch.tensor([*held]), [*held.values()], torch.ones(len(held)).long())
    return state


def test_those_that_came_first_take_their_turns_the_longest_first(tiny) -> None:
    """Wherever they stand: nothing moves. Where they are few, the first rows are decoded."""
    came = [5, 11, 0, 7, 3, 9, 2, 6, 4, 10]
    state = holding(tiny(), {row: 19 - row for row in came})
    lengths = {row: 1 + row for row in came}
    assert sum(size for size, _ in state.line_up(8, lengths, 2)) == 8
    assert state.decoded == sorted(came[:8], reverse=True) == state.turn[:8].tolist()
    state.release(11)
    state.line_up(8, lengths, 2)
    assert state.decoded == sorted([*came[:1], *came[2:9]], reverse=True)
    assert state.held == {row: 19 - row for row in came if row != 11}
    for row in (0, 7, 3):
        state.release(row)
    assert state.line_up(6, lengths, 2) == [(6, 1 + 10)]
    assert state.decoded == [0, 1, 2, 3, 4, 5] and len(state.held) == 6
    assert {row: state.held[row] for row in (2, 4, 5)} == {2: 17, 4: 15, 5: 14}
    assert {state.held[row] for row in (0, 1, 3)} == {19 - row for row in (9, 6, 10)}
    assert state.record[:6].tolist() == [state.held[row] for row in range(6)]


def test_rows_move_once_one_place_in_sixteen_is_free(tiny) -> None:
    state, lengths = holding(tiny(), {row: row for row in range(1, 19)}, rows=40), dict.fromkeys(
        range(1, 19), 2)
    state.line_up(17, lengths, 1)
    assert 0 not in state.held and {17, 18} < state.held.keys()
    state.release(5)
    state.line_up(17, lengths, 1)
    assert (state.held[0], state.held[5]) == (17, 18) and not {17, 18} & state.held.keys()


def test_rows_apart_draw_as_each_alone(tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """The way of a fused CPU, uncompiled: a refilled batch, its rows decoded where they are."""
    model, several, sampling = tiny(layers=2), [], Sampling(9)
    model.fused = True

    def step(model, state, noise, sampling, parts):
        several.append(len(parts))
        model_generate.step(model, state, noise, sampling, parts)

    monkeypatch.setitem(model_generate.fused_step, "cpu", step)
    generator = torch.Generator().manual_seed(7)
    lengths = torch.randint(1, 30, (45,), generator=generator).tolist()
    prompts = [torch.randint(40, (n,), generator=generator).tolist() for n in lengths]
    keyed = noise(45, 9)
    alone = [generate(model, [prompt], sampling, keyed[n: n + 1], (4, 5))[0]
             for n, prompt in enumerate(prompts)]
    assert set(several) == {1}
    for rows, stride in ((14, 4), (20, 1), (44, 3)):
        several.clear()
        together = generate(model, prompts, sampling, keyed, (4, 5), rows=rows, stride=stride)
        assert set(several) == {1, model_generate.PARTS["cpu"]}
        for one, other in zip(alone, together, strict=True):
            assert (one.tokens, one.ended) == (other.tokens, other.ended)
            assert other.logprobs == pytest.approx(one.logprobs, abs=2e-5)


def test_each_part_of_a_batch_looks_as_far_as_it_is_told(tiny) -> None:
    """Rows of unequal length in two parts, wherever they stand, and in one have the same states;
    and no slot beyond a part's length is read, whatever it holds.
    """
    model = tiny(layers=2)
    rows = [[1, 2, 3, 4, 5, 6, 7], [8, 9, 10, 11, 12], [13, 14], [15, 16, 17]]

    def states(order: list[int], parts: list[tuple[int, int]], beyond: float = 0.0) -> torch.Tensor:
        cache = KVCache(2, 4, model.config.kv_heads, 16, model.config.head_dim)
        slots = torch.tensor([len(row) - 1 for row in rows])
        model.prefill(pack([row[:-1] for row in rows], [[n] for n in range(4)]), cache,
                      torch.arange(4), torch.zeros(4, 1).long())
        for buffer in (*cache.keys, *cache.values):
            buffer[:, :, 8:] = beyond
            buffer[2:, :, 4:] = beyond
        at = slice(4) if len(parts) == 1 else torch.tensor(order)
        return model.decode_one(torch.tensor([rows[n][-1] for n in order]), slots[order], cache,
                                at, parts)

    with torch.inference_mode():
        whole = states([0, 1, 2, 3], [(4, 8)])
        for order in ([0, 1, 2, 3], [1, 0, 3, 2]):
            apart = states(order, [(2, 8), (2, 4)], torch.nan)
            torch.testing.assert_close(apart, whole[order], rtol=0, atol=1e-6)


def test_a_row_that_moves_goes_on_as_it_was(tiny) -> None:
    """Two rows of which the second takes the place of the first, whose sequence has ended; what it
    leaves behind counts no more, though it goes on from too few slots.
    """
    model, prompts = tiny(layers=2), [[1, 2, 3], [4, 5, 6, 7, 8]]

    def drawn(moved: bool) -> list[int]:
        state = Slots(model, 2, 16, 2, 6, None)
        start(model, state, prompts, [0, 1], [0, 1], noise(3, 6), Sampling(6))
        for n in range(4):
            if n == 2 and moved:
                state.record[0] = 2
                state.move([(0, 1)], 7)
            parts = [(1, 6 + n), (1, 2)] if n >= 2 and moved else [(2, 6 + n)]
            model_generate.step(model, state, noise(3, 6), Sampling(6), parts)
        return state.tokens[1, :5].tolist()

    with torch.inference_mode():
        assert drawn(True) == drawn(False)


@pytest.mark.parametrize(("length", "rounded"), [(1, 8), (8, 8), (9, 16), (129, 144), (4000, 4096)])
def test_lengths_round_up_by_an_eighth_at_most(length: int, rounded: int) -> None:
    assert bucket(length) == rounded


def test_a_longer_limit_only_adds(tiny) -> None:
    short = generate(tiny(), PROMPTS, Sampling(4), noise(7, 4), NO_END)
    long = generate(tiny(), PROMPTS, Sampling(11), noise(7, 11), NO_END)
    assert [r.tokens for r in short] == [r.tokens[:4] for r in long]


def chi_square(tokens: list[int], probabilities: torch.Tensor) -> float:
    """Pearson's statistic of drawn tokens against the distribution that they claim."""
    counts, N = Counter(tokens), len(tokens)
    return sum((counts[v] - N * p) ** 2 / (N * p) for v, p in enumerate(probabilities.tolist()))


def test_sampling_frequencies_are_those_of_the_softmax(tiny) -> None:
    """Of the first token, and of the second where the first was the likeliest."""
    model = tiny(vocab_size=8)
    with torch.no_grad():
        model.lm_head.weight.mul_(0.5)
    replies = generate(model, [[1, 2, 3]] * 4000, Sampling(2, temperature=0.8), noise(4000, 2),
                       NO_END)

    def expected(prompt: list[int]) -> torch.Tensor:
        with torch.no_grad():
            return (model.logits(model(torch.tensor([prompt]))[0, -1]) / 0.8).softmax(-1)

    first = expected([1, 2, 3])
    assert first.min() * 4000 > 5
    assert chi_square([r.tokens[0] for r in replies], first) < CHI_SQUARE_7
    likeliest = int(first.argmax())
    second = expected([1, 2, 3, likeliest])
    followers = [r.tokens[1] for r in replies if r.tokens[0] == likeliest]
    assert len(followers) > 500 and second.min() * len(followers) > 5
    assert chi_square(followers, second) < CHI_SQUARE_7
    assert chi_square([r.tokens[0] for r in replies], second) > 2 * CHI_SQUARE_7


def test_a_token_is_drawn_by_the_inverse_distribution_function() -> None:
    logits = torch.tensor([0.2, 0.5, 0.3]).log().expand(6, 3)
    at = torch.tensor([0.0, 0.199, 0.201, 0.699, 0.701, 1 - 2.0**-53], dtype=torch.float64)
    token, logprob = sample_token(logits, at, Sampling(1))
    assert token.tolist() == [0, 0, 1, 1, 2, 2]
    torch.testing.assert_close(logprob.exp(), torch.tensor([0.2, 0.2, 0.5, 0.5, 0.3, 0.3]))


def test_filters_keep_the_likeliest_and_their_proportions() -> None:
    probabilities = torch.tensor([[0.1, 0.4, 0.05, 0.3, 0.15]])
    for sampling, kept in (
        (Sampling(1, top_k=1), {1}), (Sampling(1, top_k=3), {1, 3, 4}),
        (Sampling(1, top_k=9), None), (Sampling(1, top_p=0.39), {1}),
        (Sampling(1, top_p=0.41), {1, 3}),
        (Sampling(1, top_p=0.75), {1, 3, 4}), (Sampling(1, top_p=1.0), None),
        # Of the two that top-k keeps, the first holds 4/7: more than half.
        (Sampling(1, top_k=2, top_p=0.5), {1}),
    ):
        kept = set(range(5)) if kept is None else kept
        after = filtered(probabilities.log(), sampling).softmax(-1)[0]
        assert {v for v in range(5) if after[v] > 0} == kept
        total = sum(probabilities[0, v].item() for v in kept)
        for v in kept:
            assert after[v].item() == pytest.approx(probabilities[0, v].item() / total)


def test_filtered_tokens_are_never_drawn_and_logprobs_are_those_of_the_rest() -> None:
    logits = torch.tensor([0.1, 0.4, 0.05, 0.3, 0.15]).log()
    at = torch.cat((uniforms(["noise"], 500)[0], torch.tensor([0.0, 1 - 2.0**-53])))
    token, logprob = sample_token(logits.expand(len(at), 5), at, Sampling(1, top_k=2))
    assert set(token.tolist()) == {1, 3}
    share = torch.where(token == 1, 4 / 7, 3 / 7)
    torch.testing.assert_close(logprob, share.log())


def test_greedy_is_argmax_whatever_the_noise() -> None:
    logits = torch.tensor([[0.0, 3.0, 1.0], [2.0, -1.0, 1.5]])
    for value in (0.0, 0.5, 0.999):
        token, logprob = sample_token(logits, torch.full((2,), value, dtype=torch.float64),
                                      Sampling(1, temperature=0))
        assert token.tolist() == [1, 0]
        torch.testing.assert_close(logprob, logits.log_softmax(-1)[[0, 1], [1, 0]])


def test_noise_is_a_function_of_key_and_step() -> None:
    keys = ["0/a/0", "0/a/1", "1/a/0", "0/b/0"]
    short, long = uniforms(keys, 3), uniforms(keys, 300)
    assert short.dtype == torch.float64 and torch.equal(short, long[:, :3])
    assert torch.equal(uniforms(keys[2:3], 300), long[2:3])
    assert len(set(long.flatten().tolist())) == 1200
    assert long.min() >= 0 and long.max() < 1


def test_noise_is_uniform() -> None:
    drawn = uniforms([str(n) for n in range(100)], 100).flatten()
    counts = torch.histc(drawn, 8, 0, 1)
    assert ((counts - 1250) ** 2 / 1250).sum().item() < CHI_SQUARE_7
    assert abs(drawn.mean().item() - 0.5) < 4 * math.sqrt(1 / 12 / 10_000)
    rows = drawn.view(100, 100)
    along = torch.corrcoef(torch.stack((rows[:, :-1].flatten(), rows[:, 1:].flatten())))[0, 1]
    assert abs(along.item()) < 0.04


def test_nothing_to_continue(tiny) -> None:
    assert generate(tiny(), [], Sampling(3), torch.empty(0, 3), NO_END) == []


@pytest.mark.parametrize("prompt", [[], [1] * 62])
def test_a_prompt_that_does_not_fit_is_refused(tiny, prompt: list[int]) -> None:
    with pytest.raises(ValueError, match=f"prompt 1: {len(prompt)} tokens.* 1 to 61 here"):
        generate(tiny(), [[1], prompt], Sampling(3), noise(2, 3), NO_END)


@pytest.mark.parametrize("options", [
    {"max_new": 0}, {"max_new": 1, "temperature": -0.1}, {"max_new": 1, "top_k": 0},
    {"max_new": 1, "top_p": 0.0}, {"max_new": 1, "top_p": 1.1}], ids=str)
def test_impossible_sampling_is_refused(options: dict) -> None:
    with pytest.raises(ValueError, match=[*options][-1]):
        Sampling(**options)
