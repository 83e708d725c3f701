"""The figures of the demo's encoder, as its model card gives them.

    python -m benchmarks.demo_encoder [--model demo/model] [--shared-data ../shared/data]

Renders the demo's shop and a training shop, makes the held-out pairs, and
prints Markdown tables: what the encoder finds, beside what a plain baseline
finds on the same queries in the same run. Nothing here is tuned or stored.
"""

import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from demo.pairs import make_pairs
from demo.road.catalogue_to_index import SHOP_SEED
from demo.shop import read_truth, render_shop
from demo.training import TRAINING_PRODUCTS, TRAINING_SEED
from product_index.catalog import open_catalogue
from product_index.content import text_seen
from uniecs.evaluate import best_ranks, evaluate
from uniecs.preprocess import read_picture
from uniecs.rows import Item, read_pairs
from uniecs.runtime import Row, Runtime

Vectors = NDArray[np.float32]
TOP = (1, 5, 10)


def main(
    model: Annotated[Path, typer.Option(help="an exported encoder")] = Path("demo/model"),
    shared_data: Annotated[Path, typer.Option(help="the real sets, where they are there")] = Path(
        "../shared/data"
    ),
    work: Annotated[Path | None, typer.Option(help="keep what is rendered here")] = None,
) -> None:
    """Print the tables."""
    runtime = Runtime(model)
    folder = work or Path(tempfile.mkdtemp(prefix="demo-encoder-"))
    folder.mkdir(parents=True, exist_ok=True)
    print(f"# {runtime.model_id}\n")
    shop = folder / "shop"
    render_shop(shop, products=2_000, seed=SHOP_SEED)
    _demo_shop(shop, runtime)
    training = folder / "training"
    render_shop(training, products=TRAINING_PRODUCTS, seed=TRAINING_SEED)
    made = make_pairs(training, folder / "pairs", shared_data=shared_data if shared_data.is_dir() else None)
    for name, file in made.held_out.items():
        _held_out(name, file, runtime)


def _demo_shop(shop: Path, runtime: Runtime) -> None:
    """The look of every product as a query; second photos as queries."""
    truth = read_truth(shop) or {}
    products = [change.product for page in open_catalogue(shop).pages() for change in page if change.product]
    texts = [text_seen(product) for product in products]
    looks = [_look(truth[product.product_id]) for product in products]
    photos = [(shop / product.image_uris[0]).read_bytes() for product in products]
    queries = sorted(set(looks))
    asked = runtime.embed([Row(text=look) for look in queries])
    galleries = {
        "text and picture": runtime.embed(
            [Row(text=t, picture=p) for t, p in zip(texts, photos, strict=True)]
        ),
        "text only": runtime.embed([Row(text=text or "-") for text in texts]),
        "picture only": runtime.embed([Row(picture=photo) for photo in photos]),
    }
    weigh = _tf_idf(texts, _words)
    silent = [
        not set(_words(text)) & set(look.split()[:-1])
        for text, look in zip((text.lower() for text in texts), looks, strict=True)
    ]
    print(
        f"Look of a product as the query: {len(queries)} looks, {len(products)} products, "
        f"{sum(silent)} silent\n"
    )
    print("| candidates | a right one in the first 10 | silent ones in the first 10 | in the first 50 |")
    print("| --- | --- | --- | --- |")
    for name, scores in [(name, asked @ found.T) for name, found in galleries.items()] + [
        ("TF-IDF on words", weigh(queries) @ weigh(texts).T)
    ]:
        hit, quiet = _by_look(scores, queries, looks, silent)
        print(f"| {name} | {hit:.3f} | {np.mean(quiet <= 10):.3f} | {np.mean(quiet <= 50):.3f} |")
    two = [at for at, product in enumerate(products) if len(product.image_uris) > 1]
    second = [(shop / products[at].image_uris[1]).read_bytes() for at in two]
    both = galleries["text and picture"]
    by_photo = runtime.embed([Row(picture=photo) for photo in second])
    by_both = runtime.embed([Row(picture=p, text=looks[at]) for p, at in zip(second, two, strict=True)])
    colours = np.stack([_histogram(photo) for photo in photos])
    print(f"\nSecond photo as the query ({len(two)}): its very product, of {len(products)}\n")
    print("| query | candidates | R@1 | R@5 | R@10 |\n| --- | --- | --- | --- | --- |")
    for name, vectors, gallery in (
        ("photo | text and picture", by_photo, both),
        ("photo | main photo", by_photo, galleries["picture only"]),
        ("photo and look | text and picture", by_both, both),
        ("colour histogram | main photo", np.stack([_histogram(photo) for photo in second]), colours),
    ):
        ranks = [_rank(gallery @ vector, at) for vector, at in zip(vectors, two, strict=True)]
        print(f"| {name} | {_recalls(ranks)} |")
    print()


