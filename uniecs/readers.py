"""From a text to the ids that a text tower reads: its own n-grams, or a pretrained tokenizer; no torch.

Every reader's ids have the shape (tokens, numbers of a token) and 0 for padding, so
tables, batches and graphs do not care which it is.
"""

import hashlib
from pathlib import Path
from typing import Protocol

import numpy as np

from .config import ModelConfig
from .drawn import DRAWN_VERSION, drawn_ids
from .errors import InvalidConfig, InvalidModel
from .foreign_files import file_of
from .tokenizer import MAX_CHARACTERS, PADDING, TOKENIZER_VERSION, Ids, entity_ids, text_ids

# Beside the graphs of a model with a pretrained text tower.
TOKENIZER_FILE = "tokenizer.json"


class Reader(Protocol):
    """Turns texts into ids, always in the same way."""

    @property
    def version(self) -> str:
        """What a model's fingerprint says of it."""

    def ids(self, text: str) -> Ids:
        """Return ids of shape (tokens, numbers of a token), at least one row."""


class NGramReader:
    """The built-in tokenizer, which has no vocabulary."""

    version = TOKENIZER_VERSION

    def __init__(self, config: ModelConfig) -> None:
        self._rows, self._longest = config.hash_rows, config.max_tokens

    def ids(self, text: str) -> Ids:
        """Return the hashed n-grams of each word."""
        return text_ids(text, rows=self._rows, max_tokens=self._longest)


class EntityReader:
    """The built-in tokenizer, which also says which words are a brand, a shelf or an attribute."""

    version = f"{TOKENIZER_VERSION}+entities-1"

    def __init__(self, config: ModelConfig) -> None:
        self._rows, self._longest = config.hash_rows, config.max_tokens

    def ids(self, text: str) -> Ids:
        """Return the hashed n-grams of each word, and the mark of those that name something."""
        return entity_ids(text, rows=self._rows, max_tokens=self._longest)


class DrawnReader:
    """No tokenizer at all: the text as it looks."""

    version = DRAWN_VERSION

    def __init__(self, config: ModelConfig) -> None:
        self._side_px = config.side_px

    def ids(self, text: str) -> Ids:
        """Return a grey picture, each pixel plus 1."""
        return drawn_ids(text, side_px=self._side_px)


class PieceReader:
    """A pretrained tokenizer; one number a token, its own plus 1."""

    def __init__(self, saved: str, *, max_tokens: int) -> None:
        try:
            from tokenizers import Tokenizer
        except ImportError as error:
            raise InvalidConfig(
                "a pretrained text tower needs tokenizers; install 'uniecs-online[towers]'"
            ) from error
        self.version = f"pieces-{hashlib.sha256(saved.encode()).hexdigest()[:12]}"
        try:
            self._tokenizer = Tokenizer.from_str(saved)
        except Exception as error:  # its own kind, raised from Rust
            raise InvalidModel(
                f"{TOKENIZER_FILE} cannot be read ({error}); save the tokenizer again"
            ) from error
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(max_tokens)

    def ids(self, text: str) -> Ids:
        """Return the pieces of a text, its first and last marks among them."""
        plain = text[:MAX_CHARACTERS].encode("utf-8", "replace").decode()  # a lone surrogate is a '?'
        found = [1 + number for number in self._tokenizer.encode(plain).ids] or [PADDING]
        return np.array(found, dtype=np.int64)[:, None]


def saved_tokenizer(config: ModelConfig, folder: Path | None = None) -> str | None:
    """Return the tokenizer of a pretrained text tower, None where the built-in one reads.

    Args:
        config: names the tower.
        folder: of an exported model, which has it; else it is where the tower is.

    Raises:
        InvalidConfig: the tower has none.
    """
    if not config.text_tower:
        return None
    file = folder / TOKENIZER_FILE if folder else file_of(config.text_tower, TOKENIZER_FILE)
    if file is None or not file.is_file():
        raise InvalidConfig(
            f"{folder or config.text_tower} has no {TOKENIZER_FILE}; save the tokenizer beside the weights"
        )
    return file.read_text(encoding="utf-8")


def reader_of(config: ModelConfig, saved: str | None) -> Reader:
    """Return the reader that a model was trained with."""
    if saved is not None:
        return PieceReader(saved, max_tokens=config.max_tokens)
    if config.reads == "pixels":
        return DrawnReader(config)
    return EntityReader(config) if config.entity_gate else NGramReader(config)
