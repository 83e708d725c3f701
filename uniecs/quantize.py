"""A served model in 8 bits: a quarter of the memory, and another vector space.

Matrix products are done in integers, and in the built-in image tower the
convolutions too. There each number's range is fixed beforehand, by drawn pictures
(ranges found anew at every run cost more than integer convolutions save); norms
stay as they are. Weights use seven of the eight bits: processors without VNNI add
two products in 16 bits, and cut off what is more, so that full weights gave other
vectors there. What comes out is a model folder of its own, with its own
fingerprint: never mix the two in one index.
"""

import json
import logging
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .errors import InvalidConfig
from .model_folder import CONFIG_FILE, GRAPHS, fingerprint, read_model_folder
from .readers import TOKENIZER_FILE

CALIBRATION_SEED = 12
# How many colours a side: from one flat colour to noise.
GRAINS = (1, 2, 4, 8, 16, 64)


def quantize_model(folder: Path, output: Path) -> str:
    """Write an 8-bit copy of an exported model into `output` and return its id.

    Raises:
        InvalidModel: the folder is not a whole exported model.
        InvalidConfig: the tools are not installed, or output is the folder itself.
    """
    try:
        from onnxruntime.quantization import QuantType, quantize_dynamic, quantize_static
    except ImportError as error:
        raise InvalidConfig(
            f"8-bit weights need the onnx package ({error}); install 'uniecs-online[uniecs-train]'"
        ) from error
    whole = read_model_folder(folder)
    if output.resolve() == folder.resolve():
        raise InvalidConfig(f"{output} is the model itself; name another folder for its 8-bit copy")
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output, prefix=".quantize-") as draft_name:
        draft = Path(draft_name)
        logging.getLogger().addFilter(_quiet)
        try:
            for name in GRAPHS:
                if name == GRAPHS[0] and not whole.config.image_tower:
                    quantize_static(
                        folder / name,
                        draft / name,
                        _Pictures(whole.config.side_px),
                        weight_type=QuantType.QInt8,
                        activation_type=QuantType.QUInt8,
                        per_channel=True,
                        reduce_range=True,
                        op_types_to_quantize=["Conv", "Relu", "Add", "MatMul", "Gemm"],
                    )
                    continue
                quantize_dynamic(
                    folder / name,
                    draft / name,
                    weight_type=QuantType.QInt8,
                    per_channel=True,
                    reduce_range=True,
                    op_types_to_quantize=["MatMul", "Gemm"],
                    extra_options={"EnableSubgraph": True},
                )
        finally:
            logging.getLogger().removeFilter(_quiet)
        settings = dict(whole.settings) | {"quantized": "int8"}
        settings["fingerprint"] = fingerprint(draft, settings)
        (draft / CONFIG_FILE).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
        others = [TOKENIZER_FILE] if whole.config.text_tower else []
        for name in others:
            (draft / name).write_bytes((folder / name).read_bytes())
        for name in (*GRAPHS, *others, CONFIG_FILE):
            os.replace(draft / name, output / name)
    return f"uniecs-{settings['fingerprint'][:12]}"


class _Pictures:
    """What the ranges are read from: flat, coarse and fine colours, filling the square or on white."""

    def __init__(self, side_px: int) -> None:
        self._batches = _drawn(side_px)

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        """Return the next batch, None after the last."""
        return next(self._batches, None)


def _drawn(side_px: int) -> Iterator[dict[str, NDArray[np.uint8]]]:
    chance = np.random.default_rng(CALIBRATION_SEED)
    for grain in GRAINS:
        batch = np.full((8, side_px, side_px, 3), 255, dtype=np.uint8)
        margin = side_px // 5
        for at, picture in enumerate(batch):
            colours = Image.fromarray(chance.integers(0, 256, (grain, grain, 3), dtype=np.uint8))
            shown = picture if at % 2 else picture[margin:-margin, margin:-margin]
            shown[:] = np.asarray(colours.resize(shown.shape[1::-1], Image.Resampling.BICUBIC))
        yield {"pixels": batch}


def _quiet(entry: logging.LogRecord) -> bool:
    """The quantizer recommends a pre-processing that changes nothing here."""
    return "pre-processing" not in entry.getMessage()
