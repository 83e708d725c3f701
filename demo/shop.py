"""Render a shop: products with pictures, written up by sellers, and the truth beside them.

    python -m demo.shop --output DIR --products 2000 --seed 7

Deterministic by seed, whatever the number of workers: product `i` of seed `s`
depends on `s` and `i` alone. `truth.jsonl` is for shoppers and for training
pairs; neither the encoder nor the index reads it.
"""

import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from random import Random
from typing import Annotated, Any

from .drawing import Look, distinct_seconds, draw_photo
from .processes import finish_first
from .sellers import draw_brand, draw_price, draw_style, write_attributes, write_description, write_title
from .words import COLOURS, KINDS, PATTERNS

# Rises when the same seed would give other bytes: finished folders are then made again.
RENDER_VERSION = 2
SECOND_PHOTO_SHARE = 0.45
_PLAIN_SHARE = 0.28
UPDATED_AT = "2026-01-01T03:00:00Z"
_STAMP = "rendered.json"

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """One product as its seller lists it, as it truly is, and how to photograph it.

    Attributes:
        listing: the row of `products.jsonl`, without its images.
        title_style: how the seller wrote: one of `sellers.TITLE_STYLES`.
        scenes: the scene seed of each photo, the main one first.
    """

    listing: dict[str, Any]
    look: Look
    title_style: str
    scenes: tuple[str, ...]

    @property
    def product_id(self) -> str:
        """The shop's key."""
        return str(self.listing["product_id"])

    def image_names(self, folder: str = "images") -> list[str]:
        """The photos' names, relative to the shop, the main one first."""
        tails = ["", *(f"-{number}" for number in range(2, len(self.scenes) + 1))]
        return [f"{folder}/{self.product_id}{tail}.jpg" for tail in tails]

    def photo(self, index: int = 0) -> bytes:
        """The bytes of one photo."""
        return draw_photo(self.look, product_seed=self.product_id, scene_seed=self.scenes[index])


def make_product(seed: int, index: int) -> Rendered:
    """Product `index` of the shop with this seed."""
    product_id = f"p{seed}-{index:05d}"
    rng = Random(f"product:{product_id}")
    kind = rng.choice(list(KINDS))
    colour = rng.choice(list(COLOURS))
    look = Look(
        type=kind,
        colour=colour,
        second_colour=rng.choice(distinct_seconds(colour)),
        pattern="plain"
        if rng.random() < _PLAIN_SHARE
        else rng.choice([name for name in PATTERNS if name != "plain"]),
        material=rng.choice(KINDS[kind].materials),
    )
    style, brand = draw_style(rng), draw_brand(rng)
    listing = {
        "product_id": product_id,
        "title": write_title(look, style, brand, rng),
        "description": write_description(look, style, rng),
        "category": KINDS[kind].category if rng.random() < 0.88 else "",
        "brand": brand,
        "price": draw_price(look, rng),
        "currency": "EUR",
        "in_stock": rng.random() < 0.95,
        "attributes": write_attributes(look, style, rng),
        "updated_at": UPDATED_AT,
    }
    photos = 2 if rng.random() < SECOND_PHOTO_SHARE else 1
    scenes = tuple(f"{product_id}:{number}" for number in range(1, photos + 1))
    return Rendered(listing=listing, look=look, title_style=style, scenes=scenes)


