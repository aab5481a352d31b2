"""Attention in blocks is attention: forth and back, whatever the shape."""

from collections.abc import Callable

import pytest
import torch

from model import attention
from model.attention import InBlocks, attend_causally, attend_from_one


def asked(B: int, H: int, K: int, T: int, C: int = 8) -> tuple[torch.Tensor, ...]:
    """Queries, keys and values, as the layers around lay them out: heads after tokens."""
    generator = torch.Generator().manual_seed(T)
    return tuple(torch.randn(B, T, heads, C, generator=generator).transpose(1, 2).requires_grad_()
                 for heads in (H, K, K))


def plain(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Attention as it is defined, in float64."""
    k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], dim=1) for x in (k, v))
    scores = q.double() @ k.double().mT * q.shape[-1] ** -0.5
    ahead = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
    return (scores.masked_fill(ahead, -torch.inf).softmax(-1) @ v.double()).float()


@pytest.mark.parametrize("T", [129, 160, 256, 300, 512])
@pytest.mark.parametrize(("B", "H", "K"), [(1, 2, 2), (3, 4, 2), (33, 1, 1)])
def test_in_blocks_equals_the_definition_forth_and_back(B: int, H: int, K: int, T: int) -> None:
    given = asked(B, H, K, T)
    mixed, expected = attend_causally(*given, None), plain(*given)
    assert "InBlocks" in mixed.grad_fn.name()
    torch.testing.assert_close(mixed, expected, rtol=1e-5, atol=1e-5)
    by_mixed = torch.randn(mixed.shape, generator=torch.Generator().manual_seed(1))
    found = torch.autograd.grad(mixed, given, by_mixed)
    for one, other in zip(found, torch.autograd.grad(expected, given, by_mixed), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_a_compiler_makes_one_graph_of_quarters_for_all_lengths() -> None:
    graphs = []

    def counted(graph: torch.fx.GraphModule, inputs: list) -> Callable:
        graphs.append(graph)
        return graph.forward

    compiled = torch.compile(lambda *given: attend_causally(*given, None), fullgraph=True,
                             dynamic=True, backend=counted)
    with torch.no_grad():
        for T in (129, 160, 255, 300, 512):
            given = asked(3, 4, 2, T)
            torch.testing.assert_close(compiled(*given), plain(*given), rtol=1e-5, atol=1e-5)
    assert len(graphs) == 1
    calls = [node for node in graphs[0].graph.nodes if node.target is attention.ATTEND]
    assert len(calls) == 4


def test_its_results_lie_as_queries_and_keys_do() -> None:
    """Else the layers around would copy them."""
    q, k, v = asked(3, 4, 2, 200)
    mixed = InBlocks.apply(q, k, v)
    assert mixed.transpose(1, 2).is_contiguous()
    assert all(gradient.transpose(1, 2).is_contiguous()
               for gradient in torch.autograd.grad(mixed.sum(), (q, k, v)))


@pytest.mark.parametrize("T", [128, 513])
def test_where_blocks_do_not_pay_all_is_one_call(T: int) -> None:
    given = asked(2, 2, 1, T)
    mixed = attend_causally(*given, None)
    assert "InBlocks" not in mixed.grad_fn.name()
    torch.testing.assert_close(mixed, plain(*given), rtol=1e-5, atol=1e-5)


def test_a_block_reads_no_key_ahead_of_it(monkeypatch) -> None:
    """What they are for: 62.5 % of the products of 256 tokens, forth and back."""
    computed = {"forth": 0, "back": 0}
    forth, back = attention.ATTEND, attention.ATTEND_BACKWARD

    def counted(way, kernel):  # noqa: ANN001, ANN202
        def call(*given: torch.Tensor, **named: torch.Tensor) -> object:
            q, k = given[:2] if way == "forth" else given[1:3]
            computed[way] += q.shape[0] * q.shape[2] * k.shape[2]
            return kernel(*given, **named)
        return call

    monkeypatch.setattr(attention, "ATTEND", counted("forth", forth))
    monkeypatch.setattr(attention, "ATTEND_BACKWARD", counted("back", back))
    attend_causally(*asked(20, 1, 1, 256), None).sum().backward()
    assert computed["forth"] == computed["back"] == 20 * 256 * 256 * 0.625


@pytest.mark.parametrize("shared", [0, 3])
@pytest.mark.parametrize("compiled", [False, True])
def test_one_query_a_row_attends_as_defined(compiled: bool, shared: int) -> None:
    """Groups of three query heads; what a compiler is told equals plain products."""
    B, K, G, S, C = 4, 2, 3, 7, 5
    generator = torch.Generator().manual_seed(shared)
    q, k, v = (torch.randn(B, heads, T, C, generator=generator, dtype=torch.float64)
               for heads, T in ((K * G, 1), (K, S), (K, S)))
    before = [torch.randn(1, K, shared, C, generator=generator, dtype=torch.float64)
              for _ in range(2)]
    mask = torch.arange(shared + S) < shared + torch.tensor([1, 4, 7, 2])[:, None]
    attend = torch.compile(attend_from_one, backend="eager") if compiled else attend_from_one
    mixed = attend(q, k, v, mask[:, None, None], tuple(before) if shared else None)

    keys, values = (torch.cat((first.expand(B, -1, -1, -1), own), dim=2).repeat_interleave(G, dim=1)
                    for first, own in zip(before, (k, v), strict=True))
    scores = (q @ keys.transpose(-1, -2)) / C ** 0.5
    weights = scores.masked_fill(~mask[:, None, None], -torch.inf).softmax(-1)
    torch.testing.assert_close(mixed, weights @ values, atol=1e-6, rtol=1e-6)
