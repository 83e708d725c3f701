"""Text becomes the same numbers everywhere, whatever it is written in."""

import subprocess
import sys

import numpy as np
import pytest

from uniecs.tokenizer import MAX_GRAMS, text_ids, tokenize, word_ids


def test_the_ids_of_a_word_never_change() -> None:
    """Trained rows of the table belong to these ids: a changed hash would make the weights noise."""
    assert word_ids("mug", rows=16_384) == (4261, 7667, 13169, 11777, 8679, 631)


def test_another_process_gives_the_same_ids() -> None:
    """Python's own hash() is salted for each process; ours is not."""
    code = "from uniecs.tokenizer import word_ids; print(word_ids('gestreift', rows=999))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert str(word_ids("gestreift", rows=999)) == printed.strip()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Striped RED  mug!", ["striped", "red", "mug"]),
        ("ＦＵＬＬｗｉｄｔｈ Straße", ["fullwidth", "strasse"]),
        ("红色 mug", ["红", "色", "mug"]),
        ("كوب أحمر", ["كوب", "أحمر"]),
        ("🎁🎁", ["🎁", "🎁"]),
        ("!?", ["!", "?"]),
    ],
)
def test_any_script_becomes_words(text: str, words: list[str]) -> None:
    """Words where there are spaces, characters where there are none, and never nothing."""
    assert words == tokenize(text, max_tokens=9)


def test_a_typo_shares_most_of_its_ids_with_the_word() -> None:
    """That is what n-grams are for."""
    right, wrong = set(word_ids("umbrella", rows=16_384)), set(word_ids("umbrela", rows=16_384))

    assert len(right & wrong) / len(right | wrong) > 0.4


def test_ten_thousand_characters_are_bounded() -> None:
    """A pasted book costs no more than a long title."""
    ids = text_ids("antidisestablishmentarianism" * 400, rows=256, max_tokens=32)

    assert ids.shape[0] == 32
    assert ids.shape[1] <= MAX_GRAMS


def test_row_zero_is_padding_and_nothing_else() -> None:
    """A word never hashes to the row that means 'no word'."""
    ids = text_ids("a mug and an umbrella", rows=8, max_tokens=32)
    lengths = [len(word_ids(word, rows=8)) for word in ["a", "mug", "and", "an", "umbrella"]]

    assert lengths == list(np.count_nonzero(ids, axis=1))
