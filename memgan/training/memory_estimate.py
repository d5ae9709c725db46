"""Estimates the memory that a run needs before it starts, by a rehearsal with tensors that have no values."""

import copy
import logging
import os
import shutil
import warnings
import weakref
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from memgan.errors import ConfigError
from memgan.runtime.free_memory import free_memory
from memgan.training.config import TrainConfig
from memgan.training.data.clean_faces import PriorFaces
from memgan.training.data.workers import AHEAD
from memgan.training.losses.objective import LossNetworks
from memgan.training.step import Trainer
from memgan.training.sync import alone, rank

log = logging.getLogger("memgan.training")

ALLOCATED = 1.25
"""Measured: what a process takes for a step, by the bytes that live at once in it; the rest are working memory of the
kernels and gaps."""
WORKER = 300 << 20
"""Measured at 512 px: what a process that makes batches takes besides what it shares and the batches."""
_BOUND = 64 << 10
"""Far more bytes for each pixel of its batch than a step takes (memgan-mobile-512 on whole faces: 17 KB): runs that are
small even so need no rehearsal, which takes seconds."""
_SMALL = 0.1
"""Share of the free memory that a small run takes at most."""
_CPU = torch.device("cpu")
_SHARED = Path("/dev/shm")
M = TypeVar("M", bound=nn.Module)


class Need(NamedTuple):
    """What one part of a run will take."""

    name: str
    size: int
    """Bytes."""
    device: torch.device
    remedy: str
    """How it gets less."""


def needs(
    config: TrainConfig, trainer: Trainer, networks: LossNetworks, prior_faces: PriorFaces | None, cached: int
) -> list[Need]:
    """What a run takes from here on, once its networks are built.

    Args:
        config, trainer, networks, prior_faces: of the run.
        cached: photographs that are kept in memory.
    """
    run, size = config.run, trainer.generator.config.image_size
    device = next(trainer.generator.parameters()).device
    where_made = _CPU if run.workers else device
    optimizers = filter(None, (trainer.generator_optimizer, trainer.discriminator_optimizer))
    trained = sum(p.nbytes for adam in optimizers for group in adam.param_groups for p in group["params"])
    picture, pool = 3 * size**2, (config.data.synthetic_pool or 0) if prior_faces is not None else 0
    batch = run.batch_size * picture
    found = [
        Need("optimizers", 2 * trained, device, ""),
        *_steps(config, trainer, networks, prior_faces, device),
        Need("drawn faces", pool * picture, where_made, f"lower data.synthetic_pool (it is {pool})"),
        # The clean and the degraded pictures as float32, of the step and of the batch that is made meanwhile.
        Need("batches", 4 * 2 * 2 * batch, device, f"lower run.batch_size (it is {run.batch_size})"),
        Need("photographs", cached * picture, _CPU, "give fewer faces"),
    ]
    if run.workers:
        # Levels in one byte, clean and degraded.
        each = WORKER + (AHEAD + 1) * 2 * batch
        found.append(Need("workers", run.workers * each, _CPU, f"lower run.workers (it is {run.workers})"))
    # Copies of the weights, of what the optimizers know, and of the file; samples come after them.
    copies = 3 * trained - sum(need.size for need in found if need.name == "samples" and need.device == _CPU)
    found.append(Need("checkpoints", max(copies, 0), _CPU, ""))
    return [need for need in found if need.size]


def check(found: Iterable[Need], device: torch.device) -> None:
    """Say in one line what a run takes and what is free.

    Raises:
        ConfigError: if it takes more than there is.
    """
    for place in dict.fromkeys((device, _CPU)):
        here = [need for need in found if need.device == place]
        # Every process of this machine takes as much of its memory.
        times = int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if place == _CPU else 1
        total, free = times * sum(need.size for need in here), free_memory(place)
        if not here or free is None:
            continue
        parts = ", ".join(f"{need.name} {_gb(times * need.size)}" for need in sorted(here, key=lambda need: -need.size))
        words = f"about {_gb(total)} GB more of the memory of {place} ({parts}), of which {_gb(free)} GB are free"
        if total > free:
            remedies = [need.remedy for need in sorted(here, key=lambda need: -need.size) if need.remedy]
            raise ConfigError(
                f"The run would take {words}: {remedies[0]}. run.memory_check=false starts it all the same."
            )
        if not rank():
            log.info("The run takes %s.", words)


def check_shared(config: TrainConfig, image_size: int) -> None:
    """Raise :class:`ConfigError` if the batches of worker processes do not fit the memory that processes share."""
    ahead = config.run.workers * (AHEAD + 1) * 2 * config.run.batch_size * 3 * image_size**2
    if not ahead or not _SHARED.is_dir():
        return
    free = shutil.disk_usage(_SHARED).free
    if ahead > free:
        raise ConfigError(
            f"The batches of {config.run.workers} processes take {_gb(ahead)} GB of {_SHARED}, of which {_gb(free)} GB "
            "are free: lower run.workers or run.batch_size, or give a container more (docker run --shm-size)."
        )


