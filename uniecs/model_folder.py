"""An exported model on disk: three graphs and the record that names them; no torch, no onnxruntime."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .config import ModelConfig, record
from .errors import InvalidModel
from .preprocess import PREPROCESS_VERSION
from .readers import TOKENIZER_FILE, Reader, reader_of, saved_tokenizer

FORMAT = 1
CONFIG_FILE = "config.json"
GRAPHS = ("image_tokens.onnx", "text_tokens.onnx", "fusion.onnx")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFolder:
    """A folder that was found whole and of this code's preprocessing."""

    config: ModelConfig
    reader: Reader
    fingerprint: str
    settings: dict[str, Any]


def read_model_folder(folder: Path) -> ModelFolder:
    """Read and check a model folder; the graphs are opened by whoever runs them.

    Raises:
        InvalidModel: a file is missing, damaged, or of another preprocessing.
    """
    settings = _read_settings(folder)
    config = record(ModelConfig, settings["model"], where=f"{folder / CONFIG_FILE} [model]")
    if config.text_tower and not (folder / TOKENIZER_FILE).is_file():
        raise InvalidModel(f"{folder} has no {TOKENIZER_FILE}; export the model again")
    reader = reader_of(config, saved_tokenizer(config, folder))
    if reader.version != settings["tokenizer_version"]:
        raise InvalidModel(
            f"{folder} was trained with tokenizer {settings['tokenizer_version']!r}, "
            f"here is {reader.version!r}; train it again"
        )
    if fingerprint(folder, settings) != settings["fingerprint"]:
        raise InvalidModel(
            f"{folder}: the graphs are not those that {CONFIG_FILE} names; export the model again"
        )
    return ModelFolder(config=config, reader=reader, fingerprint=settings["fingerprint"], settings=settings)


def fingerprint(folder: Path, settings: dict[str, Any]) -> str:
    """Return the identity of weights, shape and preprocessing: one fingerprint, one vector space."""
    digest = hashlib.sha256()
    for name in ("format", "model", "tokenizer_version", "preprocess_version"):
        digest.update(json.dumps([name, settings[name]], sort_keys=True).encode())
    for name in GRAPHS:
        digest.update(hashlib.sha256((folder / name).read_bytes()).digest())
    return digest.hexdigest()


def _read_settings(folder: Path) -> dict[str, Any]:
    missing = [name for name in (CONFIG_FILE, *GRAPHS) if not (folder / name).is_file()]
    if missing:
        raise InvalidModel(
            f"{folder} is not an exported model: {', '.join(missing)} missing; run `make train`, "
            "or `python -m uniecs train RECIPE --output DIR`"
        )
    try:
        settings = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
        theirs = settings["format"], settings["preprocess_version"]
        str(settings["tokenizer_version"]), str(settings["fingerprint"]), settings["model"].items()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidModel(
            f"{folder / CONFIG_FILE} is damaged ({error!r}); export the model again"
        ) from error
    ours = FORMAT, PREPROCESS_VERSION
    if theirs != ours:
        raise InvalidModel(
            f"{folder} was made for format and preprocessing {theirs}, here is {ours}; train it again"
        )
    return dict(settings)
