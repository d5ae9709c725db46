"""Running a generator on aligned faces: device, chunks, precision and the check of what comes out."""

import contextlib
import functools
import itertools
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from memgan.errors import ConfigError, WeightsError
from memgan.image import to_uint8
from memgan.self_ensemble import mirrored_mean


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
    allowed = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
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
    # torch has no public question for a CPU's instructions, and releases before 2.5 none at all.
    questions = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return device.type == "cpu" and any(question() for question in questions if question is not None)


def device_of(network: nn.Module, default: torch.device) -> torch.device:
    """Where the network's tensors are now; ``default`` for one without any."""
    for tensor in itertools.chain(network.parameters(), network.buffers()):
        return tensor.device
    return default


def to_batch(crops: Sequence[np.ndarray], device: torch.device) -> Tensor:
    """Aligned faces as a network takes them, the same numbers as :func:`memgan.image.to_tensor` gives.

    Args:
        crops: (S, S, 3) uint8 RGB each.
        device: where the batch is to be. The bytes go there, a quarter of what their floats would be, and are
            converted there.

    Returns:
        (B, 3, S, S) float32 RGB in [-1, 1].
    """
    counts = torch.from_numpy(np.stack(crops)).to(device).permute(0, 3, 1, 2)
    # A divisor on the device: by a plain number, CUDA multiplies with its rounded reciprocal instead.
    half = torch.full((), 127.5, device=device)
    return counts.to(torch.float32, memory_format=torch.contiguous_format).div_(half).sub_(1.0)


def picture_of(network: nn.Module, self_ensemble: bool = False) -> Callable[[Tensor], Tensor]:
    """A network as a function from faces to restored faces, (B, 3, S, S) RGB in [-1, 1] both.

    Args:
        network: its first result is the restored batch.
        self_ensemble: average with the restored mirror image, see :mod:`memgan.self_ensemble`.
    """

    def restore(faces: Tensor) -> Tensor:
        return network(faces)[0]

    return functools.partial(mirrored_mean, restore) if self_ensemble else restore


@torch.inference_mode()
def restore_crops(
    network: nn.Module,
    crops: Sequence[np.ndarray],
    *,
    device: torch.device,
    max_batch: int = 8,
    dtype: torch.dtype = torch.float32,
    self_ensemble: bool = False,
) -> list[np.ndarray]:
    """Restore aligned faces, many at once.

    Args:
        network: called with (B, 3, S, S) RGB in [-1, 1]; its first result is the restored batch of the same shape.
        crops: (S, S, 3) uint8 RGB each.
        device: where ``network`` is.
        max_batch: faces per run of the network; halved as often as needed when a CUDA device runs out of memory.
        dtype: float16 (CUDA only) or bfloat16 to run in where it is safe; faces that come out not finite are run again
            in float32.
        self_ensemble: average with the restored mirror image, see :mod:`memgan.self_ensemble`.

    Returns:
        (S, S, 3) uint8 RGB each, in the order of ``crops``.

    Raises:
        WeightsError: if the network's picture is not finite even in float32.
    """
    restored: list[np.ndarray] = []
    restore = picture_of(network, self_ensemble)
    start, step = 0, max_batch
    while start < len(crops):
        batch = to_batch(crops[start : start + step], device)
        try:
            output = _run(restore, batch, dtype != torch.float32, dtype)
        except torch.cuda.OutOfMemoryError:
            if len(batch) == 1:
                raise
            step = len(batch) // 2
            del batch
            release_memory(device)  # or what is cached in wrong sizes stays in the way
            continue
        restored.extend(to_uint8(output))
        start += len(batch)
    return restored


def release_memory(device: torch.device) -> None:
    """Give memory that torch keeps for later back to the device."""
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.empty_cache()


def precision(device: torch.device, dtype: torch.dtype) -> contextlib.AbstractContextManager:
    """The context in which a network runs in ``dtype`` where that is safe; none for float32."""
    return contextlib.nullcontext() if dtype == torch.float32 else torch.autocast(device.type, dtype)


def _run(restore: Callable[[Tensor], Tensor], batch: Tensor, half: bool, dtype: torch.dtype = torch.float16) -> Tensor:
    """A batch's restored faces; (B, 3, S, S) finite float32, about [-1, 1]."""
    with precision(batch.device, dtype if half else torch.float32):
        output = restore(batch).float()
    bad = ~torch.isfinite(output).flatten(1).all(dim=1)
    if bad.any():
        if not half:
            raise WeightsError(
                "The network's picture has values that are not finite although it ran in float32: the weights are "
                "damaged or were not trained. Load other weights, or fetch these again."
            )
        output[bad] = _run(restore, batch[bad], half=False)
    return output
