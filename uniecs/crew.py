"""The processes of one training run, as `torchrun` starts them; one alone is a crew too.

Every process draws the same batches and holds the same weights; each encodes its
share, hands the vectors round, and adds its part of the gradient.
"""

from collections.abc import Iterable, Mapping

import torch
import torch.distributed as dist
from torch import Tensor

from .config import Device
from .errors import InvalidConfig


class Crew:
    """Who this process is among how many, and what they tell each other."""

    def __init__(self, *, rank: int = 0, size: int = 1) -> None:
        self.rank = rank
        self.size = size

    @property
    def leads(self) -> bool:
        """Whether this process writes files and shows progress."""
        return self.rank == 0

    def gather(self, mine: Tensor) -> Tensor:
        """Return everyone's tensors of one shape, stacked by rank."""
        if self.size == 1:
            return mine[None]
        theirs = [torch.empty_like(mine) for _ in range(self.size)]
        dist.all_gather(theirs, mine.contiguous())
        return torch.stack(theirs)

    def add(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor by the sum of everyone's."""
        if self.size > 1:
            for tensor in tensors:
                dist.all_reduce(tensor)

    def average(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor by the mean of everyone's."""
        if self.size > 1:
            for tensor in tensors:
                dist.all_reduce(tensor)
                tensor.div_(self.size)

    def hear(self, number: float) -> float:
        """Return the number that the leader has."""
        if self.size == 1:
            return number
        told = torch.tensor([number], dtype=torch.float64)
        told = told.cuda() if dist.get_backend() == "nccl" else told
        dist.broadcast(told, src=0)
        return float(told.item())

    def part(self) -> None:
        """End the crew; the last thing a run does."""
        if self.size > 1:
            dist.destroy_process_group()


def join_crew(environment: Mapping[str, str], device: Device) -> Crew:
    """Return the crew that `torchrun` named in the environment, or a crew of one.

    Raises:
        InvalidConfig: the variables are there but the others are not.
    """
    size = int(environment.get("WORLD_SIZE", "1"))
    if size == 1:
        return Crew()
    rank = int(environment.get("RANK", "0"))
    if device == "cuda":
        torch.cuda.set_device(int(environment.get("LOCAL_RANK", "0")))
    try:
        dist.init_process_group("nccl" if device == "cuda" else "gloo", rank=rank, world_size=size)
    except (ValueError, RuntimeError) as error:
        raise InvalidConfig(
            f"process {rank} of {size} cannot reach the others ({error}); start all of them with torchrun"
        ) from error
    return Crew(rank=rank, size=size)
