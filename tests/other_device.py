"""A stand-in for a GPU: tensors that are on the CPU and say that they are on ``cuda:0``, with CUDA's rules of mixing.

Arithmetic is the CPU's. What is checked is where tensors are: a function that is given some of either place raises what
torch raises on a machine with a GPU. It says nothing about kernels, speed or precision.
"""

import contextlib
import threading
from collections.abc import Callable
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten

CUDA = torch.device("cuda:0")
CPU = torch.device("cpu")
T = torch.Tensor
_PROPERTIES: dict[Any, Callable[[torch.device], Any]] = {
    T.device.__get__: lambda place: place,
    T.is_cuda.__get__: lambda place: place.type == "cuda",
    T.is_cpu.__get__: lambda place: place.type == "cpu",
    T.get_device: lambda place: 0 if place.type == "cuda" else -1,
}
_ACROSS = {T.copy_, T.to, T.type_as, T.data.__set__, T.new_tensor, torch._has_compatible_shallow_copy_type}
"""Functions that may see tensors of both places."""
_TO_NUMPY = {T.numpy, T.__array__}


class PlacementError(RuntimeError):
    """Tensors of different devices met, or one of the wrong device was used."""


class _Generator(torch.Generator):
    """A generator that says where it is."""

    def __new__(cls, device: Any = "cpu") -> "_Generator":
        made = super().__new__(cls)
        made._other_place = _named(device)
        return made

    @property
    def device(self) -> torch.device:
        return self._other_place


class _Stream:
    """A queue of work; here everything is done at once."""

    def __init__(self, device: Any = None) -> None:
        assert device is None or _named(device) == CUDA

    def wait_stream(self, other: "_Stream") -> None:
        """Nothing to wait for."""

    def synchronize(self) -> None:
        """Nothing to wait for."""


class _Rules(TorchFunctionMode):
    """What happens at every call of a function of torch, in one thread."""

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = dict(kwargs or {})
        if func in _PROPERTIES:
            return _PROPERTIES[func](place_of(args[0]))
        given = [x for x in tree_flatten((args, kwargs))[0] if isinstance(x, Tensor)]
        if func in _TO_NUMPY and place_of(args[0]) == CUDA:
            raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first.")
        if func == T.data.__set__:
            func(*args)
            return _put(args[0], place_of(args[1]))
        if func == T.grad.__get__:
            found = func(*args)
            return found if found is None else _put(found, place_of(args[0]))
        if func is T.__deepcopy__:  # its second argument holds all that was copied before
            return _put(func(*args), place_of(args[0]))
        if func not in _ACROSS:
            _check_places(func, args, kwargs, given)
        place, args, kwargs = _wanted(func, args, kwargs, given)
        result = func(*args, **kwargs)
        if func in (T.to, T.cpu, T.cuda) and place_of(args[0]) != place:
            return _put(result.clone() if result is args[0] else result, place)
        for tensor in tree_flatten(result)[0]:
            if isinstance(tensor, Tensor) and not any(tensor is x for x in given):
                _put(tensor, place)
        return result


