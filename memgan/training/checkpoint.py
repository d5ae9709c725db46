"""Saves and loads resumable checkpoints: safetensors and JSON only, complete or absent."""

import contextlib
import dataclasses
import json
import logging
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from memgan.errors import ConfigError, DataError, MemGANError, StateMismatchError, WeightsError, brief
from memgan.hub import sha256_of, weight_file
from memgan.hub.tensor_file import read_state, write_tensors
from memgan.runtime.checks import parse_json
from memgan.training.config import TrainConfig
from memgan.training.generators import generator_states
from memgan.training.step import Trainer
from memgan.training.sync import all_succeed, rank

log = logging.getLogger("memgan.training")

KEPT = 2
"""Checkpoints of a run that stay; older ones are deleted."""
_STATE = "state.json"
_REMEDY = "Resume from an older checkpoint."


@dataclasses.dataclass(frozen=True)
class Sources:
    """The files of a run besides its settings, see :func:`memgan.training.engine.train`."""

    faces: tuple[Path, ...] = ()
    prior: Path | None = None
    perceptual_weights: Path | None = None
    identity_weights: Path | None = None

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Sources":
        """The inverse of :meth:`to_json`."""
        names = ("prior", "perceptual_weights", "identity_weights")
        prior, perceptual, identity = (None if values[name] is None else Path(values[name]) for name in names)
        return cls(tuple(map(Path, values["faces"])), prior, perceptual, identity)

    def to_json(self) -> dict[str, Any]:
        """Absolute paths as text."""
        values = dataclasses.asdict(self)
        single = {
            name: None if path is None else os.path.abspath(path) for name, path in values.items() if name != "faces"
        }
        return {"faces": [os.path.abspath(path) for path in self.faces], **single}

    def check(self) -> None:
        """Raise :class:`DataError` for what is not there, as after a move to another machine."""
        named = [
            *(("--faces", path) for path in self.faces),
            ("--prior", self.prior),
            ("--perceptual-weights", self.perceptual_weights),
            ("--identity-network", self.identity_weights),
        ]
        for option, path in named:
            if path is not None and not path.exists():
                raise DataError(f"{path} is not there, and the run reads it: name where it is with {option}.")


class Saved(NamedTuple):
    """A complete and undamaged checkpoint."""

    folder: Path
    state: dict[str, Any]
    """What ``state.json`` says."""

    @property
    def config(self) -> TrainConfig:
        """The settings of the run."""
        return TrainConfig.from_dict(self.state["train_config"])

    @property
    def sources(self) -> Sources:
        """The files that the run read."""
        return Sources.from_json(self.state["sources"])

    def process_tensors(self) -> dict[str, Tensor] | None:
        """What this process saved for itself, with ``pool/faces`` and ``pool/latents``; ``None``: there was none."""
        if not (path := self.folder / f"process-{rank()}.safetensors").is_file():
            return None
        tensors = read_state(path, remedy=_REMEDY)
        if (pool := self.folder / _pool_name()).is_file():
            tensors |= {f"pool/{name}": tensor for name, tensor in read_state(pool, remedy=_REMEDY).items()}
        return tensors


def _optimizer_tensors(optimizer: torch.optim.Optimizer, module: nn.Module, prefix: str) -> dict[str, Tensor]:
    """Adam's state by parameter name, so that another parameter in between does not shift it."""
    return {
        f"{prefix}/{name}/{entry}": torch.as_tensor(value).detach().cpu().contiguous().clone()
        for name, parameter in module.named_parameters()
        for entry, value in optimizer.state.get(parameter, {}).items()
    }


def _restore_optimizer(
    optimizer: torch.optim.Optimizer, module: nn.Module, tensors: dict[str, Tensor], prefix: str
) -> None:
    """Parameters of which the file knows nothing begin anew."""
    by_name: dict[str, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith(f"{prefix}/"):
            name, _, entry = key.removeprefix(f"{prefix}/").rpartition("/")
            by_name.setdefault(name, {})[entry] = value
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    order = [names[id(parameter)] for group in optimizer.param_groups for parameter in group["params"]]
    state = {index: by_name[name] for index, name in enumerate(order) if name in by_name}
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})


def _plain(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: value.detach().cpu().contiguous().clone() for key, value in state.items()}


