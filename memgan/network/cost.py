"""Size and work of a generator, counted without allocating or computing anything."""

from typing import NamedTuple

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from memgan.network.config import MemGANConfig
from memgan.network.model import build_memgan


class PartCost(NamedTuple):
    """One part of a generator."""

    name: str
    num_parameters: int
    """Trained numbers."""
    num_buffers: int
    """Stored numbers that are not trained: memory slots, noise maps, statistics."""
    multiply_adds: int
    """Of convolutions, linear layers and attention for one face; element-wise work is not counted."""


def _attention_flops(query: torch.Size, key: torch.Size, value: torch.Size, *_: object, **__: object) -> int:
    """Scores and weighted sums, (B, heads, positions, C) each, with two operations per multiply-add."""
    batch, heads, positions, channels = query
    return 2 * batch * heads * positions * key[-2] * (channels + value[-1])


def _product_flops(_: torch.Size, left: torch.Size, right: torch.Size, *__: object, **___: object) -> int:
    """A batch of matrix products (B, N, K) x (B, K, O) that is added to what is there."""
    return 2 * left[0] * left[1] * left[2] * right[2]


# What the counter of some releases of torch does not know: it has the attention kernels of GPUs only, and of products
# the kinds that make a new tensor.
KERNEL_FLOPS = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops,
    torch.ops.aten.baddbmm_: _product_flops,
}


def count_cost(config: MemGANConfig) -> list[PartCost]:
    """Cost of each part for one face of ``config.image_size``, in the order of the parts, then their ``total``."""
    with FakeTensorMode():
        network = build_memgan(config).eval().requires_grad_(False)
        image = torch.zeros(1, 3, config.image_size, config.image_size)
        # The image is a plain tensor and nothing requires gradients: the counter hooks modules, and its hooks would
        # ask for gradient functions otherwise.
        with torch.no_grad(), FlopCounterMode(display=False, custom_mapping=KERNEL_FLOPS) as counter:
            network(image)
        flops = {name: sum(by_kind.values()) for name, by_kind in counter.get_flop_counts().items()}
    root = type(network).__name__
    parts = []
    for name, part in network.named_children():
        own = f"{root}.{name}"
        # A container is never called itself: its entries are.
        work = flops[own] if own in flops else sum(v for k, v in flops.items() if k.rpartition(".")[0] == own)
        parameters = sum(p.numel() for p in part.parameters())
        parts.append(PartCost(name, parameters, sum(b.numel() for b in part.buffers()), work // 2))
    return [*parts, PartCost("total", *(sum(column) for column in zip(*(part[1:] for part in parts))))]
