"""Imports pretrained face generators from the files of other projects, stored as safetensors."""

import os
from pathlib import Path
from typing import Literal, get_args

from torch import Tensor

from memgan.errors import ConfigError, WeightsError
from memgan.hub import sha256_of
from memgan.hub.tensor_file import read_state, write_tensors
from memgan.runtime.checks import check_choice
from memgan.training.priors.mobile import convert_random_face, digest, random_face_files
from memgan.training.priors.stylegan2 import read_stylegan2

PriorKind = Literal["mobile", "stylegan2"]

_LICENSES = {
    "mobile": "random-face: code Apache-2.0; weights distilled from NVIDIA's StyleGAN2-FFHQ: non-commercial",
    "stylegan2": "as the source checkpoint; NVIDIA's StyleGAN2-FFHQ weights and what is made from them: non-commercial",
}


def import_prior(
    kind: PriorKind, source: str | Path | None, out: str | os.PathLike[str], *, max_size: int = 512
) -> Path:
    """Read a pretrained generator and write it as one safetensors file.

    Args:
        kind: ``mobile`` (MobileStyleGAN of the package random-face) or ``stylegan2`` (rosinality or BasicSR).
        source: a checkpoint for :func:`read_stylegan2`, or what
            :func:`memgan.training.priors.mobile.random_face_files` takes, ``None`` included.
        out: file to write, ending in ``.safetensors``; an existing one is replaced once the new one is complete.
        max_size: for ``stylegan2``: side in pixels above which levels are left out.

    Returns:
        ``out``. Its metadata has ``format``, ``family``, ``image_size``, ``source`` (file name), ``source_sha256`` (of
        the checkpoint, or of the four data files of random-face one after the other) and ``license``.

    Raises:
        ConfigError: if ``kind``, ``source`` or ``out`` is not allowed.
        WeightsError, MissingDependencyError: as the readers raise them.
        OutputError: if ``out`` cannot be written.
    """
    check_choice("kind", kind, get_args(PriorKind))
    out = Path(out)
    if out.suffix != ".safetensors":
        raise ConfigError(f"The output is {str(out)!r}; its name must end in .safetensors.")
    if kind == "mobile":
        files = random_face_files(source)
        tensors, sha256 = convert_random_face(files), digest(files)
        name = "random-face" if source is None else Path(source).name
        size = 512  # the low Haar band of its head
    elif source is None:
        raise ConfigError("A stylegan2 prior needs a source: the path of a rosinality or BasicSR checkpoint.")
    else:
        if max_size not in (8, 16, 32, 64, 128, 256, 512, 1024):
            raise ConfigError(f"max_size is {max_size!r}; allowed: a power of two from 8 to 1024.")
        tensors, name = read_stylegan2(source, max_size=max_size), Path(source).name
        sha256 = sha256_of(source)
        size = max(value.shape[-1] for key, value in tensors.items() if key.endswith(".noise"))
    metadata = {
        "format": "pt",
        "family": kind,
        "image_size": str(size),
        "source": name,
        "source_sha256": sha256,
        "license": _LICENSES[kind],
    }
    write_tensors(out, tensors, metadata)
    return out


def load_prior(path: str | Path) -> dict[str, Tensor]:
    """Tensors of a stored prior, float32, named ``mapping.*`` and ``synthesis.*``.

    Raises:
        WeightsNotFoundError, WeightsError: if it is missing, damaged or holds something else.
    """
    tensors = read_state(path, remedy=f"Make a prior with `memgan prior import mobile -o {path}`.")
    kinds = {key.split(".")[0] for key in tensors}
    if not {"mapping", "synthesis"} <= kinds:
        raise WeightsError(
            f"{path} has tensors of {sorted(kinds)[:5]}, but a prior has mapping.* and synthesis.*; "
            "make one with `memgan prior import`."
        )
    return {key: value.float() for key, value in tensors.items()}
