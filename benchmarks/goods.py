"""A catalogue of any size with the dirt that real ones have, the same for the same seed.

Titles that repeat, texts in several scripts and forms, pictures that many
products share, that are missing, or that are none; some products have only a
picture. Every row has a version and a time, so that nothing depends on when
the file was written.
"""

import io
import json
from pathlib import Path

import numpy as np
from PIL import Image

WORDS = [
    "striped", "red", "mug", "desk", "lamp", "woollen", "scarf", "blue", "vase", "oak", "table", "linen",
    "shirt", "steel", "bottle", "garden", "chair", "cotton", "towel", "leather", "wallet", "ceramic", "bowl",
    "travel", "bag", "running", "shoes", "rain", "jacket", "picture", "frame", "wall", "clock",
]  # fmt: skip
ODD = [
    "Café crème", "Cafe\u0301 crème", "Ünïcode  Straße", "木製の椅子", "чайник", "  too   many spaces ",
    "🎁 gift", "",
]  # fmt: skip
SIDE_PX = 160


def write_goods(folder: Path, count: int, *, pictures: int, seed: int = 7) -> Path:
    """Write `products.jsonl` and `pictures/`; return the folder.

    Args:
        folder: is made.
        count: of products.
        pictures: of different picture files; a third of the products have none.
        seed: of everything.
    """
    drawn = np.random.default_rng(seed)
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    for number in range(pictures):
        (folder / "pictures" / f"{number}.jpg").write_bytes(_picture(drawn, number))
    (folder / "pictures" / "broken.jpg").write_bytes(b"no picture at all")
    with (folder / "products.jsonl").open("w", encoding="utf-8") as file:
        for number in range(count):
            row = _row(drawn, number, pictures)
            file.write(json.dumps(row, ensure_ascii=number % 2 == 0) + "\n")
    return folder


def _row(drawn: np.random.Generator, number: int, pictures: int) -> dict[str, object]:
    title = " ".join(drawn.choice(WORDS, size=4)) if number % 10 else ODD[number // 10 % len(ODD)]
    picture = f"{drawn.integers(pictures)}.jpg"
    if number % 3 == 0 and title:
        picture = ""
    elif number % 50 == 1:
        picture = "gone.jpg"
    elif number % 50 == 2:
        picture = "broken.jpg"
    return {
        "id": f"p{number:06}", "title": title, "version": int(drawn.integers(1, 1_000)),
        "updated_at": f"2026-11-{1 + number % 28:02}T10:00:00Z", "image": picture,
        "description": " ".join(drawn.choice(WORDS, size=int(drawn.integers(0, 40)))),
        "price": round(float(drawn.uniform(1, 500)), 2), "category": str(WORDS[number % 12]),
        "colour": str(drawn.choice(["red", "blue", ""])),
    }  # fmt: skip


def _picture(drawn: np.random.Generator, number: int) -> bytes:
    """Noise is what encoders and JPEG find hardest: nothing here is easier than a photo."""
    coarse = drawn.integers(0, 256, size=(20, 20, 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize((SIDE_PX, SIDE_PX + number % 3 * 20))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()
