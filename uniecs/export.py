"""The trained network to three ONNX graphs and the record that names them.

Image tokens, text tokens and fusion are separate so that image tokens can be
kept: a product with a new title costs no vision pass. Nothing is left in the
folder unless the graphs agree with torch.
"""

import json
import logging
import os
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .branches import run_where
from .checkpoint import load_model
from .config import ModelConfig
from .errors import InvalidModel
from .foreign_files import is_folder
from .fusion import GatedFusion, Tokens, only_present
from .model import UniECS
from .model_folder import CONFIG_FILE, FORMAT, GRAPHS, fingerprint
from .preprocess import PREPROCESS_VERSION
from .readers import TOKENIZER_FILE, reader_of, saved_tokenizer
from .runtime import Runtime

LEAST_COSINE = 0.9999


def export_model(model: UniECS, output: Path) -> str:
    """Write the graphs and `config.json` into `output`, check them, return the model's id.

    Raises:
        InvalidModel: the graphs and torch disagree; nothing in `output` was changed.
    """
    output.mkdir(parents=True, exist_ok=True)
    model = model.eval().cpu()
    with tempfile.TemporaryDirectory(dir=output, prefix=".export-") as draft_name:
        draft = Path(draft_name)
        _write_graphs(model, draft)
        saved = saved_tokenizer(model.config)
        if saved is not None:
            (draft / TOKENIZER_FILE).write_text(saved, encoding="utf-8")
        settings = {
            "format": FORMAT,
            "model": _nameless(model.config),
            "tokenizer_version": reader_of(model.config, saved).version,
            "preprocess_version": PREPROCESS_VERSION,
        }
        settings["fingerprint"] = fingerprint(draft, settings)
        (draft / CONFIG_FILE).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
        runtime = Runtime(draft)
        worst = parity(model, runtime)
        if worst < LEAST_COSINE:
            raise InvalidModel(
                f"exported graphs agree with torch to cosine {worst:.6f}, must be at least {LEAST_COSINE}; "
                "try another torch or onnx version"
            )
        # The record goes last: graphs without it, or with an older one, are refused at load.
        for name in (*GRAPHS, *([TOKENIZER_FILE] if saved is not None else []), CONFIG_FILE):
            os.replace(draft / name, output / name)
    return runtime.model_id


def export_checkpoint(checkpoint: Path, output: Path) -> str:
    """Export the model of a training checkpoint, and return its id."""
    config, state = load_model(checkpoint)
    model = UniECS(config)
    model.load_state_dict(state)
    return export_model(model, output)


def parity(model: UniECS, runtime: Runtime) -> float:
    """Return the worst cosine between torch and the graphs, over rows of every form and length."""
    chance = np.random.default_rng(11)
    side, reader = model.config.side_px, reader_of(model.config, saved_tokenizer(model.config))
    texts = ["mug", "striped red mug", "红色条纹马克杯", "a long title " * 12, None]
    worst = 1.0
    for text in texts:
        for with_picture in (True, False):
            if text is None and not with_picture:
                continue
            pixels = chance.integers(0, 256, (side, side, 3), dtype=np.uint8) if with_picture else None
            ids = reader.ids(text) if text else None
            theirs = runtime.embed_numbers(pixels, ids)
            with torch.inference_mode():
                image = (
                    model.image(torch.from_numpy(pixels)[None], torch.tensor([True]))
                    if pixels is not None
                    else model.absent(1)
                )
                words = (
                    model.text(torch.from_numpy(ids)[None], torch.tensor([True]))
                    if ids is not None
                    else model.absent(1)
                )
                ours = model.fuse(image, words).vector[0].numpy()
            worst = min(worst, float(ours @ theirs))
    return worst


def _nameless(config: ModelConfig) -> dict[str, object]:
    """What the served model says of itself: a tower's name, but no folder of this machine."""
    towers = {name: getattr(config, name) for name in ("text_tower", "image_tower")}
    return config.as_json() | {name: Path(tower).name for name, tower in towers.items() if is_folder(tower)}


class _Fuse(nn.Module):
    def __init__(self, model: UniECS, *, meet: bool = True) -> None:
        super().__init__()
        self.model, self.meet = model, meet

    def forward(
        self,
        image_tokens: Tensor,
        image_mask: Tensor,
        image_present: Tensor,
        text_tokens: Tensor,
        text_mask: Tensor,
        text_present: Tensor,
    ) -> Tensor:
        image = Tokens(image_tokens, image_mask, image_present)
        return self.model.fuse(image, Tokens(text_tokens, text_mask, text_present), meet=self.meet).vector


