"""Pairs files told in another way, for rows of the ablation table that change the data alone.

`styled`: pairs of products that shoppers clicked for the same words are added to the
training pairs (`uniecs.mining`). The log is simulated: three shoppers click what each
training query asks for, one of them also something else by accident.
`banded`: every candidate's picture has its title written below (`uniecs.drawn`), the held-out ones' too.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from random import Random

from uniecs.drawn import with_title_band
from uniecs.mining import Click, same_style, style_pairs
from uniecs.rows import Item, Pair, read_pairs

SEED = 23
SHOPPERS = 3
MOST_STYLES = 2_000  # pairs of products; more would drown what was there


def write_styled(train: Path, styled: Path) -> None:
    """Write the training pairs and those of one style."""
    pairs = read_pairs(train)
    products = {str(pair.candidate.image): pair for pair in pairs}
    shelves = {name: _shelf(pair) for name, pair in products.items()}
    found = same_style(_clicks(pairs, list(products)), shelves, shoppers=SHOPPERS)
    kept = Random(SEED).sample(found, min(MOST_STYLES, len(found)))
    made = style_pairs(sorted(kept), {name: pair.candidate for name, pair in products.items()})
    # Under the groups of the file: a style of its own would make wrong answers of right ones.
    rows = [
        json.dumps(_row(pair, products[str(pair.query.image)].group), ensure_ascii=False) + "\n"
        for pair in made
    ]
    styled.write_text(train.read_text(encoding="utf-8") + "".join(rows), encoding="utf-8")


def write_banded(plain: Path, banded: Path) -> None:
    """Write a pairs file whose candidates show their titles."""
    folder = banded.parent / "pictures" / "banded"
    folder.mkdir(parents=True, exist_ok=True)
    rows = [json.loads(line) for line in plain.read_text(encoding="utf-8").splitlines()]
    for row in rows:
        item = row["candidate"]
        title = item.get("text", "").split("\n")[0]
        if title and item.get("image"):
            name = hashlib.sha256(f"{item['image']}\n{title}".encode()).hexdigest()[:20]
            file = (folder / f"{name}.png").resolve()
            if not file.is_file():
                file.write_bytes(with_title_band(Path(item["image"]).read_bytes(), title))
            row["candidate"] = item | {"image": str(file)}
    banded.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def _clicks(pairs: Iterable[Pair], products: list[str]) -> Iterator[Click]:
    chance = Random(SEED)
    for pair in pairs:
        if pair.query.text is None:
            continue
        for shopper in range(SHOPPERS):
            unit = f"{pair.line}-{shopper}"
            yield Click(query=pair.query.text, product_id=str(pair.candidate.image), unit_id=unit)
        yield Click(query=pair.query.text, product_id=chance.choice(products), unit_id=unit)


def _shelf(pair: Pair) -> str:
    """What kind of thing it is: of a rendered product its look's type, of a grocery its second line."""
    return pair.group.split("|")[0] if "|" in pair.group else (pair.candidate.text or "\n").split("\n")[1]


def _row(pair: Pair, group: str) -> dict[str, object]:
    def side(item: Item) -> dict[str, str]:
        said = {"text": item.text, "image": str(item.image) if item.image else None}
        return {name: value for name, value in said.items() if value}

    return {"query": side(pair.query), "candidate": side(pair.candidate), "group": group}
