"""Chooses the device and the number type to run in, and names the device."""

import platform
from pathlib import Path

import torch
from torch import nn

from memgan.errors import ConfigError
from memgan.runtime.choices import DTYPES

# torch has no public question for a CPU's instructions, and a release may drop these.
_BFLOAT16 = {"AVX512_BF16": "_is_avx512_bf16_supported", "AMX": "_is_amx_tile_supported"}


def choose_device(device: str | torch.device | None = None) -> torch.device:
    """The device to run on.

    Args:
        device: such as ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``; ``None``: the first CUDA device, else the CPU.

    Raises:
        ConfigError: if it is no device, or one that this machine or this build of torch lacks.
    """
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ConfigError(
            f"device is {device!r}; allowed are 'cpu', 'cuda', 'cuda:0', ..., 'mps', or None for the best there is."
        ) from error
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise ConfigError(
            f"device is {str(device)!r}, but torch sees {torch.cuda.device_count()} CUDA devices; "
            "use device='cpu', or install a torch built for your GPU."
        )
    if chosen.type == "mps" and not torch.backends.mps.is_available():
        raise ConfigError("device is 'mps', but this machine or this torch has none; use device='cpu'.")
    return chosen


def dtype_name(dtype: object) -> str:
    """``float32`` and the like, of a number type of torch or its name."""
    return str(dtype).removeprefix("torch.")


def is_auto(dtype: str | torch.dtype | None) -> bool:
    """Whether a number type is left to :func:`choose_dtype`."""
    return dtype is None or dtype == "auto"


def choose_dtype(
    dtype: str | torch.dtype | None, half: bool, device: torch.device, *, exact: bool = False
) -> torch.dtype:
    """The type of numbers to run in.

    Args:
        dtype: float32, float16 or bfloat16, by name or as torch's; ``"auto"`` or ``None``: bfloat16 on devices that
            compute in it, else float32.
        half: another way to say float16.
        device: what to run on.
        exact: nothing but float32 is chosen where the choice is left.

    Raises:
        ConfigError: if it is another, float16 is wanted without CUDA, or the two contradict one another.
    """
    allowed: dict[str, torch.dtype] = {name: getattr(torch, name) for name in DTYPES if name != "auto"}
    if is_auto(dtype):
        name = "float16" if half else "bfloat16" if not exact and computes_in_bfloat16(device) else "float32"
    else:
        name = dtype_name(dtype)
    if name not in allowed:
        raise ConfigError(f"dtype is {dtype!r}; allowed are {', '.join(allowed)}, or auto.")
    if half and name != "float16":
        raise ConfigError(f"half=True and dtype={dtype!r} contradict one another; give one of them.")
    chosen = allowed[name]
    if chosen == torch.float16 and device.type != "cuda":
        option = "half=True" if half else "dtype 'float16'"
        raise ConfigError(f"{option} needs a CUDA device, not {str(device)!r}; leave it out, or use bfloat16.")
    return chosen


def computes_in_bfloat16(device: torch.device) -> bool:
    """Whether a device has instructions for bfloat16; others convert to float32 and back, which is slower than that."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return device.type == "cpu" and bool(_bfloat16_instructions())


def _bfloat16_instructions() -> list[str]:
    questions = {name: getattr(torch.cpu, question, None) for name, question in _BFLOAT16.items()}
    return [name for name, question in questions.items() if question is not None and question()]


def device_name(device: torch.device) -> str:
    """What a device calls itself; a CPU with the instruction sets that torch uses, as far as it tells them."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    if device.type == "cpu":
        return f"{processor_name()} ({', '.join([torch.backends.cpu.get_cpu_capability(), *_bfloat16_instructions()])})"
    return f"{device.type} of {processor_name()}"


def processor_name() -> str:
    """The CPU's model."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text("utf-8", "replace").splitlines() if cpuinfo.is_file() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def to_device(network: nn.Module, device: torch.device) -> nn.Module:
    """Move a network.

    Raises:
        ConfigError: in a fork of a process that has used the GPU, which CUDA does not allow.
    """
    try:
        return network.to(device)
    except RuntimeError as error:
        if "forked subprocess" not in str(error):
            raise
        raise ConfigError(
            f"{str(device)!r} cannot be used in this process, which is a fork of one that has used it: start processes "
            "by 'spawn' (multiprocessing.get_context('spawn')), or fork before the GPU is used."
        ) from error


def release_memory(device: torch.device) -> None:
    """Give memory that torch keeps for later back to the device."""
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.empty_cache()
