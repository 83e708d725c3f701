"""A served model with 8-bit weights: a quarter of the memory, and another vector space.

The large matrix products are done in integers; convolutions and norms stay as
they are (on a CPU, integer convolutions of this size are slower). What comes out
is a model folder of its own, with its own fingerprint: never mix the two in one
index.
"""

import json
import logging
import os
import tempfile
from pathlib import Path

from .errors import InvalidConfig
from .model_folder import CONFIG_FILE, GRAPHS, fingerprint, read_model_folder
from .readers import TOKENIZER_FILE


def quantize_model(folder: Path, output: Path) -> str:
    """Write an 8-bit copy of an exported model into `output` and return its id.

    Raises:
        InvalidModel: the folder is not a whole exported model.
        InvalidConfig: the tools are not installed, or output is the folder itself.
    """
    try:
        from onnxruntime.quantization import QuantType, quantize_dynamic
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
                quantize_dynamic(
                    folder / name,
                    draft / name,
                    weight_type=QuantType.QInt8,
                    per_channel=True,
                    op_types_to_quantize=["MatMul", "Gemm"],
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


def _quiet(entry: logging.LogRecord) -> bool:
    """The quantizer recommends a pre-processing that changes nothing here."""
    return "pre-processing" not in entry.getMessage()
