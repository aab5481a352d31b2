"""Sentencepiece tokenizers: loaded from a checkpoint folder, or trained on a corpus."""

import io
import itertools
import re
import shutil
import string
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import sentencepiece

from model.errors import CheckpointError
from model.special_tokens import FILES, padding, read_special_tokens

ANCHOR = "\n"
SPACE = "\u2581"  # how sentencepiece writes a space


class Tokenizer:
    """Text to ids and back, by a sentencepiece model and what its folder adds to it.

    `begin`, `end` and `pad` are ids, -1 where there is none. Padding is never the end token: padded
    positions are masked, and the fill is the model's own padding id where it has one, else its
    unknown id.
    """

    def __init__(self, path: Path):
        try:
            self.pieces = sentencepiece.SentencePieceProcessor(model_file=str(path))
        except (OSError, RuntimeError) as error:
            raise CheckpointError(f"{path}: found no readable sentencepiece model, expected one "
                                  f"({type(error).__name__})") from error
        self.path = Path(path)
        self.marks = read_special_tokens(self.path.parent)
        names = self.marks.names
        self.ids = {text: self.pieces.piece_to_id(text) for text in names.values()
                    if self.pieces.piece_to_id(text) != self.pieces.unk_id()}
        self.ids |= {names["unk_token"]: self.pieces.unk_id()} if "unk_token" in names else {}
        self.ids |= self.marks.added
        self.begin: int = self.ids.get(names.get("bos_token"), self.pieces.bos_id())
        self.end: int = self.ids.get(names.get("eos_token"), self.pieces.eos_id())
        self.pad: int = padding([self.ids.get(names.get("pad_token"), self.pieces.pad_id()),
                                 self.pieces.unk_id()], self.end)
        self.opens = self.begin >= 0 and self.marks.opens is not False
        self.anchor = self.pieces.encode(ANCHOR)
        self.texts = {number: text for text, number in self.marks.added.items()}
        self.silent = {self.begin, self.end, *(
            number for number, text in self.texts.items() if text in self.marks.special)}
        # No special token is read out of plain text; other added tokens are words like any.
        self.words = _finder([text for text in self.marks.added
                              if text not in self.marks.special])
        self.known = _finder([*self.ids])

    def __len__(self) -> int:
        return max([self.pieces.get_piece_size(), *(number + 1 for number in self.texts)])

    def encode(self, text: str) -> list[int]:
        """Ids of a text that opens a sequence: the begin token, then the pieces."""
        ids = self._encode(text, self.words, lambda part, first: self.pieces.encode(part)
                           if first else self._continue(part))
        return [self.begin, *ids] if self.opens else ids

    def encode_more(self, text: str, after: str | None = None) -> list[int]:
        """Ids of a text that continues a sequence: no begin token, no prefix space put in front.

        What it continues, `after`, matters to chat models alone.
        """
        return self._encode(text, self.words, lambda part, first: self._continue(part))

    def encode_rendered(self, text: str) -> list[int]:
        """Ids of a rendered chat: special tokens are read out of it, and no begin token is added.

        A prefix space comes before the text that opens it or, in a legacy tokenizer, before every
        stretch of text, where none is there already; transformers does the same.
        """
        def stretch(part: str, first: bool) -> list[int]:
            prefixed = self.marks.prefixes and (first or self.marks.legacy)
            return self.pieces.encode(part) if prefixed and part[0] != " " else self._continue(part)

        return self._encode(text, self.known, stretch)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids; begin, end and padding tokens have none."""
        return self._decode(ids, self.pieces.decode)

    def decode_more(self, ids: Sequence[int]) -> str:
        """The text of ids that continue a sequence: its leading space is kept."""
        return self._decode(ids, self._continuing)

    def save(self, folder: Path) -> None:
        """Copy the tokenizer's files into `folder`."""
        copy_files(self.path, folder)

    def _encode(self, text: str, finder: re.Pattern | None,
                stretch: Callable[[str, bool], list[int]]) -> list[int]:
        """Ids of `text`, in which `finder` finds added tokens, `stretch` reads what is between."""
        if finder is None:
            return stretch(text, True) if text else []
        ids: list[int] = []
        for number, part in enumerate(finder.split(text)):
            if number % 2:
                ids.append(self.ids[part])
            elif part:
                ids += stretch(part, number == 0)
        return ids

    def _continue(self, text: str) -> list[int]:
        ids = self.pieces.encode(ANCHOR + text)
        if ids[: len(self.anchor)] == self.anchor:
            return ids[len(self.anchor):]
        return self.pieces.encode(text)

    def _continuing(self, ids: list[int]) -> str:
        text, head = self.pieces.decode([*self.anchor, *ids]), self.pieces.decode(self.anchor)
        return text[len(head):] if text.startswith(head) else self.pieces.decode(ids)

    def _decode(self, ids: Sequence[int], first: Callable[[list[int]], str]) -> str:
        """The text of ids, the pieces that come before any added token read by `first`."""
        shown = [number for number in ids if number not in self.silent]
        if not self.texts:
            return first(shown)
        text, read = "", first
        # The sentencepiece model does not know the added ids, so it reads what is between them.
        for added, run in itertools.groupby(shown, lambda number: number in self.texts):
            numbers = list(run)
            text += "".join(map(self.texts.get, numbers)) if added else read(numbers)
            read = self._continuing
        return text


def copy_files(path: Path, folder: Path) -> None:
    """Copy a tokenizer file and what stands beside it into `folder`, unless it is the same."""
    for source in (path, *(path.parent / name for name in FILES)):
        if source.exists() and source.resolve() != (folder / source.name).resolve():
            shutil.copyfile(source, folder / source.name)


def _finder(texts: Sequence[str]) -> re.Pattern | None:
    """A pattern that finds any of `texts`, the longest first; None where there is none."""
    ordered = sorted(filter(None, texts), key=len, reverse=True)
    return re.compile(f"({'|'.join(map(re.escape, ordered))})") if ordered else None


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
