"""Tokenizers that are a tokenizer.json, through the `tokenizers` library (an optional extra)."""

from collections.abc import Sequence
from pathlib import Path

from model.errors import CheckpointError
from model.special_tokens import padding, read_special_tokens
from model.tokenizer import ANCHOR, SPACE, copy_files


class JsonTokenizer:
    """Text to ids and back, as `model.tokenizer.Tokenizer`, by a tokenizer.json.

    Its own rules find special tokens in any text, in a plain one too.
    """

    def __init__(self, path: Path):
        try:
            import tokenizers
        except ImportError:
            raise CheckpointError(f"{path}: found no library that reads it, expected `tokenizers` "
                                  "(pip install -r requirements-extra.txt)") from None
        try:
            self.rules = tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises nothing narrower
            raise CheckpointError(f"{path}: found no tokenizer ({error}), expected the format of "
                                  "the tokenizers library") from None
        self.rules.no_padding()
        self.rules.no_truncation()
        self.path = Path(path)
        self.marks = read_special_tokens(self.path.parent)
        framed = self.rules.encode("a").ids
        bare = self.rules.encode("a", add_special_tokens=False).ids
        heads = framed[:framed.index(bare[0])] if bare and bare[0] in framed else []
        self.begin: int = self._id("bos_token", heads[-1] if heads else -1)
        self.end: int = self._id("eos_token", -1)
        self.pad: int = padding([self._id("pad_token", -1), self._id("unk_token", -1), self.begin],
                                self.end)
        self.opens = self.begin in heads or self.marks.opens is True and self.begin >= 0
        # Whether a space is put before what opens a text, so that a continuation needs an anchor.
        self.prefixed = bool(bare) and self.rules.id_to_token(bare[0]).startswith(SPACE)
        self.anchor = self.rules.encode(ANCHOR, add_special_tokens=False).ids
        self.head = self.rules.decode(self.anchor)

    def __len__(self) -> int:
        return self.rules.get_vocab_size(with_added_tokens=True)

    def encode(self, text: str) -> list[int]:
        """Ids of a text that opens a sequence: the begin token, then the tokens."""
        ids = self.encode_rendered(text)
        return [self.begin, *ids] if self.opens else ids

    def encode_more(self, text: str, after: str | None = None) -> list[int]:
        """Ids of a text that continues a sequence: no begin token, no prefix space put in front."""
        if self.prefixed:
            ids = self.encode_rendered(ANCHOR + text)
            if ids[:len(self.anchor)] == self.anchor:
                return ids[len(self.anchor):]
        return self.encode_rendered(text)

    def encode_rendered(self, text: str) -> list[int]:
        """Ids of a rendered chat, to which no begin token is added."""
        return self.rules.encode(text, add_special_tokens=False).ids

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids; special tokens have none."""
        return self.rules.decode(list(ids), skip_special_tokens=True)

    def decode_more(self, ids: Sequence[int]) -> str:
        """The text of ids that continue a sequence: its leading space is kept."""
        if self.prefixed:
            text = self.decode([*self.anchor, *ids])
            if text.startswith(self.head):
                return text[len(self.head):]
        return self.decode(ids)

    def save(self, folder: Path) -> None:
        """Copy the tokenizer's files into `folder`."""
        copy_files(self.path, folder)

    def _id(self, role: str, otherwise: int) -> int:
        number = self.rules.token_to_id(self.marks.names.get(role, ""))
        return otherwise if number is None else number
