"""Exchanges memory statistics, gradients and initial values between processes that train together."""

from collections.abc import Iterable, Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn

from memgan.network.memory import MemoryStatistics


def _distributed() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


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
