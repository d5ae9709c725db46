"""What a network has to compute and to move, operation by operation, counted without computing anything."""

import dataclasses
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


@dataclasses.dataclass(frozen=True)
class Work:
    """Work for a batch of one face."""

    num_parameters: int
    multiply_adds: int
    """Of convolutions, linear layers and attention; element-wise work is not counted."""
    least_bytes: int
    """Weights and pictures, each moved once: what no implementation can avoid."""
    operations: tuple[tuple[int, int], ...]
    """Floating-point operations and bytes read and written of every single operation of torch."""

    @property
    def moved_bytes(self) -> int:
        """Moved if every operation reads its inputs from memory and writes its outputs to memory."""
        return sum(moved for _, moved in self.operations)


_FREE = {
    torch.ops.aten.empty,
    torch.ops.aten.empty_like,
    torch.ops.aten.empty_strided,
    torch.ops.aten.new_empty,
    torch.ops.aten._unsafe_view,
}
"""Operations that move nothing."""


class _Tally(TorchDispatchMode):
    """Takes down each operation that computes anything."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[tuple[int, int]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        is_free = func.namespace != "aten" or func.is_view or func._overloadpacket in _FREE
        if not is_free:
            tensors = [leaf for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, Tensor)]
            moved = sum(map(_size, tensors))
            self.operations.append((_flops(func._overloadpacket, args, kwargs, result), moved))
        return result


def _size(tensor: Tensor) -> int:
    """Bytes of what a tensor shows; numbers that it repeats count once."""
    return min(tensor.numel() * tensor.element_size(), tensor.untyped_storage().nbytes())


def _flops(packet: Any, args: Any, kwargs: Any, result: Any) -> int:
    # Not at the top: torch's counter loads triton, which the memory measured of other things would show.
    from torch.utils.flop_counter import flop_registry

    from memgan.network.cost import KERNEL_FLOPS

    if packet in KERNEL_FLOPS:
        return KERNEL_FLOPS[packet](*(arg.shape if isinstance(arg, Tensor) else arg for arg in args))
    count = flop_registry.get(packet)
    return 0 if count is None else int(count(*args, **kwargs, out_val=result))


def count_work(network: nn.Module, size_px: int, dtype: torch.dtype = torch.float32) -> Work:
    """Work of ``network`` for one face of ``size_px`` pixels.

    Args:
        network: called with (1, 3, S, S); its own tensors are neither read nor changed.
        size_px: side S.
        dtype: what it runs in under autocast, if not float32.
    """
    mode = FakeTensorMode()
    tensors = dict([*network.named_parameters(), *network.named_buffers()])
    state = {name: mode.from_tensor(tensor.detach()) for name, tensor in tensors.items()}
    device = next((tensor.device for tensor in tensors.values()), torch.device("cpu"))
    image = mode.from_tensor(torch.zeros(1, 3, size_px, size_px, device=device))
    half = torch.autocast(device.type, dtype, enabled=dtype != torch.float32)
    with mode, torch.no_grad(), half, _Tally() as tally:
        torch.func.functional_call(network, state, (image,))
    weights = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    return Work(
        num_parameters=sum(parameter.numel() for parameter in network.parameters()),
        multiply_adds=sum(flops for flops, _ in tally.operations) // 2,
        least_bytes=weights + 2 * image.numel() * image.element_size(),
        operations=tuple(tally.operations),
    )
