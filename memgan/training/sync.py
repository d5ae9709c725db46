"""Exchanges memory statistics, gradients and initial values between processes that train together."""

from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor, nn

from memgan.network.memory import MemoryStatistics


def _distributed() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def all_reduce_statistics(statistics: MemoryStatistics) -> MemoryStatistics:
    """Sum over all processes; with one process, or none initialized, the statistics themselves.

    Sums and counts are reduced before they are divided: a mean of means would weigh processes with few assigned
    positions too much.
    """
    if not _distributed():
        return statistics
    flat = torch.cat([tensor.reshape(-1).float() for tensor in statistics])
    dist.all_reduce(flat)
    sums = flat.split([tensor.numel() for tensor in statistics])
    return MemoryStatistics(*(total.reshape(own.shape) for total, own in zip(sums, statistics, strict=True)))


def average_gradients_(parameters: Iterable[nn.Parameter]) -> None:
    """Replace the gradients by their mean over all processes; all must have the same parameters with a gradient."""
    if not _distributed():
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    if not gradients:
        return
    flat = torch.cat([g.reshape(-1) for g in gradients])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))


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
