"""Exchanges memory statistics, gradients, initial values and decisions between processes that train together."""

import contextlib
import contextvars
from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn

from memgan.errors import OutputError
from memgan.network.memory import MemoryStatistics

_alone = contextvars.ContextVar("_alone", default=False)


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Act within the block as if this process trained alone."""
    token = _alone.set(True)
    try:
        yield
    finally:
        _alone.reset(token)


def _distributed() -> bool:
    return not _alone.get() and dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def rank() -> int:
    """The number of this process, from 0."""
    return dist.get_rank() if _distributed() else 0


def processes() -> int:
    """How many processes train together."""
    return dist.get_world_size() if _distributed() else 1


def largest(values: Sequence[float]) -> list[float]:
    """The largest value in any process, place by place, so that all decide alike."""
    if not _distributed():
        return list(values)
    device = torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else None
    tensor = torch.tensor(values, dtype=torch.float64, device=device)
    dist.all_reduce(tensor, dist.ReduceOp.MAX)
    return tensor.tolist()


def all_succeed(work: Callable[[], object], errors: tuple[type[Exception], ...]) -> None:
    """Do something in every process, and return when all have done it.

    Raises:
        OutputError: in all processes, if one of ``errors`` was raised in any.
    """
    failed: Exception | None = None
    try:
        work()
    except errors as error:
        failed = error
    if any(largest([failed is not None])):
        raise OutputError(str(failed) if failed is not None else "Another process could not write.") from failed


def _summed(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Sums over all processes, exchanged at once."""
    flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
    dist.all_reduce(flat)
    sums = flat.split([tensor.numel() for tensor in tensors])
    return [total.view(tensor.shape) for total, tensor in zip(sums, tensors, strict=True)]


def all_reduce_statistics(statistics: MemoryStatistics) -> MemoryStatistics:
    """Sum over all processes; with one process, or none initialized, the statistics themselves.

    Sums and counts are reduced before they are divided: a mean of means would weigh processes with few assigned
    positions too much.
    """
    return MemoryStatistics(*_summed([tensor.float() for tensor in statistics])) if _distributed() else statistics


def average_gradients_(parameters: Iterable[nn.Parameter]) -> None:
    """Replace the gradients by their mean over all processes; all must have the same parameters with a gradient."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    if gradients and _distributed():
        for gradient, total in zip(gradients, _summed(gradients), strict=True):
            gradient.copy_(total / dist.get_world_size())


def average_(tensor: Tensor) -> Tensor:
    """Replace a tensor by its mean over all processes, and return it."""
    if _distributed():
        dist.all_reduce(tensor)
        tensor /= dist.get_world_size()
    return tensor


def broadcast_(tensors: Iterable[Tensor]) -> None:
    """Give every process the values of process 0."""
    if _distributed():
        for tensor in tensors:
            dist.broadcast(tensor.detach(), src=0)
