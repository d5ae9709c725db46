"""Keeps what a program has set for torch and numpy away from memgan's work, and the other way round.

All of it is set for the time of the work, and where it can be for one thread: other threads of the program see nothing
of it but OpenCV's number of threads and exact products of matrices.
"""

import contextlib
import functools
import sys
from collections.abc import Callable, Iterator
from typing import Any, ParamSpec, TypeVar

import cv2
import numpy as np
import torch
from torch.overrides import TorchFunctionMode

from memgan.runtime.threads import ProcessSetting, default_threads, library_threads

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

_AUTOCAST_DEVICES = ("cpu", "cuda", "mps")
_FACTORIES = {torch.empty, torch.zeros, torch.ones, torch.eye, torch.rand, torch.randn}
_DRAWN = {torch.rand, torch.randn}
_FILLERS = ("normal_", "uniform_", "trunc_normal_", "kaiming_normal_", "kaiming_uniform_", "xavier_uniform_")
"""Names of functions of ``torch.nn.init`` and methods of tensors that draw from the global generator."""
_products = ProcessSetting(torch.get_float32_matmul_precision, torch.set_float32_matmul_precision)


@contextlib.contextmanager
def own_settings(threads: int | None = None) -> Iterator[None]:
    """Run as if the program had set nothing: no autocast, no default device, no gradients, no errors of numpy.

    Tensors made in here are no inference tensors, so that what is built may be moved and converted later.

    Args:
        threads: of torch and OpenCV; ``None``: what :func:`memgan.runtime.threads.default_threads` says.
    """
    with contextlib.ExitStack() as stack:
        # What is not finite is looked for where it matters, and warnings that become errors would end the work.
        stack.enter_context(np.errstate(all="ignore"))
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.no_grad())
        for kind in _AUTOCAST_DEVICES:
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        if torch.empty(0).device.type != "cpu":  # torch 2.6 cannot say its default device after it was set to None
            stack.enter_context(torch.device("cpu"))
        number = default_threads() if threads is None else threads
        stack.enter_context(
            library_threads(number, number if threads is not None else min(number, cv2.getNumThreads()))
        )
        stack.enter_context(_exact_products())
        yield


def _exact_products() -> contextlib.AbstractContextManager[None]:
    """Products of float32 matrices in float32, where a program has chosen a faster, coarser way for the process."""
    try:
        is_exact = torch.get_float32_matmul_precision() == "highest"
    except RuntimeError:  # chosen by torch.backends.*.fp32_precision, of which this question knows nothing
        return contextlib.nullcontext()
    return contextlib.nullcontext() if is_exact and not _products.holders else _products.held("highest")


def unfilled() -> TorchFunctionMode:
    """Within it, new tensors are float32 and not filled at random, for networks that get their weights afterwards.

    So no random number of the program's is drawn, and its default type does not count.
    """
    return _Unfilled()


class _Unfilled(TorchFunctionMode):
    """See :func:`unfilled`."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if getattr(func, "__name__", "") in _FILLERS and kwargs.get("generator") is None:
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        if func in _FACTORIES or (func is torch.full and isinstance(args[1], float)):
            kwargs["dtype"] = torch.float32 if kwargs.get("dtype") is None else kwargs["dtype"]
            if func in _DRAWN and kwargs.get("generator") is None:
                kwargs.pop("generator", None)
                return torch.empty(*args, **kwargs)
        return func(*args, **kwargs)


def not_compiled(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """A function that stays uncompiled, with all that it calls, where a caller compiles code of theirs around it."""
    uncompiled: list[Callable[Arguments, Result]] = []

    @functools.wraps(function)
    def call(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        if "torch._dynamo" not in sys.modules:  # nobody compiles, and its import takes seconds
            return function(*args, **kwargs)
        if not uncompiled:
            uncompiled.append(torch.compiler.disable(function))  # type: ignore[no-untyped-call]
        return uncompiled[0](*args, **kwargs)

    return call
