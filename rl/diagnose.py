"""The numbers by which a broken sampler, scorer or reference shows. Bounds: cai/diagnose.py.

B rollouts, T tokens, R response tokens, as in rl/rollout.py.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from model.scoring import at_response
from model.text import Sampler
from model.vocabulary import token_logprobs
from rl.reward import kl_k1
from rl.rollout import pack, response_logprobs


def policy_numbers(sample: Sampler, reference: nn.Module, prompts: Sequence[str],
                   keys: Sequence[str]) -> dict[str, float]:
    """The checks of the sampler's model, the policy, on its own replies to prompts.

    Its KL is to `reference`, the model that it started from; `keys` name the noise of each reply.
    """
    policy, tokenizer = sample.model, sample.tokenizer
    replies = [(tokenizer.encode(prompt), each) for prompt, each in
               zip(prompts, sample.complete(prompts, keys), strict=True) if each.tokens]
    packed = [tensor.to(policy.table.device) for tensor in
              pack([prompt for prompt, _ in replies], [each.tokens for _, each in replies])]
    rescored = response_logprobs(policy, *packed)
    return {"scorer_parity": scorer_parity([each.logprobs for _, each in replies], rescored),
            "padding_invariance": padding_change(policy, *packed, filler=tokenizer.end),
            "kl_sign": kl_upper(rescored, response_logprobs(reference, *packed))}


def scorer_parity(sampled: Sequence[Sequence[float]], rescored: Tensor) -> float:
    """Largest difference in nats between the sampler's log-probs and those of one forward pass.

    sampled: a list a row, as cached decoding gave them; rescored: (B, R).
    """
    return max(float((torch.tensor(each) - row[: len(each)].cpu()).abs().max())
               for each, row in zip(sampled, rescored, strict=True) if each)


@torch.no_grad()
def padding_change(policy: nn.Module, tokens: Tensor, start: Tensor, response_mask: Tensor,
                   filler: int, width: int = 8) -> float:
    """Largest change of a log-prob between a row alone and all rows with `width` fillers more."""
    padded = _logprobs(policy, pad(tokens, (0, width), value=filler), start, response_mask)
    changes = []
    for row, count in enumerate(response_mask.sum(1).tolist()):
        end = int(start[row]) + count
        alone = _logprobs(policy, tokens[row: row + 1, :end], start[row: row + 1],
                          response_mask[row: row + 1, :count])
        changes.append(float((alone[0] - padded[row, :count]).abs().max()))
    return max(changes)


def _logprobs(policy: nn.Module, tokens: Tensor, start: Tensor, response_mask: Tensor) -> Tensor:
    """Log-probabilities (B, R) of the response tokens by one pass over rows padded as they are."""
    width = response_mask.shape[1]
    return token_logprobs(policy, at_response(policy(tokens), start, width),
                          at_response(tokens, start + 1, width))


def kl_upper(logprobs: Tensor, reference_logprobs: Tensor) -> float:
    """Upper end of the 95 % interval of the mean KL (nats a reply) of replies by the policy.

    logprobs, reference_logprobs: (B, R), zero where masked. A KL is never negative: where even
    this is, the two are swapped, or the replies are not the policy's.
    """
    replies = kl_k1(logprobs, reference_logprobs).sum(dim=1)
    error = replies.std(correction=0) / len(replies) ** 0.5
    return float(replies.mean() + 1.96 * error)
