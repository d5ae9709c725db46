"""Runs a network on aligned faces: device, chunks, precision and the check of what comes out; shows its evidence."""

import contextlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from memgan.errors import ConfigError, WeightsError
from memgan.faces.sharpness import sharpness
from memgan.image import to_uint8
from memgan.network.model import MemGAN
from memgan.runtime.checks import check_int
from memgan.runtime.device import release_memory

Item = TypeVar("Item")
Result = TypeVar("Result")

NOT_FINITE = (
    "The network's picture has values that are not finite although it ran in float32: the weights are damaged or were "
    "not trained. Load other weights, or fetch these again."
)


def check_network(network: Any) -> None:
    """Refuse a network that does not say what it takes.

    Raises:
        ConfigError: if it is no module, or has no ``config.image_size``.
    """
    size = getattr(getattr(network, "config", None), "image_size", None)
    try:
        check_int("image_size", size, 1)
    except ConfigError as error:
        raise ConfigError(
            f"network is a {type(network).__name__} without config.image_size, the side in pixels of the faces that it "
            "takes; give it one (network.config = types.SimpleNamespace(image_size=512)), or a network of "
            "memgan.build_memgan."
        ) from error
    if not isinstance(network, nn.Module):
        raise ConfigError(f"network is a {type(network).__name__}; it must be a torch.nn.Module.")


def to_batch(crops: Sequence[np.ndarray], device: torch.device) -> Tensor:
    """Aligned faces, (S, S, 3) uint8 RGB each, to (B, 3, S, S) float32 in [-1, 1] as :func:`memgan.image.to_tensor`.

    They are converted on ``device``: their bytes are a quarter of the data to move there.
    """
    counts = torch.from_numpy(np.stack(crops)).to(device).permute(0, 3, 1, 2)
    # A divisor on the device: by a plain number, CUDA multiplies with its rounded reciprocal instead.
    half = torch.full((), 127.5, dtype=torch.float32, device=device)
    return counts.to(torch.float32, memory_format=torch.contiguous_format).div_(half).sub_(1.0)


def run_network(
    network: Callable[[Tensor], Sequence[Any]],
    faces: Tensor,
    *,
    dtype: torch.dtype = torch.float32,
    self_ensemble: bool = False,
) -> Tensor:
    """Restored faces, (B, 3, S, S) RGB in about [-1, 1].

    Args:
        network: its first result is the restored batch. A program may have converted it: a ``network.half()`` computes
            in its own type unless ``dtype`` says another, a ``network.double()`` always.
        faces: (B, 3, S, S) RGB in [-1, 1].
        dtype: float16 or bfloat16 to run in where it is safe.
        self_ensemble: also restore the mirror images, and average both in float32: the geometric self-ensemble of
            super-resolution (Timofte et al., 2016, "Seven ways to improve example-based single image super
            resolution"), with the one symmetry that a face has. It takes two runs.
    """
    parameters: Iterable[Tensor] = network.parameters() if isinstance(network, nn.Module) else ()
    own = next((parameter.dtype for parameter in parameters if parameter.is_floating_point()), torch.float32)
    is_cast = dtype != torch.float32 and own != torch.float64  # which autocast leaves alone
    faces = faces if is_cast else faces.to(own)
    with torch.autocast(faces.device.type, dtype) if is_cast else contextlib.nullcontext():
        restored: Tensor = network(faces)[0]
        if not self_ensemble:
            return restored
        mirrored: Tensor = network(faces.flip(-1))[0]
    return (restored.float() + mirrored.float().flip(-1)) / 2


def restore_degraded(restore: Callable[[Tensor], Tensor], faces: Tensor) -> Tensor:
    """Restore faces, (B, 3, S, S) RGB in [-1, 1], and leave what is sharp of them, as ``skip_sharp`` does.

    Args:
        restore: takes some of the faces, and gives as many of the same shape.
    """
    kept = torch.tensor([sharpness(crop) or 0.0 for crop in to_uint8(faces)])
    result, some = faces.clone(), kept < 1
    if some.any():
        share = kept[some].view(-1, 1, 1, 1).to(faces)
        result[some] = torch.lerp(restore(faces[some]).to(faces.dtype), faces[some], share)
    return result


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
    """Restore aligned faces, (S, S, 3) uint8 RGB each, many at once.

    Args:
        network, dtype, self_ensemble: see :func:`run_network`; faces that come out not finite are run again in float32.
        device: where ``network`` is.
        max_batch: faces per run of the network; halved as often as needed when a CUDA device runs out of memory.

    Raises:
        WeightsError: if the network's picture is not finite even in float32.
    """

    def restored(some: Sequence[np.ndarray]) -> list[np.ndarray]:
        batch = to_batch(some, device)
        output = run_network(network, batch, dtype=dtype, self_ensemble=self_ensemble).float()
        bad = ~torch.isfinite(output).flatten(1).all(dim=1)
        if dtype != torch.float32 and bad.any():
            output[bad] = run_network(network, batch[bad], self_ensemble=self_ensemble).float()
            bad = ~torch.isfinite(output)
        if bad.any():
            raise WeightsError(NOT_FINITE)
        return list(to_uint8(output))

    return in_batches(restored, crops, device, max_batch)


@torch.inference_mode()
def memory_evidence(
    network: nn.Module, crops: Sequence[np.ndarray], *, device: torch.device, max_batch: int = 8
) -> list[dict[int, np.ndarray]]:
    """Similarity of every part of each face to the memory's best slot: scale r -> (r, r) float32 cosines in [-1, 1].

    Args:
        network: a :class:`memgan.network.model.MemGAN` with memory, or what runs one (``network.trained``).
        crops, device, max_batch: as for :func:`restore_crops`.

    Raises:
        ConfigError: if the network has no memory.
    """
    trained = getattr(network, "trained", network)
    if not isinstance(trained, MemGAN) or not trained.memory:
        raise ConfigError("evidence=True needs a network with memory, and this one has none; leave it out.")

    def maps(some: Sequence[np.ndarray]) -> list[dict[int, np.ndarray]]:
        features = trained.encoder(to_batch(some, device).to(next(trained.encoder.parameters()).dtype))
        cosines = {
            int(scale): bank.assign(features[int(scale)]).cosine.float().cpu().numpy()
            for scale, bank in trained.memory.items()
        }
        return [{scale: cosine[i] for scale, cosine in cosines.items()} for i in range(len(some))]

    return in_batches(maps, crops, device, max_batch)


def in_batches(
    work: Callable[[Sequence[Item]], list[Result]], items: Sequence[Item], device: torch.device, max_batch: int
) -> list[Result]:
    """What ``work`` makes of each item; batches are halved as often as needed when a CUDA device runs out of memory."""
    results: list[Result] = []
    step = max_batch
    while len(results) < len(items):
        batch = items[len(results) : len(results) + step]
        try:
            results += work(batch)
            continue
        except torch.cuda.OutOfMemoryError:
            if len(batch) == 1:
                raise
        # Here, not above: while an exception is handled, its traceback keeps the tensors of the functions it passed.
        step = len(batch) // 2
        release_memory(device)  # or what is cached in wrong sizes stays in the way
    return results