def _gb(size: int) -> str:
    return f"{size / 1e9:.2g}" if size < 1e10 else f"{size / 1e9:.0f}"


def _steps(
    config: TrainConfig, trainer: Trainer, networks: LossNetworks, prior_faces: PriorFaces | None, device: torch.device
) -> list[Need]:
    """What a step takes, or the start if that is more; and what sample pictures take besides.

    Memory that is free again is in pieces, which what comes next does not always fit.
    """
    size, faces = trainer.generator.config.image_size, config.run.batch_size
    remedy = (
        f"lower run.batch_size (it is {faces}), decode windows (window.size=24), lower losses.perceptual_size, or use "
        "the recipe for a CPU (--recipe memgan-mobile-512-cpu)"
    )
    bound, free = _BOUND * faces * size**2, free_memory(device)
    if free is not None and bound < _SMALL * free:
        return [Need("a step at most", bound, device, remedy)]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # copies of tensors without values are warned of
            taken = rehearse(config, trainer, networks, prior_faces)
    except Exception as error:  # an estimate that fails, in whichever operation, must not keep a run from starting
        log.warning("What a step takes is not known: it could not be rehearsed (%s).", error)
        return []
    # The memory is that of the first batches, which are drawn one after another, or that of a step.
    largest = max(ALLOCATED * taken["step"], taken["start"] + taken["drawing"])
    return [Need("a step", round(largest), device, remedy), Need("samples", taken["sample"], device, "")]


def rehearse(
    config: TrainConfig, trainer: Trainer, networks: LossNetworks, prior_faces: PriorFaces | None
) -> dict[str, int]:
    """Bytes that live at once, besides weights and optimizers, by the part of a run."""
    generator, faces = trainer.generator, config.run.batch_size
    size = generator.config.image_size
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    discriminator = None if trainer.discriminator is None else _without_values(trainer.discriminator, mode)
    perceptual, identity, deep_feature, _ = networks
    seen = LossNetworks(
        None if perceptual is None else _without_values(perceptual, mode),
        None if identity is None else _without_values(identity, mode),
        None if deep_feature is None else _without_values(deep_feature, mode),
    )
    rehearsal = Trainer(config, _without_values(generator, mode), discriminator, seen, autocast=trainer.autocast)
    rehearsal.step_index = config.losses.adversarial_from
    device = next(generator.parameters()).device

    def pictures(count: int) -> torch.Tensor:
        return mode.from_tensor(torch.empty(1, 3, size, size, device=device)).expand(count, -1, -1, -1).contiguous()

    found = {
        "step": _most_live(lambda: rehearsal.gradients(pictures(faces), pictures(faces))),
        "start": _most_live(lambda: rehearsal.initialize_memory(pictures(max(faces, 8)))),
        "drawing": 0,
    }
    with torch.no_grad():
        found["sample"] = _most_live(lambda: rehearsal.averaged.network(pictures(1)))
    if prior_faces is not None:
        drawn = _without_values(prior_faces, mode)
        source = torch.Generator()
        found["drawing"] = _most_live(lambda: drawn.draw(drawn.at_once if config.run.workers else faces, source))
    return found


def _most_live(work: Callable[[], object]) -> int:
    with alone(), torch.compiler.set_stance("force_eager"), _LiveBytes() as counted:
        work()
    return counted.most


def _without_values(module: M, mode: FakeTensorMode) -> M:
    """A copy of a module whose parameters and buffers have no values."""
    context = getattr(module, "autocast", None)  # the engine's, of which there is one
    copied = copy.deepcopy(module, {id(context): context})
    for part in copied.modules():
        for name, parameter in part._parameters.items():
            if parameter is not None:
                fake = mode.from_tensor(parameter.detach())
                part._parameters[name] = nn.Parameter(fake, requires_grad=parameter.requires_grad)
        for name, buffer in part._buffers.items():
            if buffer is not None:
                part._buffers[name] = mode.from_tensor(buffer)
    return copied


class _LiveBytes(TorchDispatchMode):
    """Counts the bytes of the tensors without values that are made and live, and remembers the most."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0
        self.most = 0
        self._known: weakref.WeakSet[torch.UntypedStorage] = weakref.WeakSet()

    def __torch_dispatch__(
        self, func: Any, types: Iterable[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run an operation and count what it gives."""
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, FakeTensor) and (storage := leaf.untyped_storage()) not in self._known:
                self._known.add(storage)
                self.now += storage.nbytes()
                self.most = max(self.most, self.now)
                weakref.finalize(storage, self._forget, storage.nbytes()).atexit = False
        return result

    def _forget(self, size: int) -> None:
        self.now -= size
