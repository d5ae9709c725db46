"""Restorers of other libraries by name, so that they go into the same table."""

import importlib
import os
import sys

from memgan.errors import ConfigError
from memgan.evaluation.accumulator import Restorer


def import_restorer(text: str) -> tuple[str, Restorer]:
    """Find a callable by ``module:callable`` or ``name=module:callable``.

    The callable takes (B, 3, 512, 512) RGB in [-1, 1] and returns the same, as the networks of GFPGAN and CodeFormer
    do (of a tuple the first item counts). Modules of the current folder are found. Importing runs the module's code.

    Returns:
        Name for the table (that of the callable if none is given) and callable.

    Raises:
        ConfigError: if the text has another form, the module cannot be imported or has no such callable.
    """
    name, _, place = text.rpartition("=")
    module_name, _, path = place.partition(":")
    if not module_name or not path:
        raise ConfigError(f"Restorer {text!r}; give module:callable or name=module:callable.")
    here = os.getcwd()
    sys.path.insert(0, here)  # a console script does not look into the current folder by itself
    try:
        found = importlib.import_module(module_name)
        for part in path.split("."):
            found = getattr(found, part)
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
