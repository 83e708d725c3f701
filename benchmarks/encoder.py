"""How fast rows become vectors, as ratios of one run; and what 8-bit weights cost in recall.

    python -m benchmarks.encoder [--rounds 15] [--provider cuda] [--large] [--pairs FILE ...]

torch eager, onnxruntime and its 8-bit copy take turns on the same rows, one thread
each, so that other work on the machine slows all alike; medians and quartiles
over the rounds. Like is compared with like: a row a run (the default, see
`docs/adr/0008`) with torch a row at a time, runs of 32 with batches of 32. Beside
each stands its share of what one thread does at best: the rows' own float32 products
a second, over those of two large matrices. The weights of the speed table are drawn
by lot: they have the demo encoder's shape (with `--large` that of MiniLM and
ViT-B/32; a quarter of the rows, runs of 8, 3 GB), and speed does not know what
weights mean. Recall is that of the demo's encoder.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
import typer
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.large_encoder import large_model
from uniecs.config import ModelConfig
from uniecs.evaluate import Vectors, evaluate, mean_recall
from uniecs.export import export_model
from uniecs.model import UniECS
from uniecs.pairs import ItemTable
from uniecs.preprocess import read_picture
from uniecs.quantize import quantize_model
from uniecs.rows import Item, Pair, read_pairs
from uniecs.runtime import Row, Runtime

WORDS = ["red", "striped", "plain", "wool", "ceramic", "mug", "scarf", "lamp", "large", "set", "of", "with"]
# The share of words that a real catalogue's titles show for the first time: Abt-Buy has 11%, UCI retail 15%.
UNSEEN = 0.15
Work = Callable[[], object]


def main(
    rounds: Annotated[int, typer.Option(min=3, help="turns that each of them takes")] = 15,
    provider: Annotated[str, typer.Option(help="cpu, or cuda where there is one")] = "cpu",
    model: Annotated[Path, typer.Option(help="whose recall is judged")] = Path("demo/model"),
    large: Annotated[bool, typer.Option("--large", help="an encoder of the size that a shop serves")] = False,
    pairs: Annotated[list[Path] | None, typer.Option(help="held-out pairs; none: no recall")] = None,
) -> None:
    """Print the tables."""
    torch.set_num_threads(1)
    torch.manual_seed(5)
    count, together = (16, 8) if large else (64, 32)
    with tempfile.TemporaryDirectory() as scratch:
        eager = (large_model(Path(scratch), width=256) if large else UniECS(ModelConfig())).eval()
        export_model(eager, Path(scratch) / "float32")
        quantize_model(Path(scratch) / "float32", Path(scratch) / "int8")
        device: Literal["cpu", "cuda"] = "cuda" if provider == "cuda" else "cpu"
        _speed(eager, Path(scratch), rounds, device, count, sizes=(1, together))
        for side_px in (600, 1_600):
            _new_titles(Path(scratch) / "float32", rounds, count, side_px)
    if pairs:
        _recall(model, pairs)


def _speed(
    eager: UniECS,
    folder: Path,
    rounds: int,
    provider: Literal["cpu", "cuda"],
    count: int,
    sizes: Sequence[int],
) -> None:
    def runtime(name: str, rows_a_run: int) -> Runtime:
        return Runtime(folder / name, threads=1, provider=provider, rows_a_run=rows_a_run)

    most = most_flops(provider)
    print(
        f"## {count} rows, one thread, {provider}: rows a second, times torch eager of the same form, "
        f"share of {most / 1e9:.0f} GFLOP/s\n"
    )
    print("| rows | form | torch eager | onnxruntime | 8-bit |\n| --- | --- | --- | --- | --- |")
    for name, rows in kinds_of_rows(count):
        with FlopCounterMode(display=False) as needed:
            eager_work(eager, rows, provider, 1)()  # a row at a time: padding is not counted
        for size in sizes:
            works: dict[str, Work] = {"torch": eager_work(eager, rows, provider, size)}
            for weights in ("float32", "int8"):
                works[weights] = serving_work(runtime(weights, size), rows)
            times = take_turns(works, rounds)
            cells = []
            for way, took in times.items():
                ratios = [theirs / ours for theirs, ours in zip(times["torch"], took, strict=True)]
                low, middle, high = statistics.quantiles(ratios, n=4)
                against = "" if way == "torch" else f"{middle:.2f} [{low:.2f}, {high:.2f}], "
                usual = statistics.median(took)
                share = needed.get_total_flops() / usual / most
                cells.append(f"{len(rows) / usual:.0f}, {against}{share:.0%}")
            form = "a row a run" if size == 1 else f"{size} rows a run"
            print(f"| {name} | {form} | {' | '.join(cells)} |", flush=True)


def kinds_of_rows(count: int) -> list[tuple[str, list[Row]]]:
    """Return the same texts and pictures apart, and together."""
    texts, pictures = _texts(count), _pictures(count)
    return [
        ("text", [Row(text=text) for text in texts]),
        ("image", [Row(picture=picture) for picture in pictures]),
        ("both", [Row(text=text, picture=each) for text, each in zip(texts, pictures, strict=True)]),
    ]


def most_flops(device: str) -> float:
    """Return the float32 operations a second of one product of two large matrices."""
    square = torch.randn(1_024, 1_024, device=device)

    def multiply() -> object:
        return (square @ square)[0, 0].item()

    return 2 * 1_024**3 / min(_seconds(multiply) for _ in range(20))


def _new_titles(folder: Path, rounds: int, count: int, side_px: int) -> None:
    """The same products with new titles: image tokens are kept by the picture's bytes."""
    texts, pictures = _texts(count), _pictures(count, side_px)
    warm = Runtime(folder, threads=1)
    warm.embed([Row(picture=picture) for picture in pictures])
    chance = np.random.default_rng(6)

    def retitled(runtime: Runtime) -> Work:
        titles = [_another(text, chance) for text in texts]
        rows = [Row(text=text, picture=each) for text, each in zip(titles, pictures, strict=True)]
        return lambda: runtime.embed(rows)

    kept, ratios = [], []
    for _ in range(rounds):
        from_pixels = _seconds(retitled(Runtime(folder, threads=1)))  # opened outside the clock
        kept.append(_seconds(retitled(warm)))
        ratios.append(from_pixels / kept[-1])
    low, middle, high = statistics.quantiles(ratios, n=4)
    print(
        f"\nNew titles for {count} products with pictures: {count / statistics.median(kept):.0f} "
        f"a second, {middle:.2f} [{low:.2f}, {high:.2f}] times as fast as from JPEG files of "
        f"{side_px} x {side_px}."
    )


