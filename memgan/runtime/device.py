"""Chooses the device and the number type to run in."""

import torch
from torch import nn

from memgan.errors import ConfigError
from memgan.runtime.choices import DTYPES


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


def choose_dtype(dtype: str | torch.dtype | None, half: bool, device: torch.device) -> torch.dtype:
    """The type of numbers to run in.

    Args:
        dtype: float32, float16 or bfloat16, by name or as torch's; ``"auto"``: bfloat16 on devices that compute in it,
            else float32; ``None``: float32.
        half: another way to say float16.
        device: what to run on.

    Raises:
        ConfigError: if it is another, float16 is wanted without CUDA, or the two contradict one another.
    """
    allowed: dict[str, torch.dtype] = {name: getattr(torch, name) for name in DTYPES if name != "auto"}
    name = str(dtype).removeprefix("torch.")
    if name == "auto":
        name = "bfloat16" if not half and computes_in_bfloat16(device) else "float32"
    if dtype is not None and name not in allowed:
        raise ConfigError(f"dtype is {dtype!r}; allowed are {', '.join(allowed)}, auto, or None for float32.")
    if half and dtype is not None and name != "float16":
        raise ConfigError(f"half=True and dtype={dtype!r} contradict one another; give one of them.")
    chosen = torch.float16 if half else allowed.get(name, torch.float32)
    if chosen == torch.float16 and device.type != "cuda":
        option = "half=True" if half else "dtype 'float16'"
        raise ConfigError(f"{option} needs a CUDA device, not {str(device)!r}; leave it out, or use bfloat16.")
    return chosen


def computes_in_bfloat16(device: torch.device) -> bool:
    """Whether a device has instructions for bfloat16; others convert to float32 and back, which is slower than that."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    # torch has no public question for a CPU's instructions, and a release may drop these.
    questions = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return device.type == "cpu" and any(question() for question in questions if question is not None)


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