def _held_out(name: str, file: Path, runtime: Runtime) -> None:
    """The scenarios that a file of pairs can fill, and TF-IDF where texts are compared."""
    pairs = read_pairs(file)

    def embed(items: Sequence[Item]) -> Vectors:
        return np.concatenate(list(runtime.embed_items((str(file), item) for item in items)))

    print(f"\n{name}, held out\n\n| query | candidate | queries | gallery | R@1 | R@5 | R@10 | MRR@10 |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for one in evaluate(pairs, embed):
        recalls = " | ".join(f"{one.recall[k]:.3f}" for k in TOP)
        sizes = f"{one.queries} | {one.gallery}"
        print(f"| {one.query} | {one.candidate} | {sizes} | {recalls} | {one.mrr_at_10:.3f} |")
    asked = _groups_by_text((pair.query.text, pair.group) for pair in pairs)
    offered = _groups_by_text((pair.candidate.text, pair.group) for pair in pairs)
    if not asked or not offered:
        return
    weigh = _tf_idf(list(offered), _grams)
    ranks = best_ranks(weigh(list(asked)), weigh(list(offered)), list(asked.values()), list(offered.values()))
    print(f"| TF-IDF on characters | text | {len(asked)} | {len(offered)} | {_recalls(ranks)} | |")


def _groups_by_text(sides: Iterable[tuple[str | None, str]]) -> dict[str, frozenset[str]]:
    groups: dict[str, frozenset[str]] = {}
    for text, group in sides:
        if text:
            groups[text] = groups.get(text, frozenset()) | {group}
    return groups


def _by_look(
    scores: Vectors, queries: list[str], looks: list[str], silent: list[bool]
) -> tuple[float, NDArray[np.int64]]:
    """Share of looks with a right product in the first ten; ranks of the silent ones among the wrong."""
    hits, ranks = [], []
    for line, query in zip(scores, queries, strict=True):
        right = np.array([look == query for look in looks])
        hits.append(right[np.argsort(-line, kind="stable")[:10]].any())
        ranks += [
            1 + np.count_nonzero(line[~right] >= line[at]) for at in np.flatnonzero(right) if silent[at]
        ]
    return float(np.mean(hits)), np.array(ranks)


def _look(true: dict[str, Any]) -> str:
    pattern = "" if true["pattern"] == "plain" else f"{true['pattern']} "
    return f"{pattern}{true['colour']} {true['type']}"


def _rank(scores: Vectors, right: int) -> int:
    return int(np.count_nonzero(scores >= scores[right]))


def _recalls(ranks: Sequence[int] | NDArray[np.int64]) -> str:
    return " | ".join(f"{np.mean(np.asarray(ranks) <= k):.3f}" for k in TOP)


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def _grams(text: str) -> list[str]:
    text = text.lower()
    return [text[at : at + size] for size in (3, 4) for at in range(len(text) - size + 1)]


def _tf_idf(corpus: Sequence[str], split: Callable[[str], list[str]]) -> Callable[[Sequence[str]], Vectors]:
    """Unit TF-IDF vectors over the corpus' own terms."""
    seen = Counter(term for text in corpus for term in set(split(text)))
    column = {term: at for at, term in enumerate(seen)}

    def weigh(texts: Sequence[str]) -> Vectors:
        vectors = np.zeros((len(texts), len(column)), dtype=np.float32)
        for row, text in enumerate(texts):
            for term in split(text):
                if term in column:
                    vectors[row, column[term]] += np.log(len(corpus) / seen[term]) + 1
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors / np.where(lengths == 0, 1, lengths)

    return weigh


def _histogram(photo: bytes) -> Vectors:
    """Colours in 8 x 8 x 8 bins, square-rooted, of unit length."""
    bins = read_picture(photo, side_px=64) // 32
    index = bins[..., 0].astype(int) * 64 + bins[..., 1] * 8 + bins[..., 2]
    counts = np.sqrt(np.bincount(index.ravel(), minlength=512).astype(np.float32))
    vector: Vectors = counts / np.linalg.norm(counts)
    return vector


if __name__ == "__main__":
    typer.run(main)
