"""Text to numbers, without a vocabulary: words become hashed character n-grams.

A word it has never seen, a typo, or another script still shares most of its
n-grams with words it knows. The hash is CRC-32 of UTF-8 bytes, so the same text
gives the same ids on every machine and in every process. It knows no language
and drops nothing but white space and punctuation.
"""

import re
import unicodedata
import zlib
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

# Part of a model's fingerprint: change it whenever the ids of any text change.
TOKENIZER_VERSION = "ngram-1"

# Enough for 48 tokens of any text people write; bounds the work on a pasted book.
MAX_CHARACTERS = 4_096
# Longer words are cut into pieces, so that a word has at most 1 + 16 + 15 n-grams.
MAX_WORD = 16
MAX_GRAMS = 2 * MAX_WORD
PADDING = 0

# About 6 MB of them. Of the words of 2,000 real titles 87% had been read before.
KEPT_WORDS = 8_192

# A line of at most so many words after the title's is a brand, a shelf or an attribute, not a description.
ENTITY_WORDS = 4

# CJK ideographs and kana are written without spaces: one character, one token.
_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_TOKEN = re.compile(rf"[{_CJK}]|[^\W{_CJK}]+")

Ids = NDArray[np.int64]


def tokenize(text: str, *, max_tokens: int) -> list[str]:
    """Split a text into its first `max_tokens` words.

    >>> tokenize("Striped RED mug, 350ml", max_tokens=8)
    ['striped', 'red', 'mug', '350ml']
    >>> tokenize("红色杯子 T-shirt", max_tokens=8)
    ['红', '色', '杯', '子', 't', 'shirt']
    """
    plain = unicodedata.normalize("NFKC", text[:MAX_CHARACTERS]).casefold()
    found = _TOKEN.findall(plain) or [sign for sign in plain if not sign.isspace()]
    pieces = [word[at : at + MAX_WORD] for word in found for at in range(0, len(word), MAX_WORD)]
    return pieces[:max_tokens]


@lru_cache(maxsize=KEPT_WORDS)
def word_ids(word: str, *, rows: int) -> tuple[int, ...]:
    """Return the table rows of a word: itself, then its 3-grams and 4-grams; never row 0."""
    marked = f"<{word}>"
    grams = [marked] + [marked[at : at + size] for size in (3, 4) for at in range(len(marked) - size + 1)]
    unique = dict.fromkeys(grams)  # in order; a three-letter mark is its own 3-gram
    return tuple(1 + zlib.crc32(gram.encode("utf-8", "surrogatepass")) % (rows - 1) for gram in unique)


def text_ids(text: str, *, rows: int, max_tokens: int) -> Ids:
    """Return the ids of a text, shape (tokens, longest word), padded with 0 on the right."""
    return _table([word_ids(word, rows=rows) for word in tokenize(text, max_tokens=max_tokens)])


def entity_ids(text: str, *, rows: int, max_tokens: int) -> Ids:
    r"""Return the ids of a text whose entities (brand, shelf) have one n-gram more: number `rows`.

    >>> (entity_ids("Red mug\nWrenfold\nKitchen", rows=99, max_tokens=8) == 99).any(axis=1).tolist()
    [False, False, True, True]
    """
    words: list[tuple[int, ...]] = []
    for at, line in enumerate(text[:MAX_CHARACTERS].splitlines()):
        own = tokenize(line, max_tokens=max_tokens)
        mark = (rows,) if at and len(own) <= ENTITY_WORDS else ()
        words += [word_ids(word, rows=rows) + mark for word in own]
    return _table(words[:max_tokens])


def _table(words: Sequence[tuple[int, ...]]) -> Ids:
    if not words:
        return np.full((1, 1), PADDING, dtype=np.int64)
    ids = np.full((len(words), max(map(len, words))), PADDING, dtype=np.int64)
    for at, word in enumerate(words):
        ids[at, : len(word)] = word
    return ids
