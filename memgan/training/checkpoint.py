"""Saves and loads resumable checkpoints: safetensors and JSON only, complete or absent."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from memgan.errors import ConfigError, DataError, StateMismatchError, WeightsError, brief
from memgan.hub import weight_file
from memgan.hub.tensor_file import read_state, write_tensors
from memgan.runtime.checks import parse_json
from memgan.training.step import Trainer

KEPT = 2
"""Checkpoints of a run that stay; older ones are deleted."""


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


def save_checkpoint(folder: Path, trainer: Trainer, progress: dict[str, Any]) -> Path:
    """Write ``folder/step-XXXXXXXX``, delete all but the two newest, and return this one's folder.

    It holds generator (with its memory), average, discriminator and optimizers; ``progress`` are further values for
    ``state.json``, such as elapsed seconds.
    """
    target = folder / f"step-{trainer.step_index:08d}"
    temporary = folder / f".{target.name}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    config = trainer.generator.config
    weight_file.save(temporary / "generator.safetensors", config, trainer.generator.state_dict())
    weight_file.save(temporary / "averaged.safetensors", config, trainer.averaged.network.state_dict())
    optimizers = _optimizer_tensors(trainer.generator_optimizer, trainer.generator, "generator")
    if trainer.discriminator is not None and trainer.discriminator_optimizer is not None:
        save_file(_plain(trainer.discriminator.state_dict()), temporary / "discriminator.safetensors")
        optimizers |= _optimizer_tensors(trainer.discriminator_optimizer, trainer.discriminator, "discriminator")
    save_file({**optimizers, "random": trainer.random.get_state()}, temporary / "optimizers.safetensors")
    state = {"step": trainer.step_index, "averaged_updates": trainer.averaged.updates, **progress}
    state["train_config"] = dataclasses.asdict(trainer.config)
    (temporary / "state.json").write_text(json.dumps(state, indent=1), encoding="utf-8")
    shutil.rmtree(target, ignore_errors=True)
    temporary.replace(target)
    for old in checkpoints(folder)[:-KEPT]:
        shutil.rmtree(old)
    return target


def checkpoints(folder: Path) -> list[Path]:
    """Complete checkpoints in a run's folder, oldest first."""
    return sorted(path for path in folder.glob(f"step-{'[0-9]' * 8}") if path.is_dir())


def load_checkpoint(path: Path, trainer: Trainer) -> dict[str, Any]:
    """Put a checkpoint's state into ``trainer`` and return the contents of its ``state.json``.

    ``path`` is a run's folder, whose newest checkpoint is taken, or one checkpoint's.

    Raises:
        DataError: if there is no checkpoint.
        WeightsError: if one of its files is damaged or belongs to another network.
    """
    found = [path] if (path / "state.json").is_file() else checkpoints(path)
    if not found:
        raise DataError(
            f"{path} holds no checkpoint (a folder step-XXXXXXXX); start without --resume, or name the run."
        )
    folder = found[-1]
    remedy = "Resume from an older checkpoint."
    try:
        state: dict[str, Any] = parse_json((folder / "state.json").read_bytes())
    except (OSError, ValueError) as error:
        raise WeightsError(f"The checkpoint {folder} is damaged ({error}). {remedy}") from error
    optimizers = read_state(folder / "optimizers.safetensors", remedy=remedy)
    if any("/" not in key for key in set(optimizers) - {"random"}):
        raise WeightsError(
            f"The optimizers of the checkpoint {folder} are not stored by parameter name: an earlier memgan wrote it. "
            "Start from its averaged.safetensors with --start-from instead."
        )
    trainer.generator.load_checked(weight_file.read(folder / "generator.safetensors").state)
    trainer.averaged.network.load_checked(weight_file.read(folder / "averaged.safetensors").state)
    discriminator, adam = trainer.discriminator, trainer.discriminator_optimizer
    if discriminator is not None and adam is not None and (folder / "discriminator.safetensors").is_file():
        _load_strict(discriminator, read_state(folder / "discriminator.safetensors", remedy=remedy), folder)
        _restore_optimizer(adam, discriminator, optimizers, "discriminator")
    _restore_optimizer(trainer.generator_optimizer, trainer.generator, optimizers, "generator")
    trainer.random.set_state(optimizers["random"])
    trainer.step_index = state["step"]
    trainer.averaged.updates = state["averaged_updates"]
    return state


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