def save_checkpoint(
    folder: Path,
    trainer: Trainer,
    state: Mapping[str, Any],
    own: Mapping[str, Tensor] | None = None,
    pool: Mapping[str, Tensor] | None = None,
    pool_from: Path | None = None,
) -> Path:
    """Write ``folder/step-XXXXXXXX``, delete all but the two newest, and return this one's folder.

    All processes of a run call it together, and share ``folder``. A checkpoint holds generator (with its memory),
    average, discriminator and optimizers; for every process its random number generators and what it adds; and a
    record, ``state.json``, with the SHA-256 of each file.

    Args:
        folder: the run's.
        trainer: what is saved.
        state: further values of ``state.json``, such as elapsed seconds.
        own: tensors of this process.
        pool: its drawn faces, by name.
        pool_from: an earlier checkpoint with the same drawn faces, whose file is used again where the disk allows it.

    Raises:
        OutputError: in all processes, if one of them cannot write. Earlier checkpoints are as they were.
    """
    target = folder / f"step-{trainer.step_index:08d}"
    temporary = folder / f".{target.name}.tmp"

    def begin() -> None:
        if not rank():
            for left in folder.glob(".step-*.tmp"):  # of a run that was killed
                shutil.rmtree(left)
            temporary.mkdir(parents=True)

    def write_own() -> None:
        device = next(trainer.generator.parameters()).device
        generators = {f"generators/{name}": value for name, value in generator_states(device).items()}
        tensors = {**generators, "windows": trainer.random.get_state(), **(own or {})}
        save_file(tensors, temporary / f"process-{rank()}.safetensors")
        if pool:
            _write_pool(pool, temporary, pool_from)
        if not rank():
            _write_networks(temporary, trainer)

    def finish() -> None:
        if rank():
            return
        files = {path.name: sha256_of(path) for path in sorted(temporary.iterdir())}
        counts = {"step": trainer.step_index, "averaged_updates": trainer.averaged.updates}
        counts |= {"skipped": trainer.skipped, "skipped_in_a_row": trainer.skipped_in_a_row}
        settings = {"train_config": dataclasses.asdict(trainer.config), "files": files}
        text = json.dumps({**counts, **state, **settings}, indent=1)
        (temporary / _STATE).write_text(text, encoding="utf-8")
        for path in temporary.iterdir():
            _to_disk(path)
        shutil.rmtree(target, ignore_errors=True)
        temporary.replace(target)
        for old in checkpoints(folder)[:-KEPT]:
            shutil.rmtree(old, ignore_errors=True)

    try:
        for part in (begin, write_own, finish):
            all_succeed(part, (OSError, MemGANError, SafetensorError))
    except MemGANError:
        if not rank():
            shutil.rmtree(temporary, ignore_errors=True)
        raise
    return target


def _write_networks(folder: Path, trainer: Trainer) -> None:
    config = trainer.generator.config
    weight_file.save(folder / "generator.safetensors", config, trainer.generator.state_dict())
    weight_file.save(folder / "averaged.safetensors", config, trainer.averaged.network.state_dict())
    optimizers = _optimizer_tensors(trainer.generator_optimizer, trainer.generator, "generator")
    if trainer.discriminator is not None and trainer.discriminator_optimizer is not None:
        save_file(_plain(trainer.discriminator.state_dict()), folder / "discriminator.safetensors")
        optimizers |= _optimizer_tensors(trainer.discriminator_optimizer, trainer.discriminator, "discriminator")
    save_file(optimizers, folder / "optimizers.safetensors")


def _pool_name() -> str:
    return f"pool-{rank()}.safetensors"


def _write_pool(pool: Mapping[str, Tensor], folder: Path, earlier: Path | None) -> None:
    if earlier is not None:
        with contextlib.suppress(OSError):  # a disk without hard links, or the file has gone
            os.link(earlier / _pool_name(), folder / _pool_name())
            return
    save_file(dict(pool), folder / _pool_name())


def _to_disk(path: Path) -> None:
    """Wait until a file is on the disk, so that a power failure leaves no empty files under the final name."""
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def checkpoints(folder: Path) -> list[Path]:
    """Complete checkpoints in a run's folder, oldest first."""
    return sorted(path for path in folder.glob(f"step-{'[0-9]' * 8}") if path.is_dir())


