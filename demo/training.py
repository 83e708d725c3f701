"""Make the demo's encoder again: a shop of another seed, pairs, a training run."""

import shutil
import subprocess
import sys
from pathlib import Path

from rich.console import Console

from .home import DEFAULT_HOME, MODEL
from .pairs import make_pairs
from .processes import StackError
from .shop import render_shop
from .telling import Telling

# Another seed than the demo's: every product of the demo is new to the encoder.
TRAINING_SEED = 101
TRAINING_PRODUCTS = 6_000
RECIPE = Path("demo/encoder.toml")
SHARED_DATA = Path("../shared/data")
SERVED_FILES = ("config.json", "image_tokens.onnx", "text_tokens.onnx", "fusion.onnx")


def train_encoder(console: Console) -> None:
    """Render, pair, train, export; an interrupted run goes on from its checkpoint.

    What is served is replaced only once the new encoder is complete; its model
    card is for a person to write.

    Raises:
        StackError: the training run failed.
    """
    telling = Telling(console, steps=3)
    work = DEFAULT_HOME / "training"
    shop = work / "shop"
    with telling.step("A shop to learn from"), telling.bar("rendering", total=TRAINING_PRODUCTS) as progress:
        work.mkdir(parents=True, exist_ok=True)
        render_shop(shop, products=TRAINING_PRODUCTS, seed=TRAINING_SEED, progress=progress, workers=2)
    with telling.step("Pairs of a query and what it should find"):
        made = make_pairs(shop, work / "pairs", shared_data=SHARED_DATA if SHARED_DATA.is_dir() else None)
        for name, count in made.counts.items():
            telling.say(f"{name}: {count:,}")
    with telling.step("Training"):
        made_here = work / "model"
        argv = [sys.executable, "-m", "uniecs", "train", str(RECIPE), "--output", str(made_here), "--resume"]
        if subprocess.run(argv, check=False).returncode != 0:
            raise StackError(
                f"the training run failed, its last words are above; `make train` goes on from its "
                f"checkpoint in {made_here}, or begins again once that folder is deleted"
            )
        for name in SERVED_FILES:
            shutil.copy2(made_here / name, MODEL / name)
    telling.say(f"{MODEL} is new; bring the figures of {MODEL / 'MODEL_CARD.md'} up to date")
