"""Reads a prior that :func:`memgan.training.priors.import_prior` has written."""

from pathlib import Path

from torch import Tensor

from memgan.errors import WeightsError
from memgan.hub.tensor_file import read_state


def load_prior(path: str | Path) -> dict[str, Tensor]:
    """Tensors of a stored prior, float32, named ``mapping.*`` and ``synthesis.*``.

    Raises:
        WeightsNotFoundError: if there is no such file.
        WeightsError: if it is damaged or holds something else.
    """
    tensors = read_state(path, remedy=f"Make a prior with `memgan prior import mobile -o {path}`.")
    kinds = {key.split(".")[0] for key in tensors}
    if not {"mapping", "synthesis"} <= kinds:
        raise WeightsError(
            f"{path} has tensors of {sorted(kinds)[:5]}, but a prior has mapping.* and synthesis.*; "
            "make one with `memgan prior import`."
        )
    return {key: value.float() for key, value in tensors.items()}
