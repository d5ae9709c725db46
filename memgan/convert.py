"""Pickled weight files of other projects into safetensors files, once, so that nothing is unpickled afterwards."""

import argparse
import os
from pathlib import Path

from torch import Tensor

from memgan import hub
from memgan.errors import ConfigError, StateMismatchError, WeightsError, WeightsNotFoundError
from memgan.faces.facexlib_adapter import FACEXLIB_WEIGHTS, build_network
from memgan.pickles import read_pickled_state
from memgan.places import cache_folder
from memgan.priors import import_prior
from memgan.tensor_file import write_tensors

KINDS = ("stylegan2", *FACEXLIB_WEIGHTS)
"""What can be converted: StyleGAN2 generators to train from, and facexlib's detectors and parsers."""
_SUFFIX = ".safetensors"


def convert(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    *,
    kind: str | None = None,
    max_size: int = 512,
    offline: bool | None = None,
) -> Path:
    """Convert a file; torch's restricted unpickler reads it, so code in it is refused, not run.

    Args:
        source: one of facexlib's names in :data:`memgan.hub.REGISTRY` (found or downloaded, and checked), or a file:
            a StyleGAN2 generator in the layout of rosinality or BasicSR, or one of facexlib's networks.
        out: ``.safetensors`` file to write; ``None``, for a name only: memgan's cache, where it is found from then on.
        kind: one of :data:`KINDS`; ``None``: found out from the names and shapes of the tensors.
        max_size: for ``stylegan2``: side in pixels above which levels are left out.
        offline: never download; ``None``: what ``HF_HUB_OFFLINE`` says.

    Returns:
        The file written. Its metadata name ``kind``, ``source``, ``source_sha256`` and ``licence``.

    Raises:
        ConfigError: if an option is not allowed.
        WeightsNotFoundError: if there is no such file.
        WeightsError: if it cannot be read, or holds something else.
        StateMismatchError: if it is not of ``kind``.
        OutputError: if ``out`` cannot be written.
    """
    if kind is not None and kind not in KINDS:
        raise ConfigError(f"kind is {kind!r}; allowed: {', '.join(KINDS)}, or None.")
    if out is not None and Path(out).suffix != _SUFFIX:
        raise ConfigError(f"The output is {os.fspath(out)!r}; its name must end in {_SUFFIX}.")
    if isinstance(source, str) and source in FACEXLIB_WEIGHTS:
        if kind not in (None, source):
            raise ConfigError(f"{source!r} is given as a source and {kind!r} as its kind; leave out the kind.")
        spec, kind = hub.REGISTRY[source], source
        path = hub.locate(spec, offline=offline)
        out = (cache_folder() / spec.filename).with_suffix(_SUFFIX) if out is None else out
    else:
        path = Path(source).expanduser()
        if not path.is_file():
            raise WeightsNotFoundError(
                f"There is no file {path}; give a file, or one of the names: {', '.join(FACEXLIB_WEIGHTS)}."
            )
    if out is None:
        raise ConfigError(f"Where to write is not given: name a {_SUFFIX} file.")
    if path.suffix == _SUFFIX and kind != "stylegan2":
        raise ConfigError(f"{path} is a {_SUFFIX} file already; only pickled files need to be converted.")
    sha256 = hub.sha256_of(path)
    if kind is None:
        kind = next((name for name in FACEXLIB_WEIGHTS if hub.REGISTRY[name].sha256 == sha256), None)
    state = None if kind == "stylegan2" else _facexlib_state(path)
    if kind is None:
        kind = "stylegan2" if state is None else _kind_of(state, path)
    if kind == "stylegan2" or state is None:
        return import_prior("stylegan2", path, out, max_size=max_size)
    if problem := _difference(state, kind):
        raise StateMismatchError(f"{path} is no {kind}: {problem}. Give the right kind, or leave it out.")
    about = {"format": "pt", "kind": kind, "source": path.name, "source_sha256": sha256}
    licence = hub.REGISTRY[kind].licence
    tensors = {name: value.detach().clone().contiguous() for name, value in state.items()}
    write_tensors(Path(out), tensors, about | {"licence": licence})
    return Path(out)


def _facexlib_state(path: Path) -> dict[str, Tensor] | None:
    """Tensors by name; ``None`` if the file has tensors within containers, as generators' checkpoints do."""
    try:
        return read_pickled_state(path, also_allowed=[argparse.Namespace])  # as rosinality's files have
    except StateMismatchError:
        return None


def _kind_of(state: dict[str, Tensor], path: Path) -> str:
    for name in FACEXLIB_WEIGHTS:
        if not _difference(state, name):
            return name
    if any(name.startswith(("to_rgb1.", "style_convs.", "convs.")) for name in state):
        return "stylegan2"
    raise WeightsError(
        f"{path} holds tensors such as {sorted(state)[:4]}; what can be converted is: {', '.join(KINDS)}."
    )


def _difference(state: dict[str, Tensor], name: str) -> str:
    """Why the tensors are not those of facexlib's network; empty if they are."""
    wanted = build_network(name).state_dict()
    if set(wanted) != set(state):
        return f"missing {sorted(set(wanted) - set(state))[:3]}, unexpected {sorted(set(state) - set(wanted))[:3]}"
    wrong = [key for key, value in wanted.items() if value.shape != state[key].shape]
    return f"other shapes of {wrong[:3]}" if wrong else ""
