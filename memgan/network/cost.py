"""Counts parameters, multiply-adds and moved bytes of a network without allocating or computing anything."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.module_tracker import ModuleTracker

from memgan.network.config import MemGANConfig
from memgan.network.model import build_memgan


class Work(NamedTuple):
    """Work of a network for one face."""

    num_parameters: int
    multiply_adds: int
    """Of convolutions, linear layers and attention; element-wise work is not counted."""
    least_bytes: int
    """Weights and pictures, each moved once: what no implementation can avoid."""
    operations: tuple[tuple[int, int], ...]
    """Floating-point operations and bytes read and written of every single operator of torch."""

    @property
    def moved_bytes(self) -> int:
        """Moved if every operator reads its inputs from memory and writes its outputs to memory."""
        return sum(moved for _, moved in self.operations)


class ComponentCost(NamedTuple):
    """One component of a generator."""

    name: str
    num_parameters: int
    """Trained numbers."""
    num_buffers: int
    """Stored numbers that are not trained: memory slots, noise maps, statistics."""
    multiply_adds: int
    """Of convolutions, linear layers and attention for one face; element-wise work is not counted."""


def count_work(network: nn.Module, size_px: int, dtype: torch.dtype = torch.float32) -> Work:
    """Work of ``network`` for one face of ``size_px`` pixels.

    Args:
        network: called with (1, 3, S, S); its own tensors, which may be fake ones, are neither read nor changed.
        size_px: side S.
        dtype: what it runs in under autocast, if not float32.
    """
    operations = _operations(network, size_px, dtype)
    tensors = [*network.parameters(), *network.buffers()]
    pictures = 2 * 3 * size_px**2 * torch.float32.itemsize
    return Work(
        num_parameters=sum(parameter.numel() for parameter in network.parameters()),
        multiply_adds=sum(operation.flops for operation in operations) // 2,
        least_bytes=sum(tensor.numel() * tensor.element_size() for tensor in tensors) + pictures,
        operations=tuple((operation.flops, operation.moved_bytes) for operation in operations),
    )


def count_cost(config: MemGANConfig) -> list[ComponentCost]:
    """Cost of each component for one face of ``config.image_size``, in their order, then their ``total``."""
    with FakeTensorMode():
        network = build_memgan(config).eval()
    operations = _operations(network, config.image_size, torch.float32)
    costs = []
    for name, component in network.named_children():
        flops = sum(operation.flops for operation in operations if name in operation.components)
        parameters = sum(parameter.numel() for parameter in component.parameters())
        buffers = sum(buffer.numel() for buffer in component.buffers())
        costs.append(ComponentCost(name, parameters, buffers, flops // 2))
    return [
        *costs,
        ComponentCost("total", *(sum(column) for column in zip(*(cost[1:] for cost in costs), strict=True))),
    ]


def _operations(network: nn.Module, size_px: int, dtype: torch.dtype) -> "list[_Operation]":
    """What a network calls for one face."""
    tensors = dict([*network.named_parameters(), *network.named_buffers()])
    mode = next((one.fake_mode for one in tensors.values() if isinstance(one, FakeTensor)), None) or FakeTensorMode()
    state: dict[str, Tensor] = {name: mode.from_tensor(tensor.detach()) for name, tensor in tensors.items()}
    device = next((tensor.device for tensor in tensors.values()), torch.device("cpu"))
    image = mode.from_tensor(torch.zeros(1, 3, size_px, size_px, device=device))
    half = torch.autocast(device.type, dtype, enabled=dtype != torch.float32)
    with mode, torch.no_grad(), half, ModuleTracker() as tracker, _OperationCounter(tracker) as counter:
        torch.func.functional_call(network, state, (image,))
    operations: list[_Operation] = counter.operations
    return operations


def _attention_flops(query: torch.Size, key: torch.Size, value: torch.Size, *_: object) -> int:
    """Scores and weighted sums, (B, heads, positions, C) each, with two operations per multiply-add."""
    batch, heads, positions, channels = query
    return 2 * batch * heads * positions * key[-2] * (channels + value[-1])


def _product_flops(_: torch.Size, left: torch.Size, right: torch.Size, *__: object) -> int:
    """A batch of matrix products (B, N, K) x (B, K, O) that is added to what is there."""
    return 2 * left[0] * left[1] * left[2] * right[2]


# What the counter of some releases of torch does not know: it has the attention kernels of GPUs only, and of products
# the kinds that make a new tensor.
_KERNEL_FLOPS: dict[Any, Callable[..., int]] = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops,
    torch.ops.aten.baddbmm_: _product_flops,
}
_FREE = {
    torch.ops.aten.empty,
    torch.ops.aten.empty_like,
    torch.ops.aten.empty_strided,
    torch.ops.aten.new_empty,
    torch.ops.aten._unsafe_view,
}
"""Operators that move nothing."""


class _Operation(NamedTuple):
    flops: int
    moved_bytes: int
    components: frozenset[str]
    """The direct children of the network that it runs in: one at most."""


class _OperationCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Records each operator that computes or moves anything, and where it is called."""

    def __init__(self, tracker: ModuleTracker) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations: list[_Operation] = []
        self._tracker = tracker

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        is_free = func.namespace != "aten" or func.is_view or func._overloadpacket in _FREE
        if not is_free:
            tensors = [leaf for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, Tensor)]
            flops = _flops(func._overloadpacket, args, kwargs, result)
            modules = (module.split(".") for module in self._tracker.parents)  # the root's class, then the way down
            components = frozenset(names[1] for names in modules if len(names) > 1)
            self.operations.append(_Operation(flops, sum(map(_size, tensors)), components))
        return result


def _size(tensor: Tensor) -> int:
    """Bytes of what a tensor shows; numbers that it repeats count once."""
    return min(tensor.numel() * tensor.element_size(), tensor.untyped_storage().nbytes())


def _flops(packet: Any, args: Any, kwargs: Any, result: Any) -> int:
    # Not at the top: torch's counter loads triton, which the memory measured of other things would show.
    from torch.utils.flop_counter import flop_registry

    if packet in _KERNEL_FLOPS:
        return _KERNEL_FLOPS[packet](*(arg.shape if isinstance(arg, Tensor) else arg for arg in args))
    count = flop_registry.get(packet)
    return 0 if count is None else int(count(*args, **kwargs, out_val=result))
