"""Reads and writes files of tensors: safetensors files, their indices, and pickles without running what is in them.

torch is imported when tensors are read or written, so that looking into a header stays cheap. Weights of memgan are
safetensors files: :func:`read_tensors` refuses pickles. :func:`read_state` takes them, for networks of other projects.
"""

import contextlib
import io
import json
import os
import pickletools
import re
import threading
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from memgan.errors import StateMismatchError, WeightsError, WeightsNotFoundError
from memgan.runtime.atomic_file import atomic_write
from memgan.runtime.checks import parse_json

if TYPE_CHECKING:
    from torch import Tensor

_DAMAGE_ERRORS = (OSError, ValueError, TypeError, KeyError, IndexError, AttributeError)
_PICKLE_STARTS = (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
"""Of the files of ``torch.save``: archives, and those of its first years."""
_PART_NAME = re.compile(r"[^/\\\0]+\.safetensors")
_MAX_SHOWN = 4
"""How many times a file's size its tensors may take; more than once if they share numbers."""
_PICKLES = 5
"""One after the other in files of torch's first years: three about the file, the content, and the names of tensors."""
_ALLOWING = threading.Lock()


def read_metadata(path: str | os.PathLike[str]) -> dict[str, str]:
    """The header entries of a safetensors file besides its tensors; :class:`WeightsError` if it is none or damaged."""
    with _opened(path, "np") as file:
        return dict(file.metadata() or {})


def read_tensors(path: Path) -> "tuple[dict[str, str], dict[str, Tensor]]":
    """As :func:`read_metadata`, and all tensors on the CPU."""
    with _opened(path, "pt") as file:
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        _check_types(state.values())
        return dict(file.metadata() or {}), state


def read_tensor(path: str | os.PathLike[str], name: str) -> "Tensor | None":
    """One tensor of a safetensors file on the CPU, ``None`` if it has none of this name; errors as above."""
    with _opened(path, "pt") as file:
        return file.get_tensor(name) if name in file.keys() else None  # noqa: SIM118 (not a mapping)


@contextlib.contextmanager
def _opened(path: str | os.PathLike[str], framework: str) -> Iterator[Any]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework=framework) as file:
            yield file
    except (SafetensorError, *_DAMAGE_ERRORS) as error:
        remedy = "It is damaged, cut off or of another kind. Fetch it again, or give another file."
        with contextlib.suppress(OSError), open(path, "rb") as opened:
            if opened.read(2) in _PICKLE_STARTS:
                remedy = (
                    "It is a pickled PyTorch checkpoint, which could run any code; only safetensors files are loaded. "
                    "`memgan convert` makes such of facexlib's files and of weights of memgan, "
                    "`memgan prior import` of StyleGAN2 checkpoints."
                )
        raise WeightsError(f"{path} cannot be read as a safetensors file ({error}). {remedy}") from error


def read_checkpoint(path: str | os.PathLike[str], *, also_allowed: Sequence[type] = (), remedy: str = "") -> Any:
    """Content of a ``.safetensors`` file (tensors by name), or of a pickled ``.pth`` or ``.pt`` file.

    A pickle may hold tensors and plain containers; anything else is refused, unexecuted. So is a file that becomes much
    larger in memory than it is: a compressed one, or tensors that repeat their numbers.

    Args:
        also_allowed: harmless classes that may occur in a pickle too. torch keeps its list of them per process: they
            are on it only while the file is read, one file at a time.
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
        _check_start(path)
        with _allowed(also_allowed):
            content = torch.load(path, map_location="cpu", weights_only=True)
        _check_tensors(content, path.stat().st_size)
        return content
    except Exception as error:  # the reader has a dozen of its own
        raise WeightsError(
            f"{path} cannot be read as a checkpoint of plain tensors: {_reason(error)}. {remedy}"
        ) from error


def _check_start(path: Path) -> None:
    """Refuse what no ``torch.save`` has written, and what takes far more memory than the file has bytes."""
    with open(path, "rb") as file:
        start = file.read(2)
    if start not in _PICKLE_STARTS:
        raise ValueError("it is no file of torch.save" if start else "it is empty")
    if start == b"PK":
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(one.file_size for one in archive.infolist())
            if unpacked > path.stat().st_size:
                raise ValueError(f"it is compressed, to {unpacked:,} bytes unpacked; torch.save writes no such files")
            for name in archive.namelist():
                if name.endswith("data.pkl"):
                    _check_program(io.BytesIO(archive.read(name)))
    else:
        with open(path, "rb") as file:
            for _ in range(_PICKLES):
                _check_program(file)


def _check_program(file: IO[bytes]) -> None:
    """Read one pickle without running it; refuse what torch's reader allows, and would fill the memory with."""
    for operation, argument, _ in pickletools.genops(file):
        if operation.name == "GLOBAL" and str(argument).endswith(" bytearray"):
            raise ValueError("it holds a bytearray, which no weights need")


@contextlib.contextmanager
def _allowed(kinds: Sequence[type]) -> Iterator[None]:
    """Let torch's reader take these classes for the block."""
    from torch.serialization import get_safe_globals, safe_globals

    with _ALLOWING:
        missing: list[Any] = [kind for kind in kinds if kind not in get_safe_globals()]
        with safe_globals(missing) if missing else contextlib.nullcontext():
            yield


def _check_tensors(content: Any, file_bytes: int) -> None:
    """Refuse tensors that are none of numbers in memory, or that show far more numbers than the file has."""
    import torch

    waiting, seen, shown_bytes = [content], set(), 0
    tensors: list[Tensor] = []
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, torch.Tensor):
            if value.layout != torch.strided or value.device.type != "cpu" or value.is_quantized:
                raise ValueError("it holds tensors that are sparse, quantized or without numbers")
            tensors.append(value)
            shown_bytes += value.numel() * value.element_size()
        elif isinstance(value, dict):
            waiting += [*value.keys(), *value.values()]
        elif isinstance(value, list | tuple | set):
            waiting += value
    if shown_bytes > _MAX_SHOWN * file_bytes:
        raise ValueError(f"its tensors have {shown_bytes:,} bytes, but the file {file_bytes:,}")
    _check_types(tensors)


def _check_types(tensors: "Iterable[Tensor]") -> None:
    """Refuse tensors of what is no real number: complex numbers, bits, and others that torch cannot convert."""
    import torch

    for kind in {tensor.dtype for tensor in tensors}:
        try:
            if kind.is_complex:
                raise TypeError("half of it would be lost")
            torch.empty(1, dtype=kind).double()
        except (TypeError, RuntimeError) as error:
            raise ValueError(f"it holds tensors of the type {kind}, which no network takes") from error


def _reason(error: Exception) -> str:
    """What to say of torch's reader: without its advice, which is to let the file run code."""
    text = str(error)
    if found := re.search(
        r"GLOBAL (\S+) was not an allowed|unsupported GLOBAL (\S+)|unrecognized function (\S+)", text
    ):
        return f"it holds {next(filter(None, found.groups()))}, which would have to be executed"
    if "weights_only" in text or not text:
        return "it is damaged, or holds more than tensors and plain containers"
    return " ".join(text.split("\n")[0].split()).rstrip(".")[:300]


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
    """Tensor names to file names of an index; :class:`WeightsError` if it is none, or names other files."""
    try:
        places: dict[str, str] = dict(parse_json(index.read_text("utf-8"))["weight_map"])
        if not all(_PART_NAME.fullmatch(name) for name in places.values()):
            raise ValueError("it names what is no .safetensors file in its folder")
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
