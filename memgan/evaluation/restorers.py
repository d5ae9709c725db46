"""Finds restorers and runs them: any callables on batches of faces, of this library or of others."""

import os
import pkgutil
import sys
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from memgan.errors import ConfigError, DataError, ShapeError
from memgan.evaluation.results import INPUT

Restorer = Callable[[Tensor], Tensor]
"""(B, 3, S, S) degraded faces in [-1, 1] -> restored ones, same shape and range; of a tuple the first item counts."""
Restorers = Restorer | Mapping[str, Restorer] | None
"""One restorer, several by name, or none: then the inputs alone are evaluated."""


def named_restorers(restore: Restorers) -> dict[str, Restorer]:
    """Restorers by name; a single one is called ``restored``. :class:`ConfigError` if one cannot be used."""
    if restore is None:
        return {}
    named = dict(restore) if isinstance(restore, Mapping) else {"restored": restore}
    for name, one in named.items():
        if name in (INPUT, "truth", "reference") or not callable(one):
            raise ConfigError(
                f"Restorer {name!r} is {one!r}; it must be callable, and not named input, truth or reference."
            )
    return named


def run_restorer(name: str, restore: Restorer, degraded: Tensor) -> Tensor:
    """Restore (B, 3, S, S), and clamp and round the result to 8 bit, as it would be saved; float32."""
    restored = restore(degraded.clone())  # a copy, because it may work in place
    if isinstance(restored, tuple | list):
        restored = restored[0]
    if not isinstance(restored, Tensor) or restored.shape != degraded.shape:
        given = tuple(restored.shape) if isinstance(restored, Tensor) else type(restored).__name__
        raise ShapeError(f"{name} returned {given} for {tuple(degraded.shape)}; it must return as many equal pictures.")
    if not torch.isfinite(restored).all():
        raise DataError(f"{name} returned values that are not finite; its weights are damaged or of another precision.")
    restored = restored.detach().to(degraded.device).float()
    return ((restored.clamp(-1, 1) + 1) * 127.5).round() / 127.5 - 1


def import_restorer(text: str) -> tuple[str, Restorer]:
    """Import a restorer given as ``module:callable`` or ``name=module:callable``.

    The callable takes (B, 3, 512, 512) RGB in [-1, 1] and returns the same, as the networks of GFPGAN and CodeFormer
    do. Modules of the current folder are found. Importing runs the module's code.

    Returns:
        Name for the table (that of the callable if none is given) and callable.

    Raises:
        ConfigError: if it is no such text, or nothing like it can be imported.
    """
    name, _, place = text.rpartition("=")
    module, _, path = place.partition(":")
    if not module or not path:
        raise ConfigError(f"Restorer {text!r}; give module:callable or name=module:callable.")
    here = os.getcwd()
    sys.path.insert(0, here)  # a console script does not search the current folder by itself
    try:
        found = pkgutil.resolve_name(place)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"Restorer {text!r} cannot be imported ({error}); give module:callable of an installed package or of a "
            "file in the current folder."
        ) from error
    finally:
        sys.path.remove(here)
    if not callable(found):
        raise ConfigError(f"Restorer {text!r} is {type(found).__name__}, which cannot be called; name a function.")
    return name or path.rpartition(".")[2], found