class OtherDevice(_Rules):
    """Within it, ``device="cuda"`` works, and tensors there do not mix with those on the CPU."""

    def __init__(self) -> None:
        super().__init__()
        self._patches = contextlib.ExitStack()

    def __enter__(self) -> "OtherDevice":
        make, run = T._make_subclass, threading.Thread.run

        def make_subclass(cls: Any, data: Tensor, requires_grad: bool = False, **kwargs: Any) -> Any:
            return _put(make(cls, data, requires_grad, **kwargs), place_of(data))

        def run_within(thread: threading.Thread) -> None:
            with _Rules():  # a mode is of one thread
                run(thread)

        def record_stream(tensor: Tensor, _: _Stream) -> None:
            if place_of(tensor) != CUDA:
                raise PlacementError(f"record_stream of a tensor on {CPU}.")

        def set_rng_state(state: Tensor, device: Any) -> None:
            if place_of(state) != CPU:
                raise PlacementError(f"A generator's state is on {place_of(state)}; it must be on {CPU}.")

        for owner, name, replacement in (
            (torch, "Generator", _Generator),
            (T, "_make_subclass", staticmethod(make_subclass)),  # parameters, of which no mode is told
            (threading.Thread, "run", run_within),
            (T, "record_stream", record_stream),
            (torch.cuda, "Stream", _Stream),
            (torch.cuda, "current_stream", _Stream),
            (torch.cuda, "stream", contextlib.nullcontext),
            (torch.cuda, "mem_get_info", lambda device: (2**34, 2**34)),
            (torch.cuda, "get_device_name", lambda device: "stand-in"),
            (torch.cuda, "get_device_capability", lambda device: (7, 5)),
            (torch.cuda, "get_rng_state", lambda device: torch.get_rng_state()),  # CUDA's too lies on the CPU
            (torch.cuda, "set_rng_state", set_rng_state),
        ):
            self._patches.enter_context(mock.patch.object(owner, name, replacement))
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        self._patches.close()
        super().__exit__(*error)


def place_of(tensor: Tensor) -> torch.device:
    """Where a tensor says that it is."""
    return tensor.__dict__.get("_other_place", CPU)


def _put(tensor: Tensor, place: torch.device) -> Tensor:
    tensor.__dict__["_other_place"] = place
    return tensor


def _check_places(func: Any, args: tuple, kwargs: dict, given: list[Tensor]) -> None:
    if func is T.__getitem__:  # numbers on the CPU may index anything
        given = [x for x in given if place_of(x) == CUDA] if place_of(args[0]) == CUDA else given
    elif func is T.__setitem__ and not _by_numbers(args[1]):  # a copy
        return
    elif func is T.__setitem__:
        given = [x for x in (args[0], args[2]) if isinstance(x, Tensor)] + (
            [] if place_of(args[0]) == CUDA else [x for x in tree_flatten(args[1])[0] if isinstance(x, Tensor)]
        )
    places = {place_of(x) for x in given}
    if len(places) > 1:
        # A number on the CPU goes with anything.
        places = {place_of(x) for x in given if x.dim() or place_of(x) == CUDA}
    if len(places) > 1:
        raise PlacementError(f"{getattr(func, '__name__', func)} was given tensors on {CPU} and on {CUDA}.")
    generator = kwargs.get("generator")
    if generator is not None:
        wanted = torch.device(kwargs["device"]) if kwargs.get("device") else (places or {CPU}).pop()
        if generator.device.type != wanted.type:
            raise PlacementError(f"{func.__name__} on {wanted} was given a generator on {generator.device}.")


def _by_numbers(index: Any) -> bool:
    parts = index if isinstance(index, tuple) else (index,)
    return any(isinstance(part, (Tensor, list)) for part in parts)


def _wanted(func: Any, args: tuple, kwargs: dict, given: list[Tensor]) -> tuple[torch.device, tuple, dict]:
    """Where the result is to be, and the arguments for the CPU."""
    place = CUDA if any(place_of(x) == CUDA for x in given) else CPU
    if func is T.cpu:
        return CPU, args, kwargs
    if func is T.cuda:
        return CUDA, args[:1], {}
    if func is T.to:
        place = place_of(args[0])
        if len(args) > 1 and isinstance(args[1], Tensor):
            place = place_of(args[1])
        elif len(args) > 1 and isinstance(args[1], (str, int, torch.device)):
            place = _named(args[1])
            args = (args[0], CPU, *args[2:])
    elif func in (T.copy_, T.type_as):
        place = place_of(args[0] if func is T.copy_ else args[1])
    if kwargs.get("device") is not None:
        place = _named(kwargs["device"])
        kwargs["device"] = CPU
    return place, args, kwargs


def _named(device: Any) -> torch.device:
    kind = torch.device(device).type
    if kind not in ("cpu", "cuda"):
        raise NotImplementedError(f"device {device!r}")
    return CUDA if kind == "cuda" else CPU
