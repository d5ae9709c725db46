"""Reads and writes weight files: a safetensors file with the tensors and, in its header, the configuration.

A copy of the header's entries lies among the tensors, since many programs save only these.

torch is imported when tensors are read or written, so that looking for a file stays cheap.
"""

import dataclasses
import json
import os
from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from memgan.errors import ConfigError, WeightsError, WeightsNotFoundError
from memgan.hub.tensor_file import (
    read_index,
    read_metadata,
    read_tensor,
    read_tensors,
    tensor_places,
    write_tensors,
)
from memgan.network.config import MemGANConfig
from memgan.runtime.atomic_file import atomic_write
from memgan.runtime.checks import parse_json
from memgan.runtime.short_repr import short_repr

if TYPE_CHECKING:
    from torch import Tensor

Config = TypeVar("Config", bound=Hashable)

CONFIG_KEY = "config"
"""Header entry that holds the configuration as JSON."""
KIND_KEY = "kind"
"""Header entry that says what network it is; files of restorers have none."""
RESTORER = "restorer"
HEADER_TENSOR = "header_json"
"""Tensor (N,) uint8: the header's entries, texts by name, as a JSON object in ASCII."""
CONFIG_FILE = "config.json"
MODEL_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
"""Names the files over which the tensors of a large model are spread."""
_RESERVED_KEYS = (CONFIG_KEY, KIND_KEY, "format")
_MAX_HEADER_BYTES = 2**20
"""Of the entries as JSON; those of a training run take a few thousand."""
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

    __repr__ = short_repr


def read(path: str | os.PathLike[str]) -> Checkpoint:
    """Read a weight file; nothing is ever unpickled.

    Args:
        path: a safetensors file, or an index (``model.safetensors.index.json``) with its files in the same folder; if
            they are named as on the hub, ``config.json`` may have the configuration instead of the header.

    Raises:
        WeightsError: if the file is no safetensors file, is cut off, does not describe a MemGAN, or describes two.
    """
    return Checkpoint(*read_kind(Path(path), RESTORER, MemGANConfig.from_json))


def checkpoint_of(path: Path, header: Mapping[str, str], state: "Mapping[str, Tensor]") -> Checkpoint:
    """The generator that a file's header entries and tensors describe; without header, the tensors' copy of it counts.

    Raises:
        WeightsError: if they describe no MemGAN, or two; the message names ``path``.
    """
    return Checkpoint(*_described(path, header, state, RESTORER, MemGANConfig.from_json))


def read_kind(
    path: Path, kind: str, parse: Callable[[str], Config]
) -> "tuple[Config, dict[str, Tensor], dict[str, str], Path]":
    """What :func:`read` finds in the file of a network of another kind: configuration, tensors, metadata and the path.

    Args:
        kind: what the file's header must say.
        parse: makes the configuration of its JSON; a ConfigError if it is none.

    Raises:
        WeightsError: as :func:`read`; if the file is of another kind.
    """
    header, state = read_index(path) if path.name.endswith(".index.json") else read_tensors(path)
    return _described(path, header, state, kind, parse)


def _described(
    path: Path, header: Mapping[str, str], state: "Mapping[str, Tensor]", kind: str, parse: Callable[[str], Config]
) -> "tuple[Config, dict[str, Tensor], dict[str, str], Path]":
    """What :func:`read_kind` gives of a file that is read already."""
    copy = _entries_in(path, state[HEADER_TENSOR]) if HEADER_TENSOR in state else {}
    entries = _completed(header, copy)
    found = kind_of(entries)
    if found != kind and (CONFIG_KEY in header or CONFIG_KEY in copy):
        raise WeightsError(f"{path} holds a network of the kind {found!r}; give one of the kind {kind!r}.")
    config = _config_of(path, header, copy, parse)
    tensors = {
        name.replace(*_FORMER_BUFFER): tensor.float() if tensor.is_floating_point() else tensor
        for name, tensor in state.items()
        if name != HEADER_TENSOR
    }
    metadata = {_FORMER_KEYS.get(key, key): text for key, text in entries.items() if key not in _RESERVED_KEYS}
    return config, tensors, metadata, path


def kind_of(header: Mapping[str, str]) -> str:
    """What network a file holds, by the entries of its header."""
    return header.get(KIND_KEY, RESTORER)


