"""The files people hand in: rows to embed, and pairs to learn from or to be judged by.

Both are JSON Lines. A picture is a path, relative to the file; `images` is a list of them. Reading checks
every line and names the first that breaks a rule; pictures are opened later.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import InvalidRows

# A gain is 2^grade - 1: beyond this one candidate is all there is.
MAX_GRADE = 10


@dataclass(frozen=True, slots=True)
class Item:
    """One thing to embed: a text, the path of a picture, or both.

    Attributes:
        more: further pictures of the same thing; they share the tokens of one.
    """

    text: str | None
    image: Path | None
    more: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A query and a candidate that belong together.

    Attributes:
        query: what is asked.
        candidate: what should be found.
        group: pairs of one group are never each other's wrong answers.
        grade: how relevant the candidate is, from 0 (wrong), 1 when the file does not say.
        line: where in the file, for messages.
    """

    query: Item
    candidate: Item
    group: str
    grade: float
    line: int


def read_items(path: Path) -> list[tuple[int, Item]]:
    """Return the rows of a file with their line numbers.

    Raises:
        InvalidRows: naming the file, the line and the rule.
    """
    return [(line, _item(row, path, f"{path}:{line}")) for line, row in _objects(path)]


def read_pairs(path: Path) -> list[Pair]:
    """Return the pairs of a file.

    Raises:
        InvalidRows: naming the file, the line and the rule.
    """
    pairs = []
    for line, read in _objects(path):
        where, row = f"{path}:{line}", _as_pair(read)
        sides = []
        for name in ("query", "candidate"):
            side = row.get(name)
            if not isinstance(side, dict):
                raise InvalidRows(f'{where}: {name} is {side!r}, must be {{"text": ..., "image": ...}}')
            sides.append(_item(side, path, f"{where}: {name}"))
        group, grade = row.get("group"), row.get("grade", 1.0)
        if isinstance(grade, bool) or not isinstance(grade, int | float) or not 0 <= grade <= MAX_GRADE:
            raise InvalidRows(f"{where}: grade is {grade!r}, must be a number from 0 to {MAX_GRADE}")
        # Without a group, pairs with the same candidate belong together.
        name = str(group) if group is not None else f"{sides[1].text}\n{sides[1].image}"
        pairs.append(Pair(query=sides[0], candidate=sides[1], group=name, grade=float(grade), line=line))
    if not pairs:
        raise InvalidRows(f"{path} has no pairs; give at least one line")
    return pairs


def _as_pair(row: dict[str, Any]) -> dict[str, Any]:
    """Take the flat columns of M-BEER (trigger and recall, text and image) for what they are."""
    if not row.keys() & {"trigger_text", "trigger_image", "recall_text", "recall_image"}:
        return row
    sides = {
        ours: {"text": row.get(f"{theirs}_text"), "image": row.get(f"{theirs}_image")}
        for ours, theirs in (("query", "trigger"), ("candidate", "recall"))
    }
    return sides | {name: row[name] for name in ("group", "grade") if name in row}


def _objects(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        raise InvalidRows(f"no file {path}; give a JSON Lines file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRows(f"{path} cannot be read ({error}); give a JSON Lines file in UTF-8") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise InvalidRows(
                f"{path}:{number}: not JSON ({error}); write one object on each line"
            ) from error
        if not isinstance(row, dict):
            raise InvalidRows(
                f"{path}:{number}: {line[:60]!r} is not an object; write one object on each line"
            )
        yield number, row


def _item(row: dict[str, Any], path: Path, where: str) -> Item:
    text, image = row.get("text"), row.get("image")
    for name, value in (("text", text), ("image", image)):
        if value is not None and not isinstance(value, str):
            raise InvalidRows(f"{where}: {name} is {value!r}, must be a string")
    images = row.get("images") or []
    if not isinstance(images, list) or not all(isinstance(each, str) and each for each in images):
        raise InvalidRows(f"{where}: images is {images!r}, must be a list of paths")
    text = text if text and text.strip() else None
    pictures = [path.parent / each for each in ([image] if image else []) + images]
    if text is None and not pictures:
        raise InvalidRows(f"{where}: has neither text nor image; give at least one")
    return Item(text, pictures[0] if pictures else None, tuple(pictures[1:]))
