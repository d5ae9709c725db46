"""Names the weights of a restorer, so that copies and other processes can load them, and tells weights apart."""

import dataclasses
import hashlib
import os
from pathlib import Path

import torch
from torch import nn

from memgan import hub
from memgan.errors import WeightsError
from memgan.hub.weight_file import files_of
from memgan.network.model import MemGAN


@dataclasses.dataclass(frozen=True)
class NamedWeights:
    """Weights by a name that another process, perhaps on another machine, can load too."""

    name: str | None
    """As :func:`memgan.hub.load` takes it; paths are absolute."""
    files: tuple[tuple[Path, int, int], ...]
    """What was read, with size and time of modification."""

    @classmethod
    def of(cls, name: str | os.PathLike[str] | None, path: Path) -> "NamedWeights":
        """Remember what was just read from ``path``, which :func:`memgan.hub.resolve` has found for ``name``."""
        is_path = name is not None and Path(name).expanduser().exists() and name not in hub.REGISTRY
        known = str(Path(name).expanduser().absolute()) if is_path and name is not None else name
        files = tuple((file, file.stat().st_size, file.stat().st_mtime_ns) for file in files_of(path))
        return cls(None if known is None else str(known), files)

    def digest(self) -> str:
        """SHA-256 over the files.

        Raises:
            WeightsError: if they have changed since.
        """
        digest = hashlib.sha256()
        for path, *known in self.files:
            try:
                found = path.stat()
                digest.update(hub.sha256_of(path).encode())
            except OSError as error:
                raise WeightsError(f"{path}, from which this restorer was made, cannot be read ({error}).") from error
            if [found.st_size, found.st_mtime_ns] != known:
                raise WeightsError(
                    f"{path} has changed since this restorer was made from it, so that its copies would differ; make "
                    "the restorer anew."
                )
        return digest.hexdigest()


def weights_digest(network: MemGAN) -> str:
    """SHA-256 of a network's configuration and tensors, in lower-case hexadecimal."""
    return state_digest(network, network.config.to_json())


def state_digest(network: nn.Module, about: str = "") -> str:
    """SHA-256 of what is said about any network, and of its tensors, in lower-case hexadecimal."""
    found = hashlib.sha256(about.encode())
    for name, tensor in sorted(network.state_dict().items()):
        found.update(f"{name} {tuple(tensor.shape)}".encode())
        found.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return found.hexdigest()
