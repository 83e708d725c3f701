"""What the encoder learns from: pairs of a query and what it should find.

    python -m demo.pairs --shop DIR --output DIR [--shared-data DIR]

From a rendered shop (of another seed than the demo's, so that every product of
the demo is new to the encoder), and from real sets where they are there. Reads
them at run time and copies nothing into the repository. Deterministic by seed.
The texts of candidates are those that the index embeds, or the bare title.
"""

import csv
import hashlib
import json
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Annotated, Any

from product_index.content import text_seen
from product_index.product import Product

from .drawing import Look, draw_photo
from .sellers import slip
from .words import names_of

Row = dict[str, Any]

TRAIN_FILE = "train.jsonl"
VALIDATION_FILE = "validation.jsonl"
# Of every set, one product in eight is never trained on.
HELD_OUT_SHARE = 1 / 8
QUERIES_PER_PRODUCT = 4
_SYNONYM_SHARE = 0.35
_TYPO_SHARE = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class MadePairs:
    """The files that were written, and how many pairs each set gave.

    Attributes:
        train: all training pairs.
        validation: the held-out pairs that a run is watched by (the shop's looks).
        held_out: every validation file by its name, the one above among them.
        counts: pairs by file name and set.
    """

    train: Path
    validation: Path
    held_out: dict[str, Path]
    counts: dict[str, int]


def make_pairs(
    shop: Path,
    output: Path,
    *,
    shared_data: Path | None = None,
    seed: int = 7,
    progress: Callable[[str], None] = lambda _: None,
) -> MadePairs:
    """Write `train.jsonl`, `validation.jsonl` and one `validation-*.jsonl` for each set.

    Args:
        shop: a folder rendered by `demo.shop`.
        output: made if need be; pictures out of archives are put under it.
        shared_data: a folder with any of magento_luma, grocery_store, abt_buy.
        seed: of the queries' wording.
        progress: told each set's name before it is read.

    Raises:
        FileNotFoundError: the shop has no truth; only a rendered shop can be learned from.
    """
    if not (shop / "truth.jsonl").is_file():
        raise FileNotFoundError(f"{shop} has no truth.jsonl; render a shop with `python -m demo.shop`")
    output.mkdir(parents=True, exist_ok=True)
    sets: dict[str, Callable[[], Iterator[tuple[str, Row]]]] = {
        "shop": lambda: _shop_pairs(shop, output, Random(f"shop:{seed}"))
    }
    readers = {"magento_luma": _luma_pairs, "grocery_store": _grocery_pairs, "abt_buy": _abt_pairs}
    for name, reader in readers.items():
        folder = shared_data / name if shared_data else None
        if folder and folder.is_dir():
            sets[name] = lambda folder=folder, name=name, reader=reader: reader(  # type: ignore[misc]
                folder, output, Random(f"{name}:{seed}")
            )
    files: dict[str, list[Row]] = {}
    counts: dict[str, int] = {}
    for name, pairs in sets.items():
        progress(name)
        for file, row in pairs():
            files.setdefault(file, []).append(row)
            counts[f"{file} {name}"] = counts.get(f"{file} {name}", 0) + 1
    for file, rows in files.items():
        _write(output / f"{file}.jsonl", rows)
    _write(output / VALIDATION_FILE, files["validation-shop-looks"])
    held_out = {file: output / f"{file}.jsonl" for file in sorted(files) if file != "train"}
    return MadePairs(
        train=output / TRAIN_FILE, validation=output / VALIDATION_FILE, held_out=held_out, counts=counts
    )


def shopper_query(truth: Row, rng: Random) -> str:
    """What someone types who wants this: some of its visible words, in their own words."""
    fields = [
        field
        for field, chance in (("pattern", 0.6), ("colour", 0.75), ("material", 0.3))
        if rng.random() < chance
    ]
    if truth["pattern"] == "plain" and "pattern" in fields and rng.random() < 0.8:
        fields.remove("pattern")
    words = [_name(field, truth[field], rng) for field in fields]
    if "colour" in fields and truth["pattern"] != "plain" and rng.random() < 0.1:
        words.append(f"and {_name('colour', truth['second_colour'], rng)}")
    else:
        rng.shuffle(words)
    kind = _name("type", truth["type"], rng)
    if not words or rng.random() < 0.9:
        words.insert(len(words) if rng.random() < 0.85 else 0, kind)
    query = " ".join(words)
    return slip(query, rng) if rng.random() < _TYPO_SHARE else query


