"""Reading a prior that :func:`memgan.training.priors.import_prior` has written."""

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from memgan.errors import WeightsError, WeightsNotFoundError


def load_prior(path: str | Path) -> dict[str, Tensor]:
    """Tensors of a stored prior, float32, named ``mapping.*`` and ``synthesis.*``.

    Raises:
        WeightsNotFoundError: if there is no such file.
        WeightsError: if it is damaged or holds something else.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsNotFoundError(
            f"There is no prior at {path}; make one with `memgan prior import mobile -o {path}`."
        )
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path} is no readable safetensors file ({error}); import the prior again.") from error
    kinds = {key.split(".")[0] for key in tensors}
    if not {"mapping", "synthesis"} <= kinds:
        raise WeightsError(
            f"{path} has tensors of {sorted(kinds)[:5]}, but a prior has mapping.* and synthesis.*; "
            "make one with `memgan prior import`."
        )
    return {key: value.float() for key, value in tensors.items()}