def _recall(model: Path, files: Sequence[Path]) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        quantize_model(model, Path(scratch) / "int8")
        print(
            "\n| pairs | float32, mean of the scenarios: R@1, R@10 | 8-bit | points lost |\n"
            + "| --- " * 4
            + "|"
        )
        for file in files:
            pairs = read_pairs(file)
            full, small = (_figures(pairs, Runtime(each)) for each in (model, Path(scratch) / "int8"))
            lost = ", ".join(f"{100 * (a - b):+.2f}" for a, b in zip(full, small, strict=True))
            print(f"| {file.stem} | {full[0]:.4f}, {full[1]:.4f} | {small[0]:.4f}, {small[1]:.4f} | {lost} |")


def _figures(pairs: Sequence[Pair], runtime: Runtime) -> tuple[float, float]:
    def embed(items: Sequence[Item]) -> Vectors:
        return np.concatenate(list(runtime.embed_items(("pairs", item) for item in items)))

    found = evaluate(pairs, embed)
    return mean_recall(found, at=1), mean_recall(found, at=10)


def serving_work(runtime: Runtime, rows: Sequence[Row]) -> Work:
    """Prepared numbers in, vectors out: decoding and tokenising are the same for all, and left out."""
    graphs = [_prepared(runtime, row) for row in rows]
    images = [image for image, _ in graphs]
    texts = [text for _, text in graphs]
    return lambda: runtime.embed_prepared(images, texts)


def _prepared(runtime: Runtime, row: Row) -> tuple[np.ndarray | None, np.ndarray | None]:
    pixels = None if row.picture is None else read_picture(row.picture, side_px=runtime.config.side_px)
    return pixels, None if row.text is None else runtime.reader.ids(row.text)


def eager_work(model: UniECS, rows: Sequence[Row], device: str, size: int) -> Work:
    """The same by torch, in batches of `size`."""
    table = ItemTable(model.config)
    model = model.to(device)
    folder = Path(tempfile.mkdtemp())
    places = []
    for at, row in enumerate(rows):
        image = None
        if row.picture is not None:
            image = folder / f"{at}.jpg"
            image.write_bytes(row.picture)
        places.append(table.add(Item(row.text, image), where=str(at)))

    def work() -> object:
        found = []
        with torch.inference_mode():
            for at in range(0, len(places), size):
                batch = table.batch(places[at : at + size])
                numbers = (batch.pixels, batch.has_image, batch.ids, batch.has_text)
                pixels, has_image, ids, has_text = (torch.from_numpy(each).to(device) for each in numbers)
                image = model.image(pixels, has_image) if has_image.any() else model.absent(len(pixels))
                text = model.text(ids, has_text) if has_text.any() else model.absent(len(pixels))
                # As it serves: sides that no row has both of do not meet.
                meet = bool((has_image & has_text).any())
                found.append(model.fuse(image, text, meet=meet).vector.cpu())
        return found

    return work


def take_turns(works: dict[str, Work], rounds: int) -> dict[str, list[float]]:
    """Return the seconds of each, after a turn that does not count."""
    for work in works.values():
        work()
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            times[name].append(_seconds(work))
    return times


def _seconds(work: Work) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _texts(count: int) -> list[str]:
    chance = np.random.default_rng(3)
    return [" ".join(chance.choice(WORDS, size=chance.integers(3, 25))) for _ in range(count)]


def _another(title: str, chance: np.random.Generator) -> str:
    """Return a title of as many words, some of them never seen before."""
    letters = list("abcdefghijklmnopqrstuvwxyz")
    words = [
        "".join(chance.choice(letters, size=8)) if chance.random() < UNSEEN else str(chance.choice(WORDS))
        for _ in title.split()
    ]
    return " ".join(words)


def _pictures(count: int, side_px: int = 600) -> list[bytes]:
    import io

    from PIL import Image

    chance = np.random.default_rng(4)
    files = []
    for _ in range(count):
        buffer = io.BytesIO()
        coarse = Image.fromarray(chance.integers(0, 256, (30, 30, 3), dtype=np.uint8))
        coarse.resize((side_px, side_px), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
        files.append(buffer.getvalue())
    return files


if __name__ == "__main__":
    typer.run(main)