def _shop_pairs(shop: Path, output: Path, rng: Random) -> Iterator[tuple[str, Row]]:
    truths = {row["product_id"]: row for row in _read(shop / "truth.jsonl")}
    scenes = output / "pictures" / "shop"
    scenes.mkdir(parents=True, exist_ok=True)
    for listing in _read(shop / "products.jsonl"):
        product_id, truth = listing["product_id"], truths[listing["product_id"]]
        photos = [str((shop / name).resolve()) for name in truth["images"]]
        look = f"{truth['type']}|{truth['colour']}|{truth['pattern']}"
        text = text_seen(_product(listing))
        full = {"text": text, "image": photos[0]}
        if _held_out(product_id):
            plain = "" if truth["pattern"] == "plain" else f"{truth['pattern']} "
            wanted = f"{plain}{truth['colour']} {truth['type']}"
            yield "validation-shop-looks", _row({"text": wanted}, full, look)
            if len(photos) > 1:
                yield "validation-shop-photos", _row({"text": wanted, "image": photos[1]}, full, product_id)
            continue
        fresh = scenes / f"{product_id}-fresh.jpg"
        if not fresh.is_file():
            fields = ("type", "colour", "second_colour", "pattern", "material")
            drawn = Look(**{name: truth[name] for name in fields})
            fresh.write_bytes(draw_photo(drawn, product_seed=product_id, scene_seed=f"{product_id}:fresh"))
        others = [*photos[1:], str(fresh.resolve())]
        for _ in range(QUERIES_PER_PRODUCT):
            query = {"text": shopper_query(truth, rng), "image": rng.choice(others)}
            said = text if rng.random() < 0.6 else listing["title"]
            yield "train", _row(query, {"text": said, "image": photos[0]}, look)


def _luma_pairs(folder: Path, output: Path, rng: Random) -> Iterator[tuple[str, Row]]:
    pictures = _unpack(folder / "images.zip", output / "pictures" / "magento_luma")
    for listing in _read(folder / "products.jsonl"):
        sku, kinds = listing["sku"], _luma_kinds(listing)
        text = text_seen(_product(listing))
        colours = {
            variant["image"]: str(variant["color"]) for variant in listing["variants"] if variant["color"]
        }
        main = listing["image"]
        # A side is written with its own picture; a variant's photo names its colour.
        photos = [
            name
            for name in dict.fromkeys([*colours, main, *listing["more_images"]])
            if (pictures / name).is_file()
        ]
        candidate = {"text": text, "image": _path(pictures, main)}
        if _held_out(sku):
            colour = colours.get(main)
            if colour and kinds:
                yield (
                    "validation-luma-looks",
                    _row({"text": f"{colour.lower()} {kinds[0]}"}, candidate, f"{colour}|{kinds[0]}"),
                )
            for name in (other for other in colours if other != main):
                yield (
                    "validation-luma-variants",
                    _row({"text": listing["title"], "image": _path(pictures, name)}, candidate, sku),
                )
            continue
        for name in photos * 2:
            colour = colours.get(name)
            seen = {"text": text, "image": _path(pictures, name if colour or rng.random() < 0.3 else main)}
            alike = [photo for photo in photos if photo.rsplit("_", 1)[0] == name.rsplit("_", 1)[0]]
            shown = rng.choice(photos if rng.random() < 0.3 else alike)
            words = _luma_query(listing["title"], kinds, colour, rng)
            yield (
                "train",
                _row({"text": words, "image": _path(pictures, shown)}, seen, f"luma:{sku}|{colour}"),
            )


def _luma_kinds(listing: Row) -> list[str]:
    """What shoppers call it: the leaves of its shelves, one by one."""
    leaves = [
        path.split("/")[-1]
        for path in listing["categories"]
        if path.split("/")[0] in ("Men", "Women", "Gear")
    ]
    names = [name.strip().lower() for leaf in leaves for name in leaf.split("&")]
    singular = [
        name.removesuffix("s") if not name.endswith(("ss", "pants", "shorts")) else name for name in names
    ]
    return list(dict.fromkeys(singular))


def _luma_query(title: str, kinds: list[str], colour: str | None, rng: Random) -> str:
    words = title.split()
    kind = rng.choice(kinds) if kinds else words[-1].lower()
    if colour and rng.random() < 0.55:
        return f"{colour.lower()} {kind}"
    if rng.random() < 0.25:
        return kind
    kept = sorted(rng.sample(range(len(words)), rng.randint(1, len(words))))
    named = [colour.lower()] if colour and rng.random() < 0.3 else []
    return " ".join(named + [words[at] for at in kept])


