"""Where the time of runs of 32 goes: into products of matrices and convolutions, and into all else.

    python -m benchmarks.encoder_time [--passes 20]

By the profilers of torch and of onnxruntime, float32, one thread, on the rows and weights
of `benchmarks.encoder`. The last column is a bound: torch's time over what onnxruntime
spends beside its products. No 8-bit product can be quicker than none at all.
"""

import json
import tempfile
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Annotated, Any, NamedTuple
from unittest.mock import patch

import onnxruntime
import torch
import typer
from torch.profiler import ProfilerActivity, profile

from benchmarks.encoder import Work, eager_work, kinds_of_rows, most_flops, serving_work
from uniecs.config import ModelConfig
from uniecs.export import export_model
from uniecs.model import UniECS
from uniecs.runtime import Row, Runtime

TOGETHER = 32


class Spent(NamedTuple):
    """Of one pass over the rows, in seconds, and the operations of its products."""

    products_s: float
    rest_s: float
    flops: float


def main(passes: Annotated[int, typer.Option(min=1, help="of each, over all rows")] = 20) -> None:
    """Print the table."""
    torch.set_num_threads(1)
    torch.manual_seed(5)
    most = most_flops("cpu")
    print(f"{TOGETHER} rows a run, one thread; one product of two large matrices: {most / 1e9:.0f} GFLOP/s\n")
    print(
        "| rows | torch's products | onnxruntime's products | beside the rest alone |\n" + "| --- " * 4 + "|"
    )
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        eager = UniECS(ModelConfig()).eval()
        export_model(eager, folder / "float32")
        for name, rows in kinds_of_rows(64):
            theirs = _of_torch(eager_work(eager, rows, "cpu", TOGETHER), passes)
            ours = _of_onnxruntime(folder, rows, passes)
            cells = [
                f"{each.products_s / (each.products_s + each.rest_s):.0%} of its time, "
                f"at {each.flops / each.products_s / most:.0%} of that"
                for each in (theirs, ours)
            ]
            bound = (theirs.products_s + theirs.rest_s) / ours.rest_s
            print(f"| {name} | {' | '.join(cells)} | {bound:.2f} |", flush=True)


def _of_torch(work: Work, passes: int) -> Spent:
    work()
    with profile(activities=[ProfilerActivity.CPU], with_flops=True) as seen:
        for _ in range(passes):
            work()
    events = seen.key_averages()
    products = [each for each in events if "mm" in each.key or "conv" in each.key]
    took = sum(each.self_cpu_time_total for each in products) / 1e6
    whole = sum(each.self_cpu_time_total for each in events) / 1e6
    flops = sum(each.flops for each in products)
    return Spent(took / passes, (whole - took) / passes, flops / passes)


def _of_onnxruntime(folder: Path, rows: Sequence[Row], passes: int) -> Spent:
    opened, kind = [], onnxruntime.InferenceSession

    def profiled(path: str, options: Any, *, providers: Sequence[str]) -> Any:
        options.enable_profiling = True
        options.profile_file_prefix = str(folder / "profile")
        opened.append(kind(path, options, providers=providers))
        return opened[-1]

    with patch.object(onnxruntime, "InferenceSession", profiled):
        work = serving_work(Runtime(folder / "float32", threads=1, rows_a_run=TOGETHER), rows)
    for _ in range(passes):
        work()
    took = rest = flops = 0.0
    for session in opened:
        for event in json.loads(Path(session.end_profiling()).read_text()):
            about = event.get("args", {})
            if not event["name"].endswith("_kernel_time") or about["op_name"] == "If":  # what is in it counts
                continue
            if any(part in about["op_name"] for part in ("MatMul", "Gemm", "Conv")):
                took += event["dur"] / 1e6
                flops += _flops(about)
            else:
                rest += event["dur"] / 1e6
    return Spent(took / passes, rest / passes, flops / passes)


def _flops(about: dict[str, Any]) -> int:
    given: list[list[int]] = [shape for one in about["input_type_shape"] for shape in one.values()]
    made: list[int] = next(iter(about["output_type_shape"][0].values()))
    depth = prod(given[1][1:]) if about["op_name"] == "Conv" else prod(given[0]) // prod(made[:-1])
    return 2 * prod(made) * depth


if __name__ == "__main__":
    typer.run(main)
