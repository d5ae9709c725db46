"""Reads and writes weight files: a safetensors file with the tensors and, in its header, the configuration.

torch is imported when tensors are read or written, so that looking for a file stays cheap.
"""

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from memgan.errors import ConfigError, WeightsError, WeightsNotFoundError
from memgan.hub.tensor_file import read_index, read_tensors, tensor_places, write_tensors
from memgan.network.config import MemGANConfig
from memgan.runtime.atomic_file import atomic_write

if TYPE_CHECKING:
    from torch import Tensor

CONFIG_KEY = "config"
"""Header entry that holds the configuration as JSON."""
CONFIG_FILE = "config.json"
MODEL_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
"""Names the files over which the tensors of a large model are spread."""
_RESERVED_KEYS = (CONFIG_KEY, "format")
# As the first weight files spell them.
_FORMER_KEYS = {"licence": "license"}
_FORMER_BUFFER = (".initialised", ".initialized")


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A generator, as read from a weight file."""

    config: MemGANConfig
    state: "dict[str, Tensor]"
    """Tensors by name, on the CPU; floating ones are float32 whatever the file stores."""
    metadata: dict[str, str] = dataclasses.field(default_factory=dict)
    """Further header entries, such as license and training summary."""
    path: Path | None = None
    """The file or index that it was read from."""


def read(path: str | os.PathLike[str]) -> Checkpoint:
    """Read a weight file; nothing is ever unpickled.

    Args:
        path: a safetensors file, or an index (``model.safetensors.index.json``) with its files in the same folder; if
            they are named as on the hub, ``config.json`` may have the configuration instead of the header.

    Raises:
        WeightsError: if the file is no safetensors file, is cut off, or does not describe a MemGAN.
    """
    path = Path(path)
    header, state = read_index(path) if path.name.endswith(".index.json") else read_tensors(path)
    config = _config_of(path, header)
    state = {
        name.replace(*_FORMER_BUFFER): tensor.float() if tensor.is_floating_point() else tensor
        for name, tensor in state.items()
    }
    metadata = {_FORMER_KEYS.get(key, key): text for key, text in header.items() if key not in _RESERVED_KEYS}
    return Checkpoint(config, state, metadata, path)


def save(
    path: str | os.PathLike[str],
    config: MemGANConfig,
    state: "Mapping[str, Tensor]",
    metadata: Mapping[str, str] | None = None,
    half: bool = False,
) -> Path:
    """Write a weight file; an existing one is replaced only when the new one is complete.

    Args:
        path: the file to write, which is returned; missing folders are made.
        config: stored in the header. The same arguments give the same bytes.
        state: tensors by name, on any device.
        metadata: further header entries; keys and values are text.
        half: store float tensors of two or more dimensions in half precision. Vectors (biases, statistics) and
            tensors with values beyond its range stay in single precision: they weigh little and cost accuracy.

    Raises:
        WeightsError: if a tensor has values that are not finite, or the metadata are not text.
        OutputError: if the file cannot be written.
    """
    path = Path(path)
    metadata = dict(metadata or {})
    for key, value in metadata.items():
        if key in _RESERVED_KEYS or not isinstance(key, str) or not isinstance(value, str):
            raise WeightsError(
                f"The metadata entry {key!r}: {value!r} cannot be stored; keys and values must be text, "
                f"and the keys {', '.join(_RESERVED_KEYS)} are taken."
            )
    tensors = {name: _storable(name, tensor, half) for name, tensor in state.items()}
    write_tensors(path, tensors, {**metadata, CONFIG_KEY: config.to_json(), "format": "pt"})
    return path


def save_pretrained(directory: str | os.PathLike[str], checkpoint: Checkpoint, half: bool = False) -> Path:
    """Write ``config.json`` and ``model.safetensors`` into ``directory``, and return it; see :func:`save`."""
    directory = Path(directory)
    save(directory / MODEL_FILE, checkpoint.config, checkpoint.state, checkpoint.metadata, half=half)
    with atomic_write(directory / CONFIG_FILE) as temporary:
        fields = json.loads(checkpoint.config.to_json())
        temporary.write_text(json.dumps(fields, indent=2) + "\n", encoding="utf-8")
    return directory


def model_in(folder: Path) -> Path:
    """The model of a folder: ``model.safetensors``, its index, or the only safetensors file."""
    for name in (MODEL_FILE, INDEX_FILE):
        if (folder / name).is_file():
            return folder / name
    files = sorted(file for file in folder.glob("*.safetensors") if file.is_file())
    if len(files) == 1:
        return files[0]
    found = f"{len(files)} of them: {', '.join(file.name for file in files[:5])}" if files else "none"
    needed = f"needs {MODEL_FILE} or exactly one .safetensors file"
    raise WeightsNotFoundError(f"The folder {folder} {needed}; it has {found}. Give the file itself.")


def files_of(path: Path) -> list[Path]:
    """All files of a model: an index with its parts, and the ``config.json`` next to files named as on the hub."""
    files = [path]
    if path.name.endswith(".index.json"):
        files += [path.parent / name for name in sorted(set(tensor_places(path).values()))]
    config = path.parent / CONFIG_FILE
    return [config, *files] if path.name in (MODEL_FILE, INDEX_FILE) and config.is_file() else files


def _config_of(path: Path, header: dict[str, str]) -> MemGANConfig:
    neighbor = path.parent / CONFIG_FILE
    text = header.get(CONFIG_KEY)
    try:
        config = MemGANConfig.from_json(text) if text is not None else None
        if path.name in (MODEL_FILE, INDEX_FILE) and neighbor.is_file():
            other = MemGANConfig.from_json(neighbor.read_text(encoding="utf-8"))
            if config is not None and config != other:
                raise WeightsError(
                    f"{neighbor} differs from the configuration in the header of {path}. The header describes the "
                    f"tensors: delete {neighbor.name}, or write both anew with memgan.hub.save_pretrained."
                )
            config = other
    except (ConfigError, OSError, UnicodeDecodeError) as error:
        raise WeightsError(f"The configuration that belongs to {path} is not usable: {error}") from error
    if config is None:
        raise WeightsError(
            f"{path} is a safetensors file of another program: its header has no {CONFIG_KEY!r} entry (it has: "
            f"{', '.join(sorted(header)) or 'none'}). Give a file written by memgan."
        )
    return config


def _storable(name: str, tensor: "Tensor", half: bool) -> "Tensor":
    """A copy on the CPU that shares no memory with others (safetensors stores no shared memory)."""
    import torch

    copy = tensor.detach().to("cpu", copy=True).contiguous()
    if not torch.isfinite(copy).all():
        raise WeightsError(f"The tensor {name!r} has values that are not finite; such weights restore nothing.")
    fits = copy.is_floating_point() and copy.ndim >= 2 and bool((copy.abs() <= torch.finfo(torch.half).max).all())
    return copy.half() if half and fits else copy
