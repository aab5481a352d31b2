"""Texts in, texts out: a model behind the plain callables that text-level code asks for."""

from collections.abc import Callable, Sequence

import torch

from model.batches import READ_TOKENS, batches_by_length, pad_right
from model.generate import Completion, Cut, generate
from model.heads import ScalarModel
from model.noise import uniforms
from model.sampling import Sampling
from model.scoring import score_choices
from model.tokenizer import Tokenizer
from model.transformer import Transformer


def cut_at(stops: Sequence[str], tokenizer: Tokenizer) -> Cut | None:
    """A test that says how many of a continuation's tokens come before its first stop string."""
    if not stops:
        return None

    def cut(tokens: list[int]) -> int | None:
        text = tokenizer.decode_more(tokens)
        starts = [text.find(stop) for stop in stops if stop in text]
        if not starts:
            return None
        length = len(tokens)
        while len(tokenizer.decode_more(tokens[:length])) > min(starts):
            length -= 1
        return length

    return cut


class Sampler:
    """Continues texts; the same key and prompt give the same text in any batch."""

    def __init__(self, model: Transformer, tokenizer: Tokenizer, sampling: Sampling,
                 stops: Sequence[str] = (), rows: int = 128,
                 advanced: Callable[[int], None] = lambda finished: None):
        self.model, self.tokenizer, self.sampling = model, tokenizer, sampling
        self.stops, self.rows, self.advanced = tuple(stops), rows, advanced

    def complete(self, prompts: Sequence[str], keys: Sequence[str]) -> list[Completion]:
        """Token-level continuations of `prompts` under the noise of `keys`."""
        noise = uniforms(keys, self.sampling.max_new) if keys else torch.empty(0, 1)
        return generate(self.model, [self.tokenizer.encode(text) for text in prompts],
                        self.sampling, noise, [self.tokenizer.end],
                        cut_at(self.stops, self.tokenizer), self.rows, advanced=self.advanced)

    def text(self, completion: Completion) -> str:
        """A completion's text, cut at the first stop string, without the space around it."""
        text = self.tokenizer.decode_more(completion.tokens)
        ends = [text.find(stop) for stop in self.stops if stop in text]
        return text[: min(ends)].strip() if ends else text.strip()

    def __call__(self, prompts: Sequence[str], keys: Sequence[str]) -> list[str]:
        """The texts that continue `prompts`."""
        return [self.text(each) for each in self.complete(prompts, keys)]


class ChoiceScorer:
    """Log-probabilities of answer choices as continuations of texts."""

    def __init__(self, model: Transformer, tokenizer: Tokenizer):
        self.model, self.tokenizer = model, tokenizer

    def fits(self, prompt: str, choices: Sequence[str], between: int = 0) -> bool:
        """Whether a text with each of its continuations fits the model's context, where as many
        tokens are yet to stand `between`.
        """
        longest = max(len(self.tokenizer.encode_more(each, prompt)) for each in choices)
        asked = len(self.tokenizer.encode(prompt))
        return asked + between + longest <= self.model.config.context

    def __call__(self, prompts: Sequence[str],
                 choices: tuple[str, ...]) -> list[tuple[float, ...]]:
        """One row of log-probs a prompt, one entry a choice."""
        after = prompts[0] if prompts else None
        scores = score_choices(self.model, [self.tokenizer.encode(text) for text in prompts],
                               [self.tokenizer.encode_more(each, after) for each in choices])
        return [tuple(row) for row in scores.tolist()]


class PreferenceScorer:
    """Scores of replies by a preference model: the scalar at the end-of-context token.

    The tokenizer's end token stands for the end of the context; it is appended to every dialogue,
    whether or not the reply ended by itself, and the score is read there (Bai et al. 2022a, A.2).
    """

    def __init__(self, model: ScalarModel, tokenizer: Tokenizer):
        self.model, self.tokenizer = model, tokenizer

    def encode(self, dialogue: str) -> list[int]:
        """Ids of a whole dialogue, the end-of-context token last, its head cut to the context."""
        ids = [*self.tokenizer.encode(dialogue), self.tokenizer.end]
        return ids[-self.model.config.context:]

    @torch.no_grad()
    def __call__(self, prompts: Sequence[str], replies: Sequence[str]) -> list[float]:
        """One score a pair of prompt text and reply text."""
        rows = [self.encode(f"{prompt} {reply}")
                for prompt, reply in zip(prompts, replies, strict=True)]
        scores, device = torch.empty(len(rows)), self.model.head.weight.device
        for batch in batches_by_length([len(row) for row in rows], READ_TOKENS[device.type]):
            tokens = pad_right([rows[n] for n in batch], device=device)
            last = torch.tensor([len(rows[n]) - 1 for n in batch], device=device)
            scores[batch] = self.model.score(tokens, last).float().cpu()
        return scores.tolist()
