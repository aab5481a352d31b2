"""Sentencepiece tokenizers: loaded from a checkpoint folder, or trained on a corpus."""

import io
import re
import string
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import sentencepiece

from model.errors import CheckpointError

ANCHOR = "\n"
SPACE = "\u2581"  # how sentencepiece writes a space


class Tokenizer:
    """Text to ids and back. Padding is never the end token: padded positions are masked, and the
    fill is the model's own padding id where it has one, else its unknown id."""

    def __init__(self, path: Path):
        try:
            self.pieces = sentencepiece.SentencePieceProcessor(model_file=str(path))
        except (OSError, RuntimeError) as error:
            raise CheckpointError(f"{path}: found no readable sentencepiece model, expected one "
                                  f"({type(error).__name__})") from error
        self.path = Path(path)
        self.begin: int = self.pieces.bos_id()
        self.end: int = self.pieces.eos_id()
        self.pad: int = max(self.pieces.pad_id(), 0)
        self.anchor = self.pieces.encode(ANCHOR)

    def __len__(self) -> int:
        return self.pieces.get_piece_size()

    def encode(self, text: str) -> list[int]:
        """Ids of a text that opens a sequence: the begin token, then the pieces."""
        ids = self.pieces.encode(text)
        return [self.begin, *ids] if self.begin >= 0 else ids

    def encode_more(self, text: str) -> list[int]:
        """Ids of a text that continues a sequence: no begin token, no prefix space put in front."""
        ids = self.pieces.encode(ANCHOR + text)
        if ids[: len(self.anchor)] == self.anchor:
            return ids[len(self.anchor):]
        return self.pieces.encode(text)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids; begin, end and padding tokens have none."""
        return self.pieces.decode([i for i in ids if i not in (self.begin, self.end)])

    def decode_more(self, ids: Sequence[int]) -> str:
        """The text of ids that continue a sequence: its leading space is kept."""
        ids = [i for i in ids if i not in (self.begin, self.end)]
        text = self.pieces.decode([*self.anchor, *ids])
        head = self.pieces.decode(self.anchor)
        return text[len(head):] if text.startswith(head) else self.pieces.decode(ids)


def train_tokenizer(texts: Sequence[str], path: Path, symbols: Sequence[str],
                    occurrences: int = 20) -> Tokenizer:
    """Fit a tokenizer of whole words and write it to `path`.

    A word that occurs at least `occurrences` times in `texts` is one piece, and so is each of
    `symbols`; all else falls into printable ASCII characters. Spaces and line breaks are kept as
    they are and nothing is normalised. For a language of a few hundred words this is shorter
    than what subword training finds, at the same size.
    """
    counts = Counter(word for text in texts for word in re.findall(r"(?:^| )[A-Za-z]+", text))
    words = sorted(word for word, count in counts.items() if count >= occurrences)
    whole = [symbol.replace(" ", SPACE) for symbol in ("\n", *symbols, *words)]
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([" ".join(string.ascii_letters)]), model_writer=model,
        model_type="char",
        vocab_size=len(whole) + 200, hard_vocab_limit=False, character_coverage=1.0,
        required_chars="".join(c for c in string.printable if not c.isspace()),
        user_defined_symbols=list(dict.fromkeys(whole)),
        normalization_rule_name="identity", add_dummy_prefix=False,
        remove_extra_whitespaces=False, unk_id=0, bos_id=1, eos_id=2, pad_id=3,
        num_threads=1, minloglevel=2)
    path.write_bytes(model.getvalue())
    return Tokenizer(path)
