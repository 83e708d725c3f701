"""Queries of which one side says little, as shoppers and sellers leave them.

Of three queries with a photo and words one keeps its words, one has but the name of
the shelf ("Apple"), one the name that a camera gave the file; and one photo in four
is only the grey card that a shop shows where it has no picture. Who joins the two
sides must then tell which of them to believe. Candidates stay as they are.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

CARD = "no-picture.png"


def write_vague(plain: Path, vague: Path) -> None:
    """Write the vague form of a pairs file, and the grey card beside it."""
    card = vague.with_name(CARD)
    picture = Image.new("RGB", (96, 96), (203, 203, 203))
    ImageDraw.Draw(picture).text((18, 40), "no picture", fill=(120, 120, 120))
    picture.save(card)
    rows = [json.loads(line) for line in plain.read_text(encoding="utf-8").splitlines()]
    made = [_vague(row, at, card) for at, row in enumerate(rows)]
    vague.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in made), encoding="utf-8")


def _vague(row: dict[str, Any], at: int, card: Path) -> dict[str, Any]:
    query = dict(row["query"])
    if "image" not in query:
        return row
    lot = hashlib.sha256(f"{at}:{query['image'].rsplit('/', 1)[-1]}".encode()).digest()
    _, *shelf = row["candidate"]["text"].split("\n")
    camera = f"IMG_{lot[1]:03}{lot[2]:03}"
    query["text"] = (query["text"], shelf[0] if shelf else camera, camera)[lot[0] % 3]
    if lot[3] < 64:
        query["image"] = str(card.resolve())
    return row | {"query": query}