class _Meet(nn.Module):
    def __init__(self, model: UniECS) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        image_tokens: Tensor,
        image_mask: Tensor,
        image_present: Tensor,
        text_tokens: Tensor,
        text_mask: Tensor,
        text_present: Tensor,
    ) -> tuple[Tensor, Tensor]:
        sides = self.model.seen(
            Tokens(image_tokens, image_mask, image_present), Tokens(text_tokens, text_mask, text_present)
        )
        image, text = (side._replace(values=only_present(side)) for side in sides)
        image, text = self.model.fusion.meet(image, text)
        return image.values, text.values


def _write_graphs(model: UniECS, folder: Path) -> None:
    config = model.config
    batch, grams, cells = (torch.export.Dim(name) for name in ("batch", "grams", "cells"))
    length = torch.export.Dim("length", min=1, max=config.max_tokens)
    pixels = torch.randint(0, 256, (2, config.side_px, config.side_px, 3), dtype=torch.uint8)
    ids, ids_axes = torch.randint(1, config.hash_rows, (2, 5, 7)), {0: batch, 1: length, 2: grams}
    if config.text_tower:
        ids, ids_axes = torch.randint(1, 64, (2, 5, 1)), {0: batch, 1: length}
    elif config.reads == "pixels":
        ids, ids_axes = pixels[:, :, :, 0].long() + 1, {0: batch}
    image, words = torch.randn(2, model.image_tower.tokens, config.width), torch.randn(2, 5, config.width)
    image_side = (image, torch.ones(image.shape[:2], dtype=torch.bool), torch.tensor([True, False]))
    text_side = (words, torch.ones(words.shape[:2], dtype=torch.bool), torch.tensor([True, True]))
    image_axes = ({0: batch, 1: cells}, {0: batch, 1: cells}, {0: batch})
    text_axes = ({0: batch, 1: length}, {0: batch, 1: length}, {0: batch})
    names = ["image_tokens", "image_mask", "image_present", "text_tokens", "text_mask", "text_present"]
    _write(model.image_tower, (pixels,), ({0: batch},), ["pixels"], ["tokens"], folder / GRAPHS[0])
    _write(model.text_tower, (ids,), (ids_axes,), ["ids"], ["tokens", "mask"], folder / GRAPHS[1])
    inputs, axes = image_side + text_side, image_axes + text_axes
    if not isinstance(model.fusion, GatedFusion):
        _write(_Fuse(model), inputs, axes, names, ["vector"], folder / GRAPHS[2])
        return
    # A bare text, which is what most shoppers ask, does not pay for the meeting of the sides.
    meeting = _graph(_Meet(model), inputs, axes, names, ["met_image_tokens", "met_text_tokens"])
    rest = _graph(_Fuse(model, meet=False), inputs, axes, names, ["vector"])
    _save(run_where(_any_has_both(), meeting, rest), folder / GRAPHS[2])


def _any_has_both() -> list[object]:
    from onnx import TensorProto, helper

    return [
        helper.make_node("And", ["image_present", "text_present"], ["both"]),
        helper.make_node("Cast", ["both"], ["counted"], to=TensorProto.INT32),
        helper.make_node("ReduceMax", ["counted"], ["most"], keepdims=0),
        helper.make_node("Cast", ["most"], ["meet"], to=TensorProto.BOOL),
    ]


def _write(
    module: nn.Module,
    inputs: tuple[Tensor, ...],
    axes: Sequence[object],
    input_names: list[str],
    output_names: list[str],
    path: Path,
) -> None:
    _save(_graph(module, inputs, axes, input_names, output_names), path)


def _graph(
    module: nn.Module,
    inputs: tuple[Tensor, ...],
    axes: Sequence[object],
    input_names: list[str],
    output_names: list[str],
) -> Any:
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own deprecations
        program = torch.onnx.export(
            module.eval(),
            inputs,
            dynamo=True,
            verbose=False,
            dynamic_shapes=tuple(axes),
            input_names=input_names,
            output_names=output_names,
        )
    return program.model_proto


def _save(graph: Any, path: Path) -> None:
    import onnx

    # The exporter notes source files and stack traces; weights should not name a machine.
    _forget(graph)
    for branch in (attribute.g for node in graph.graph.node for attribute in node.attribute):
        for part in (*branch.node, *branch.output, *branch.value_info):
            part.doc_string = ""
            del part.metadata_props[:]
    onnx.save(graph, str(path))


def _forget(graph: object) -> None:
    """Clear doc strings and metadata of a graph and everything in it."""
    proto = graph.graph  # type: ignore[attr-defined]
    for part in (
        graph,
        proto,
        *proto.node,
        *proto.initializer,
        *proto.input,
        *proto.output,
        *proto.value_info,
    ):
        part.doc_string = ""
        del part.metadata_props[:]
    for function in graph.functions:  # type: ignore[attr-defined]
        function.doc_string = ""
        del function.metadata_props[:]
        for node in function.node:
            node.doc_string = ""
            del node.metadata_props[:]
