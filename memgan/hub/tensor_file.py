"""Reads and writes files of tensors: safetensors files, their indices, and pickles without running what is in them.

torch is imported when tensors are read or written, so that looking into a header stays cheap. Weights of memgan are
safetensors files: :func:`read_tensors` refuses pickles. :func:`read_state` takes them, for networks of other projects.
"""

import contextlib
import json
import os
import pickle
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memgan.errors import StateMismatchError, WeightsError, WeightsNotFoundError
from memgan.runtime.atomic_file import atomic_write

if TYPE_CHECKING:
    from torch import Tensor

_DAMAGE_ERRORS = (OSError, ValueError, TypeError, KeyError, IndexError, AttributeError)


def read_metadata(path: str | os.PathLike[str]) -> dict[str, str]:
    """The header entries of a safetensors file besides its tensors; :class:`WeightsError` if it is none or damaged."""
    with _opened(path, "np") as file:
        return dict(file.metadata() or {})


def read_tensors(path: Path) -> "tuple[dict[str, str], dict[str, Tensor]]":
    """As :func:`read_metadata`, and all tensors on the CPU."""
    with _opened(path, "pt") as file:
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        return dict(file.metadata() or {}), state


@contextlib.contextmanager
def _opened(path: str | os.PathLike[str], framework: str) -> Iterator[Any]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework=framework) as file:
            yield file
    except (SafetensorError, *_DAMAGE_ERRORS) as error:
        remedy = "It is damaged, cut off or of another kind. Fetch it again, or give another file."
        with contextlib.suppress(OSError), open(path, "rb") as opened:
            if opened.read(2) in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"):
                remedy = (
                    "It is a pickled PyTorch checkpoint, which could run any code; only safetensors files are loaded. "
                    "`memgan convert` makes such of facexlib's files, `memgan prior import` of StyleGAN2 checkpoints."
                )
        raise WeightsError(f"{path} cannot be read as a safetensors file ({error}). {remedy}") from error


def read_checkpoint(path: str | os.PathLike[str], *, also_allowed: Sequence[type] = (), remedy: str = "") -> Any:
    """Content of a ``.safetensors`` file (tensors by name), or of a pickled ``.pth`` or ``.pt`` file.

    A pickle may hold tensors and plain containers; anything else is refused, unexecuted.

    Args:
        also_allowed: harmless classes that may occur in a pickle too.
        remedy: what to do instead, for the errors' messages.

    Raises:
        WeightsNotFoundError: if there is no such file.
        WeightsError: if the file is damaged, or holds something that would have to be executed.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsNotFoundError(f"There is no file {path}. {remedy}")
    if path.suffix.lower() == ".safetensors":
        try:
            return read_tensors(path)[1]
        except WeightsError as error:
            raise WeightsError(f"{error} {remedy}") from error
    import torch

    try:
        with torch.serialization.safe_globals(list(also_allowed)):
            return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, *_DAMAGE_ERRORS) as error:
        reason = str(error).strip().split("\n")[0]
        raise WeightsError(f"{path} cannot be read as a checkpoint of plain tensors ({reason}). {remedy}") from error


def read_state(
    path: str | os.PathLike[str], *, also_allowed: Sequence[type] = (), remedy: str = ""
) -> "dict[str, Tensor]":
    """Tensors by name of a file that :func:`read_checkpoint` reads.

    The ``module.`` that training on several GPUs puts before each name is taken away.

    Raises:
        WeightsNotFoundError, WeightsError: as there.
        StateMismatchError: if the file holds something else.
    """
    content = read_checkpoint(path, also_allowed=also_allowed, remedy=remedy)
    from torch import Tensor

    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise StateMismatchError(f"{path} holds no tensors by name. {remedy}")
    return {str(key).removeprefix("module."): value for key, value in content.items()}


def tensor_places(index: Path) -> dict[str, str]:
    """Tensor names to file names of an index; :class:`WeightsError` if it is none, or names files elsewhere."""
    try:
        places: dict[str, str] = dict(json.loads(index.read_text("utf-8"))["weight_map"])
        if any(Path(name).name != name for name in places.values()):
            raise ValueError("it names files in other folders")
        return places
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{index} is no index of safetensors files ({error}); fetch it again.") from error


def read_index(path: Path) -> "tuple[dict[str, str], dict[str, Tensor]]":
    """As :func:`read_tensors`, of all files that an index names; missing tensors are a :class:`WeightsError` too."""
    places = tensor_places(path)
    header: dict[str, str] = {}
    state: dict[str, Tensor] = {}
    for name in sorted(set(places.values())):
        own_header, tensors = read_tensors(path.parent / name)
        header |= own_header
        state |= {key: tensor for key, tensor in tensors.items() if places.get(key) == name}
    if missing := sorted(set(places) - set(state)):
        raise WeightsError(
            f"{path} names tensors that its files lack: {missing[:5]} ({len(missing)}). Fetch all files again."
        )
    return header, state


def write_tensors(path: Path, tensors: "dict[str, Tensor]", metadata: Mapping[str, str]) -> None:
    """Write a safetensors file by :func:`atomic_write`; the same arguments give the same bytes.

    Missing folders are made. The tensors must be contiguous and share no memory.
    """
    from safetensors.torch import save

    data = _with_sorted_metadata(save(tensors, metadata=dict(metadata)))
    with atomic_write(path, make_folders=True) as temporary:
        temporary.write_bytes(data)  # not save_file: the files it makes are readable by their owner only


def _with_sorted_metadata(data: bytes) -> bytes:
    """The same safetensors file with its metadata in alphabetical order.

    The library writes them in an order that changes from run to run; the same weights should have the same SHA-256.
    """
    length = int.from_bytes(data[:8], "little")
    entries = json.loads(data[8 : 8 + length])
    metadata = dict(sorted(entries.pop("__metadata__").items()))
    header = json.dumps({"__metadata__": metadata, **entries}, separators=(",", ":"), ensure_ascii=False).encode()
    header += b" " * (-len(header) % 8)  # the format wants tensors to begin at a multiple of eight
    return len(header).to_bytes(8, "little") + header + data[8 + length :]