def render_shop(
    folder: Path,
    *,
    products: int = 2000,
    seed: int = 7,
    progress: Progress | None = None,
    workers: int = 1,
) -> None:
    """Write a shop into `folder`; return at once where the same shop is there already.

    It is drawn in a folder beside it and renamed when complete, so that what is
    there is always whole.

    Args:
        folder: made if need be; replaced if it holds another rendered shop.
        products: how many.
        seed: another seed, another shop.
        progress: called with (products drawn, products in all).
        workers: processes that draw. More than one needs a main module that can be
            imported again, as every program started with `python -m` is.

    Raises:
        ValueError: no products are asked for.
        FileExistsError: the folder holds something that is not a rendered shop.
    """
    if products < 1:
        raise ValueError(f"products is {products}, must be at least 1")
    folder = Path(folder)
    stamp = {"render_version": RENDER_VERSION, "products": products, "seed": seed}
    if _read_stamp(folder) == stamp:
        return
    if folder.exists() and _read_stamp(folder) is None and any(folder.iterdir()):
        raise FileExistsError(f"{folder} holds files that are not a rendered shop; name an empty folder")
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    (part / "images").mkdir(parents=True)
    with (
        (part / "products.jsonl").open("w", encoding="utf-8") as listings,
        (part / "truth.jsonl").open("w", encoding="utf-8") as truths,
    ):
        for done, rendered in enumerate(_draw_all(part, products, seed, workers), start=1):
            images = rendered.image_names()
            _write_line(listings, rendered.listing | {"images": images})
            _write_line(truths, _truth(rendered, images))
            if progress is not None:
                progress(done, products)
    (part / _STAMP).write_text(json.dumps(stamp) + "\n", encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)


def read_truth(folder: Path) -> dict[str, dict[str, Any]] | None:
    """What is true of each product by id, or None where nobody knows (a real catalogue)."""
    path = Path(folder) / "truth.jsonl"
    if not path.is_file():
        return None
    with path.open(encoding="utf-8") as lines:
        return {truth["product_id"]: truth for truth in map(json.loads, lines)}


def _draw_all(part: Path, products: int, seed: int, workers: int) -> Iterator[Rendered]:
    jobs = [(part, seed, range(start, min(start + 25, products))) for start in range(0, products, 25)]
    if workers == 1 or len(jobs) == 1:
        for job in jobs:
            yield from _draw_some(job)
        return
    # Started afresh: a fork of a process that has threads may hang.
    start = partial(_end_with_parent, os.getpid())
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=start) as pool:
        try:
            with finish_first():
                drawn = pool.map(_draw_some, jobs)
            for rendered in drawn:
                yield from rendered
        except BaseException:
            pool.shutdown(cancel_futures=True)  # else it would draw the rest before it ends
            raise


def _end_with_parent(parent_pid: int) -> None:
    """A killed parent leaves nobody behind; Ctrl-C is the parent's to answer."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent_pid:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _draw_some(job: tuple[Path, int, Iterable[int]]) -> list[Rendered]:
    part, seed, indexes = job
    drawn = [make_product(seed, index) for index in indexes]
    for rendered in drawn:
        for number, name in enumerate(rendered.image_names()):
            (part / name).write_bytes(rendered.photo(number))
    return drawn


def _truth(rendered: Rendered, images: list[str]) -> dict[str, Any]:
    truth = {"product_id": rendered.product_id, **asdict(rendered.look)}
    return truth | {"title_style": rendered.title_style, "images": images}


def _read_stamp(folder: Path) -> Any:
    try:
        return json.loads((folder / _STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _write_line(file: Any, row: dict[str, Any]) -> None:
    file.write(json.dumps(row, ensure_ascii=False) + "\n")


def main() -> None:
    """Render a shop from the command line."""
    import typer
    from rich.progress import Progress as Bar

    def render(
        output: Annotated[Path, typer.Option(help="the folder to write")],
        products: Annotated[int, typer.Option(min=1, help="how many products")] = 2000,
        seed: Annotated[int, typer.Option(help="another seed, another shop")] = 7,
        workers: Annotated[int, typer.Option(min=1, help="processes that draw")] = min(
            4, os.cpu_count() or 1
        ),
    ) -> None:
        """Render a shop with pictures; nothing to do where it is there already."""
        with Bar() as bar:
            task = bar.add_task("drawing", total=products)
            try:
                render_shop(
                    output,
                    products=products,
                    seed=seed,
                    progress=lambda done, _: bar.update(task, completed=done),
                )
            except OSError as error:
                typer.echo(f"error: {error}", err=True)
                raise typer.Exit(2) from error

    typer.run(render)


if __name__ == "__main__":
    main()
