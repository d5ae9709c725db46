"""Counts the parameters, multiply-adds and memory traffic of a network without computing anything."""

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from memgan.network.config import MemGANConfig
from memgan.network.model import build_memgan
from memgan.network.reliability import ReliabilityConfig, ReliabilityEstimate, ReliabilityNet

if TYPE_CHECKING:
    from torch.utils.module_tracker import ModuleTracker


class ComponentCost(NamedTuple):
    """One component of a generator."""

    name: str
    num_parameters: int
    """Trained numbers."""
    num_buffers: int
    """Stored numbers that are not trained: memory slots, noise maps, statistics."""
    multiply_adds: int
    """Of convolutions, linear layers and attention for one face; element-wise work is not counted."""


class Operation(NamedTuple):
    """One operation of torch that computes or copies something."""

    component: str
    """The child of the network that runs it; empty for the network itself."""
    flops: int
    """Floating-point operations, two per multiply-add; 0 for element-wise work."""
    moved_bytes: int
    """Inputs read and outputs written."""


@dataclasses.dataclass(frozen=True)
class OperationCount:
    """What a network computes and moves for a batch of one face."""

    num_parameters: int
    least_bytes: int
    """Weights and images, each moved once: what no implementation can avoid."""
    operations: tuple[Operation, ...]

    @property
    def multiply_adds(self) -> int:
        """Of convolutions, linear layers and attention."""
        return sum(operation.flops for operation in self.operations) // 2

    @property
    def moved_bytes(self) -> int:
        """Moved if every operation reads its inputs from memory and writes its outputs to memory."""
        return sum(operation.moved_bytes for operation in self.operations)


def count_operations(network: nn.Module, size_px: int, dtype: torch.dtype = torch.float32) -> OperationCount:
    """Count one forward pass of (1, 3, S, S), under autocast if ``dtype`` is not float32.

    The network's own tensors are neither read nor changed, and may be fake.
    """
    tensors = dict([*network.named_parameters(), *network.named_buffers()])
    mode = next((tensor.fake_mode for tensor in tensors.values() if isinstance(tensor, FakeTensor)), FakeTensorMode())
    state: dict[str, Tensor] = {
        name: tensor if isinstance(tensor, FakeTensor) else mode.from_tensor(tensor.detach())
        for name, tensor in tensors.items()
    }
    device = next((tensor.device for tensor in tensors.values()), torch.device("cpu"))
    image = mode.from_tensor(torch.zeros(1, 3, size_px, size_px, dtype=torch.float32, device=device))
    autocast = torch.autocast(device.type, dtype, enabled=dtype != torch.float32)
    # Imported here: torch's tracker and counter load triton, which nobody needs who only imports this module.
    from torch.utils.module_tracker import ModuleTracker

    tracker = ModuleTracker()
    recorder = _Recorder(tracker)
    with mode, torch.no_grad(), autocast, tracker, recorder:
        torch.func.functional_call(network, state, (image,))
    return OperationCount(
        num_parameters=sum(parameter.numel() for parameter in network.parameters()),
        least_bytes=sum(tensor.numel() * tensor.element_size() for tensor in [*tensors.values(), image, image]),
        operations=tuple(recorder.operations),
    )


def count_cost(config: MemGANConfig | ReliabilityConfig) -> list[ComponentCost]:
    """Cost of each component for one face of ``config.image_size``, in their order, then their ``total``."""
    with FakeTensorMode():
        network = build_memgan(config) if isinstance(config, MemGANConfig) else _EstimatorOfOne(config)
        network.eval().requires_grad_(False)
    operations = count_operations(network, config.image_size).operations
    costs = []
    for name, component in [*network.named_children(), ("", network)]:
        tensors = component.parameters(recurse=name != ""), component.buffers(recurse=name != "")
        parameters, buffers = (sum(x.numel() for x in part) for part in tensors)
        flops = sum(operation.flops for operation in operations if operation.component == name)
        if name or parameters or buffers or flops:
            costs.append(ComponentCost(name or "between them", parameters, buffers, flops // 2))
    total = (sum(column) for column in zip(*(cost[1:] for cost in costs), strict=True))
    return [*costs, ComponentCost("total", *total)]


class _EstimatorOfOne(ReliabilityNet):
    """An estimator that takes one picture, as restorers do, for the face before and after."""

    def forward(self, image: Tensor) -> ReliabilityEstimate:  # type: ignore[override]
        return super().forward(image, image, image.new_zeros(len(image)))


_ATEN = torch.ops.aten
_FREE = {_ATEN.empty, _ATEN.empty_like, _ATEN.empty_strided, _ATEN.new_empty, _ATEN._unsafe_view}
"""Operations that move nothing."""


class _Recorder(TorchDispatchMode):
    """Records each operation that computes or copies anything."""

    def __init__(self, tracker: "ModuleTracker") -> None:
        from torch.utils.flop_counter import flop_registry

        super().__init__()  # type: ignore[no-untyped-call]
        self.operations: list[Operation] = []
        self._tracker = tracker
        self._counters = {**flop_registry, **_KERNEL_FLOPS}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        packet = func._overloadpacket
        if func.namespace == "aten" and not func.is_view and packet not in _FREE:
            count = self._counters.get(packet)
            flops = 0 if count is None else int(count(*args, **kwargs, out_val=result))
            tensors = [leaf for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, Tensor)]
            # The tracker names modules by their way from the root: Network.component.layer.
            component = next((name.split(".")[1] for name in self._tracker.parents if "." in name), "")
            self.operations.append(Operation(component, flops, sum(map(_size, tensors))))
        return result


def _size(tensor: Tensor) -> int:
    """Bytes of what a tensor shows; numbers that it repeats count once."""
    return min(tensor.numel() * tensor.element_size(), tensor.untyped_storage().nbytes())


def _attention_flops(query: Tensor, key: Tensor, value: Tensor, *_: object, **__: object) -> int:
    """Scores and weighted sums, (B, heads, positions, C) each, with two operations per multiply-add."""
    batch, heads, positions, channels = query.shape
    return 2 * batch * heads * positions * key.shape[-2] * (channels + value.shape[-1])


def _product_flops(_: Tensor, left: Tensor, right: Tensor, *__: object, **___: object) -> int:
    """Matrix products (N, K) x (K, O), or a batch of them, that are added to what is there."""
    return 2 * left.numel() * right.shape[-1]


# What the counter of some releases of torch does not know: it has the attention kernels of GPUs only, and of products
# the kinds that make a new tensor.
_KERNEL_FLOPS: dict[Any, Callable[..., int]] = {
    _ATEN._scaled_dot_product_flash_attention_for_cpu: _attention_flops,
    _ATEN.addmm_: _product_flops,
    _ATEN.baddbmm_: _product_flops,
}