def _grocery_pairs(folder: Path, output: Path, rng: Random) -> Iterator[tuple[str, Row]]:
    root = output / "pictures" / "grocery_store"
    iconic = _unpack(folder / "iconic.zip", root / "iconic")
    products = {int(row["product_id"]): row for row in _read(folder / "products.jsonl")}

    def candidate(number: int, *, full: bool) -> Row:
        product = products[number]
        parts = [
            product["title"],
            product["category"],
            product["department"],
            product["description"] if full else "",
        ]
        return {"text": "\n".join(filter(None, parts)), "image": _path(iconic, product["iconic_image"])}

    train = _unpack(folder / "natural_train.zip", root / "train")
    for photo in _table(folder / "natural_train.csv", ","):
        number = int(photo["product_id"])
        name = products[number][rng.choice(("name", "name", "category", "title"))]
        query = {"text": name, "image": _path(train, photo["file"])}
        yield "train", _row(query, candidate(number, full=rng.random() < 0.6), f"grocery:{number}")
    # Photos are held out here, not products: a shop's range is known, its shoppers' photos are not.
    held_out = _unpack(folder / "natural_val.zip", root / "val")
    for photo in _table(folder / "natural_val.csv", ","):
        number = int(photo["product_id"])
        query = {"text": products[number]["name"], "image": _path(held_out, photo["file"])}
        yield "validation-grocery", _row(query, candidate(number, full=True), f"grocery:{number}")
    for number in products:  # the whole range is the gallery
        name = {"text": products[number]["name"]}
        yield "validation-grocery", _row(name, candidate(number, full=True), f"grocery:{number}")


def _abt_pairs(folder: Path, _: Path, rng: Random) -> Iterator[tuple[str, Row]]:
    abt = {row["id"]: row for row in _table(folder / "abt.csv", "|")}
    buy = {row["id"]: row for row in _table(folder / "buy.csv", "|")}
    for link in _table(folder / "gt.csv", "|"):
        ours, theirs = abt[link["D1"]], buy[link["D2"]]
        if _held_out(link["D1"]):
            yield (
                "validation-abt",
                _row({"text": ours["name"]}, {"text": theirs["name"]}, f"abt:{link['D1']}"),
            )
            continue
        said = "\n".join(filter(None, [theirs["name"], theirs["description"] * (rng.random() < 0.5)]))
        yield "train", _row({"text": ours["name"]}, {"text": said}, f"abt:{link['D1']}")


def _product(listing: Row) -> Product:
    """The listing as the index would read it."""
    attributes = {
        name: ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        for name, value in listing.get("attributes", {}).items()
    }
    category = listing.get("category") or (listing.get("categories") or [""])[0]
    return Product(
        product_id=str(listing.get("product_id") or listing["sku"]),
        title=listing["title"],
        description=listing.get("description") or "",
        category=category,
        brand=listing.get("brand") or "",
        attributes=attributes,
    )


def _held_out(key: str) -> bool:
    point = int.from_bytes(hashlib.sha256(f"held out {key}".encode()).digest()[:8], "big") / 2**64
    return point < HELD_OUT_SHARE


def _name(field: str, plain: str, rng: Random) -> str:
    names = names_of(field, plain)
    return rng.choice(names[1:]) if len(names) > 1 and rng.random() < _SYNONYM_SHARE else names[0]


def _row(query: Row, candidate: Row, group: str) -> Row:
    return {"query": query, "candidate": candidate, "group": group}


def _path(folder: Path, name: str) -> str:
    return str((folder / name).resolve())


def _unpack(archive: Path, folder: Path) -> Path:
    """Unpack flat picture archives once; a name that would leave the folder is refused by zipfile."""
    if not folder.is_dir():
        part = folder.with_name(f"{folder.name}.part")
        with zipfile.ZipFile(archive) as pictures:
            pictures.extractall(part)
        part.rename(folder)
    return folder


def _read(path: Path) -> list[Row]:
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def _table(path: Path, delimiter: str) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter=delimiter))


def _write(path: Path, rows: Iterable[Row]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def main() -> None:
    """Make the pairs from the command line."""
    import typer

    def pairs(
        shop: Annotated[Path, typer.Option(help="a folder rendered by demo.shop")],
        output: Annotated[Path, typer.Option(help="the folder to write")],
        shared_data: Annotated[Path | None, typer.Option(help="a folder with the real sets")] = None,
    ) -> None:
        """Write training and validation pairs."""
        try:
            made = make_pairs(
                shop, output, shared_data=shared_data, progress=lambda name: typer.echo(f"reading {name}")
            )
        except OSError as error:
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(2) from error
        for name, count in made.counts.items():
            typer.echo(f"{count:6,} {name}")

    typer.run(pairs)


if __name__ == "__main__":
    main()
