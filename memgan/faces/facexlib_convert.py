"""Converts facexlib's pickled network files to safetensors."""

import argparse
import os
from pathlib import Path

from torch import Tensor

from memgan import hub
from memgan.errors import ConfigError, StateMismatchError, WeightsError, WeightsNotFoundError
from memgan.faces.facexlib_adapter import FACEXLIB_WEIGHTS, build_network
from memgan.hub.cache import cache_folder
from memgan.hub.resolver import SOURCE_KEY
from memgan.hub.tensor_file import read_state, write_tensors

_SUFFIX = ".safetensors"


def convert(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    *,
    kind: str | None = None,
    offline: bool | None = None,
) -> Path:
    """Convert a file; torch's restricted unpickler reads it, so code in it is refused, not run.

    Args:
        source: one of :data:`memgan.faces.facexlib_adapter.FACEXLIB_WEIGHTS` (found or downloaded, and checked), or a
            file that holds one of facexlib's networks.
        out: ``.safetensors`` file to write; ``None``, for a name only: memgan's cache, where it is found from then on.
        kind: which of the networks; ``None``: found out from the names and shapes of the tensors.
        offline: never download; ``None``: what ``HF_HUB_OFFLINE`` says.

    Returns:
        The file written. Its metadata name ``kind``, ``source``, ``source_sha256`` and ``license``.

    Raises:
        ConfigError: if an option is not allowed.
        WeightsNotFoundError: if there is no such file.
        WeightsError: if it cannot be read, or holds something else.
        StateMismatchError: if it is not of ``kind``.
        OutputError: if ``out`` cannot be written.
    """
    allowed = ", ".join(FACEXLIB_WEIGHTS)
    if kind is not None and kind not in FACEXLIB_WEIGHTS:
        raise ConfigError(f"kind is {kind!r}; allowed: {allowed}, or None.")
    if out is not None and Path(out).suffix != _SUFFIX:
        raise ConfigError(f"The output is {os.fspath(out)!r}; its name must end in {_SUFFIX}.")
    if isinstance(source, str) and source in FACEXLIB_WEIGHTS:
        if kind not in (None, source):
            raise ConfigError(f"{source!r} is given as a source and {kind!r} as its kind; leave out the kind.")
        kind = source
        path = hub.resolve(source, offline=offline)
        out = (cache_folder() / path.name).with_suffix(_SUFFIX) if out is None else out
    else:
        path = Path(source).expanduser()
        if not path.is_file():
            raise WeightsNotFoundError(f"There is no file {path}; give a file, or one of the names: {allowed}.")
    if out is None:
        raise ConfigError(f"Where to write is not given: name a {_SUFFIX} file.")
    if path.suffix == _SUFFIX:
        raise ConfigError(f"{path} is a {_SUFFIX} file already; only pickled files need to be converted.")
    state = _state_of(path)
    sha256 = hub.sha256_of(path)
    kind = kind or _kind_of(state, path)
    if problem := _difference(state, kind):
        raise StateMismatchError(f"{path} is no {kind}: {problem}. Give the right kind, or leave it out.")
    metadata = {"format": "pt", "kind": kind, "source": path.name, SOURCE_KEY: sha256}
    tensors = {name: value.detach().clone().contiguous() for name, value in state.items()}
    write_tensors(Path(out), tensors, metadata | {"license": hub.REGISTRY[kind].license})
    return Path(out)


def _state_of(path: Path) -> dict[str, Tensor]:
    remedy = "StyleGAN2 checkpoints are read by `memgan prior import stylegan2`."
    # Training checkpoints of other projects carry their command line: a plain container of values.
    return read_state(path, also_allowed=[argparse.Namespace], remedy=remedy)


def _kind_of(state: dict[str, Tensor], path: Path) -> str:
    for name in FACEXLIB_WEIGHTS:
        if not _difference(state, name):
            return name
    raise WeightsError(
        f"{path} holds tensors such as {sorted(state)[:4]}; what can be converted is: {', '.join(FACEXLIB_WEIGHTS)}. "
        "StyleGAN2 checkpoints are read by `memgan prior import stylegan2`."
    )


def _difference(state: dict[str, Tensor], name: str) -> str:
    """Why the tensors are not those of facexlib's network; empty if they are."""
    wanted = build_network(name).state_dict()
    if set(wanted) != set(state):
        return f"missing {sorted(set(wanted) - set(state))[:3]}, unexpected {sorted(set(state) - set(wanted))[:3]}"
    wrong = [key for key, value in wanted.items() if value.shape != state[key].shape]
    return f"other shapes of {wrong[:3]}" if wrong else ""
