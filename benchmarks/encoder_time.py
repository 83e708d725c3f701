"""Where the time of runs of 32 goes: into products of matrices and convolutions, and into all else.

    python -m benchmarks.encoder_time [--rounds 15]

By the profilers of torch and of onnxruntime, float32, one thread, on the rows and weights
of `benchmarks.encoder`. The last column is a bound: how many times as fast as torch eager
onnxruntime would be if its products were as fast as this processor's best, and with 8-bit
weights four times that (an instruction holds 16 float32 or 64 8-bit products), while all
else stays as it is. "Times torch eager" is taken in turn, without the profilers.
"""

import json
import statistics
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

from benchmarks.encoder import Work, eager_work, kinds_of_rows, most_flops, serving_work, take_turns
from uniecs.config import ModelConfig
from uniecs.export import export_model
from uniecs.model import UniECS
from uniecs.runtime import Row, Runtime

TOGETHER = 32
PROFILED = 20  # passes over the rows


class Spent(NamedTuple):
    """The part of the time that goes into products, and their operations a second."""

    share: float
    flops: float

    def left_at(self, flops: float) -> float:
        """Return the part of the time that would be left if products ran so fast."""
        return 1 - self.share + self.share * self.flops / flops


def main(rounds: Annotated[int, typer.Option(min=3, help="turns that each of them takes")] = 15) -> None:
    """Print the table."""
    torch.set_num_threads(1)
    torch.manual_seed(5)
    most = most_flops("cpu")
    print(f"{TOGETHER} rows a run, one thread; one product of two large matrices: {most / 1e9:.0f} GFLOP/s\n")
    print("| rows | torch's products | onnxruntime's products | times torch eager | at best, and in 8 bits |")
    print("| --- " * 5 + "|")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        eager = UniECS(ModelConfig()).eval()
        export_model(eager, folder / "float32")
        for name, rows in kinds_of_rows(64):
            runtime = Runtime(folder / "float32", threads=1, rows_a_run=TOGETHER)
            theirs, ours = eager_work(eager, rows, "cpu", TOGETHER), serving_work(runtime, rows)
            times = take_turns({"torch": theirs, "onnxruntime": ours}, rounds)
            faster = statistics.median(a / b for a, b in zip(*times.values(), strict=True))
            spent = _of_torch(theirs), _of_onnxruntime(folder, rows)
            cells = [f"{each.share:.0%} of its time, at {each.flops / most:.0%} of that" for each in spent]
            bounds = [f"{faster / spent[1].left_at(times_best * most):.2f}" for times_best in (1, 4)]
            print(f"| {name} | {' | '.join(cells)} | {faster:.2f} | {', '.join(bounds)} |", flush=True)


def _of_torch(work: Work) -> Spent:
    with profile(activities=[ProfilerActivity.CPU], with_flops=True) as seen:
        for _ in range(PROFILED):
            work()
    events = seen.key_averages()
    products = [each for each in events if "mm" in each.key or "conv" in each.key]
    took = sum(each.self_cpu_time_total for each in products) / 1e6
    whole = sum(each.self_cpu_time_total for each in events) / 1e6
    return Spent(took / whole, sum(each.flops for each in products) / took)


def _of_onnxruntime(folder: Path, rows: Sequence[Row]) -> Spent:
    opened, kind = [], onnxruntime.InferenceSession

    def profiled(path: str, options: Any, *, providers: Sequence[str]) -> Any:
        options.enable_profiling = True
        options.profile_file_prefix = str(folder / "profile")
        opened.append(kind(path, options, providers=providers))
        return opened[-1]

    with patch.object(onnxruntime, "InferenceSession", profiled):
        work = serving_work(Runtime(folder / "float32", threads=1, rows_a_run=TOGETHER), rows)
    for _ in range(PROFILED):
        work()
    took = whole = flops = 0.0
    for session in opened:
        for event in json.loads(Path(session.end_profiling()).read_text()):
            about = event.get("args", {})
            if not event["name"].endswith("_kernel_time") or about["op_name"] == "If":  # what is in it counts
                continue
            whole += event["dur"] / 1e6
            if any(part in about["op_name"] for part in ("MatMul", "Gemm", "Conv")):
                took += event["dur"] / 1e6
                flops += _flops(about)
    return Spent(took / whole, flops / took)


def _flops(about: dict[str, Any]) -> int:
    given: list[list[int]] = [shape for one in about["input_type_shape"] for shape in one.values()]
    made: list[int] = next(iter(about["output_type_shape"][0].values()))
    depth = prod(given[1][1:]) if about["op_name"] == "Conv" else prod(given[0]) // prod(made[:-1])
    return 2 * prod(made) * depth


if __name__ == "__main__":
    typer.run(main)