def run_folder(path: Path) -> Path:
    """The run's folder, of which ``path`` is a checkpoint or which it is itself."""
    return path.absolute().parent if (path / _STATE).is_file() else path


def find_checkpoint(path: Path) -> Saved:
    """The checkpoint at ``path``, or the newest undamaged one of a run's folder; the damaged ones are told of.

    Raises:
        DataError: if there is no checkpoint.
        WeightsError: if it is damaged, or all are.
    """
    folders = [path] if (path / _STATE).is_file() else checkpoints(path)[::-1]
    if not folders:
        raise DataError(
            f"{path} holds no checkpoint (a folder step-XXXXXXXX); start without --resume, or name the run."
        )
    *newer, oldest = folders
    for folder in newer:
        try:
            return _read(folder)
        except WeightsError as error:
            log.warning("%s The one before is taken.", str(error).removesuffix(_REMEDY))
    return _read(oldest)


def _read(folder: Path) -> Saved:
    try:
        state: dict[str, Any] = parse_json((folder / _STATE).read_bytes())
        if "files" not in state:
            raise WeightsError(
                f"An earlier memgan wrote the checkpoint {folder}, which cannot be continued. Start from its "
                "averaged.safetensors with --start-from instead."
            )
        files: dict[str, str] = state["files"]
        damaged = [name for name, sha256 in files.items() if sha256_of(folder / name) != sha256]
    except (OSError, ValueError) as error:
        raise WeightsError(f"The checkpoint {folder} is damaged ({error}). {_REMEDY}") from error
    if damaged:
        raise WeightsError(f"The checkpoint {folder} is damaged ({', '.join(damaged)}). {_REMEDY}")
    return Saved(folder, state)


def load_checkpoint(saved: Saved, trainer: Trainer) -> None:
    """Put a checkpoint's networks, optimizers and counts into ``trainer``.

    What the checkpoint knows nothing about, such as a discriminator that the run had none of, begins anew.

    Raises:
        WeightsError: if a file is damaged or belongs to another network.
    """
    folder, state = saved
    optimizers = read_state(folder / "optimizers.safetensors", remedy=_REMEDY)
    trainer.generator.load_checked(weight_file.read(folder / "generator.safetensors").state)
    trainer.averaged.network.load_checked(weight_file.read(folder / "averaged.safetensors").state)
    discriminator, adam = trainer.discriminator, trainer.discriminator_optimizer
    if discriminator is not None and adam is not None and (folder / "discriminator.safetensors").is_file():
        _load_strict(discriminator, read_state(folder / "discriminator.safetensors", remedy=_REMEDY), folder)
        _restore_optimizer(adam, discriminator, optimizers, "discriminator")
    _restore_optimizer(trainer.generator_optimizer, trainer.generator, optimizers, "generator")
    trainer.step_index = state["step"]
    trainer.averaged.updates = state["averaged_updates"]
    trainer.skipped, trainer.skipped_in_a_row = state["skipped"], state["skipped_in_a_row"]


def save_discriminator(path: Path, discriminator: nn.Module, metadata: dict[str, str]) -> None:
    """Write the discriminator in half precision, with metadata, for fine-tuning later."""
    tensors = {key: value.half() for key, value in _plain(discriminator.state_dict()).items()}
    write_tensors(path, tensors, {"format": "pt", **metadata})


def load_discriminator(path: Path, trainer: Trainer) -> None:
    """Start from a discriminator that :func:`save_discriminator` has written.

    Raises:
        ConfigError: if the settings train without one.
        WeightsError: if the file is missing, damaged or of other sizes.
    """
    if trainer.discriminator is None:
        raise ConfigError(f"A discriminator is given ({path}), but losses.adversarial is 0: raise it, or leave it out.")
    state = read_state(path, remedy="Give a discriminator.safetensors that a run ended with.")
    _load_strict(trainer.discriminator, {key: value.float() for key, value in state.items()}, path)


def _load_strict(module: nn.Module, state: dict[str, Tensor], folder: Path) -> None:
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        raise StateMismatchError(
            f"The discriminator in {folder} does not fit these settings ({brief(error)}); "
            "use the discriminator.size, channel_base and channel_max of that run."
        ) from error