def read_header(path: str | os.PathLike[str]) -> dict[str, str]:
    """The header's entries of one safetensors file, or their copy; no other tensor is read.

    Raises:
        WeightsError: if it is no safetensors file, or damaged.
    """
    path = Path(path)
    header = read_metadata(path)
    tensor = None if CONFIG_KEY in header else read_tensor(path, HEADER_TENSOR)
    return header if tensor is None else _completed(header, _entries_in(path, tensor))


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
        config: stored in the header, and with the metadata once more as a tensor (:data:`HEADER_TENSOR`), from which
            it is read if another program saves the tensors alone. The same arguments give the same bytes.
        state: tensors by name, on any device; such a tensor among them is replaced.
        metadata: further header entries; keys and values are text, at most 1 MiB as JSON, with the configuration.
        half: store float tensors of two or more dimensions in half precision. Vectors (biases, statistics) and
            tensors with values beyond its range stay in single precision: they weigh little and cost accuracy.

    Raises:
        WeightsError: if a tensor has values that are not finite, or the metadata are not text, or too long.
        OutputError: if the file cannot be written.
    """
    return write_kind(Path(path), RESTORER, config.to_json(), state, metadata, half)


def write_kind(
    path: Path,
    kind: str,
    config: str,
    state: "Mapping[str, Tensor]",
    metadata: Mapping[str, str] | None = None,
    half: bool = False,
) -> Path:
    """As :func:`save`, for a network of any kind, whose configuration is JSON."""
    metadata = dict(metadata or {})
    for key, value in metadata.items():
        if key in _RESERVED_KEYS or not _is_text(key) or not _is_text(value):
            raise WeightsError(
                f"The metadata entry {key!r}: {value!r} cannot be stored; keys and values must be text, "
                f"and the keys {', '.join(_RESERVED_KEYS)} are taken."
            )
    entries = {**metadata, CONFIG_KEY: config} | ({} if kind == RESTORER else {KIND_KEY: kind})
    tensors = {name: _storable(name, tensor, half) for name, tensor in state.items()}
    tensors[HEADER_TENSOR] = _as_tensor(entries)
    write_tensors(path, tensors, {**entries, "format": "pt"})
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


def _config_of(
    path: Path, header: Mapping[str, str], copy: Mapping[str, str], parse: Callable[[str], Config]
) -> Config:
    """The configuration, which may be stated in several places: those that do must agree.

    Strict loading would not show a wrong choice: the memory's temperature, for one, shapes no tensor.
    """
    neighbor = path.parent / CONFIG_FILE
    try:
        stated = [parse(entries[CONFIG_KEY]) for entries in (header, copy) if CONFIG_KEY in entries]
        if len(set(stated)) > 1:
            raise WeightsError(
                f"{path} has two configurations: that of its header differs from that of its tensor "
                f"{HEADER_TENSOR!r}, and nothing says which one its weights were trained with. Fetch the file again, "
                "or write it anew with memgan.hub.save and the right one."
            )
        if path.name in (MODEL_FILE, INDEX_FILE) and neighbor.is_file():
            other = parse(neighbor.read_text(encoding="utf-8"))
            if stated and stated[0] != other:
                raise WeightsError(
                    f"{neighbor} differs from the configuration in {path}, which describes the tensors: delete "
                    f"{neighbor.name}, or write both anew with memgan.hub.save_pretrained."
                )
            stated.append(other)
    except (ConfigError, OSError, UnicodeDecodeError) as error:
        raise WeightsError(f"The configuration that belongs to {path} is not usable: {error}") from error
    if not stated:
        raise WeightsError(
            f"{path} is a file of another program: its header has no {CONFIG_KEY!r} entry (it has: "
            f"{', '.join(sorted(header)) or 'none'}), and there is no tensor {HEADER_TENSOR!r}. Give a file written by "
            "memgan."
        )
    return stated[0]


def _completed(header: Mapping[str, str], copy: Mapping[str, str]) -> dict[str, str]:
    """A header that has lost the configuration has lost the other entries too; what it has is newer than the copy."""
    return dict(header) if CONFIG_KEY in header else {**copy, **header}


def _as_tensor(entries: Mapping[str, str]) -> "Tensor":
    """The header's entries as numbers up to 127: programs that cast all tensors keep them, bfloat16 and int8 too."""
    import torch

    data = json.dumps(entries, sort_keys=True).encode("ascii")
    if len(data) > _MAX_HEADER_BYTES:
        raise WeightsError(
            f"Configuration and metadata take {len(data):,} bytes as JSON; allowed are {_MAX_HEADER_BYTES:,}: put long "
            "notes into a file of their own."
        )
    return torch.frombuffer(bytearray(data), dtype=torch.uint8)


def _entries_in(path: Path, tensor: "Tensor") -> dict[str, str]:
    """The inverse of :func:`_as_tensor`, for tensors of any type and origin."""
    import torch

    try:
        if tensor.ndim != 1 or tensor.numel() > _MAX_HEADER_BYTES:
            raise ValueError(f"its shape is {tuple(tensor.shape)}")
        numbers = tensor.double()
        data = numbers.byte()
        if not torch.equal(data.double(), numbers):
            raise ValueError("its numbers are no bytes")
        entries = parse_json(bytes(data.tolist()))
        if not isinstance(entries, dict) or CONFIG_KEY not in entries:
            raise ValueError(f"it is no JSON object with {CONFIG_KEY!r}")
        if not all(_is_text(key) and _is_text(value) for key, value in entries.items()):
            raise ValueError("it has entries that are no text")
        return entries
    except ValueError as error:
        raise WeightsError(
            f"The tensor {HEADER_TENSOR!r} of {path}, which repeats the header, is damaged ({tensor.dtype}: {error}). "
            "Fetch the file again, or write it anew with memgan.hub.save."
        ) from error


def _is_text(value: object) -> bool:
    """Whether a value is text that can be written; halves of surrogate pairs cannot."""
    return isinstance(value, str) and not any("\ud800" <= letter <= "\udfff" for letter in value)


def _storable(name: str, tensor: "Tensor", half: bool) -> "Tensor":
    """A copy on the CPU that shares no memory with others (safetensors stores no shared memory)."""
    import torch

    copy = tensor.detach().to("cpu", copy=True).contiguous()
    if not torch.isfinite(copy).all():
        raise WeightsError(f"The tensor {name!r} has values that are not finite; such weights restore nothing.")
    fits = copy.is_floating_point() and copy.ndim >= 2 and bool((copy.abs() <= torch.finfo(torch.half).max).all())
    return copy.half() if half and fits else copy
