"""Reading of pickled PyTorch files without running what is in them: for conversion, and for facexlib's own files.

Nothing that a user restores with is read here: weights of memgan are safetensors files.
"""

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from memgan.errors import StateMismatchError, WeightsError

_DAMAGE = (
    pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError, IndexError, TypeError, AttributeError
)  # fmt: skip


def read_pickle(path: str | Path, *, also_allowed: Sequence[type] = (), remedy: str = "") -> Any:
    """Content of a ``.pth`` or ``.pt`` file: tensors and plain containers; anything else is refused, unexecuted.

    Args:
        path: the file.
        also_allowed: harmless classes that may occur besides.
        remedy: what to do instead, for the error's message.

    Raises:
        WeightsError: if the file is damaged, or holds something that would have to be executed.
    """
    try:
        with torch.serialization.safe_globals(list(also_allowed)):
            return torch.load(path, map_location="cpu", weights_only=True)
    except _DAMAGE as error:
        reason = str(error).strip().split("\n")[0]
        raise WeightsError(f"{path} cannot be read as a checkpoint of plain tensors ({reason}). {remedy}") from error


def read_pickled_state(path: str | Path, *, also_allowed: Sequence[type] = (), remedy: str = "") -> dict[str, Tensor]:
    """Tensors by name; the ``module.`` that training on several GPUs puts before each name is taken away.

    Raises:
        WeightsError: as :func:`read_pickle` does.
        StateMismatchError: if the file holds something else.
    """
    content = read_pickle(path, also_allowed=also_allowed, remedy=remedy)
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise StateMismatchError(f"{path} holds no tensors by name. {remedy}")
    return {str(key).removeprefix("module."): value for key, value in content.items()}
