"""Published weights: how to recognize a file, and the order in which it is looked for."""

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from memgan.errors import ChecksumError, ConfigError, WeightsError, WeightsNotFoundError
from memgan.hub.cache import HOME, MIRRORS, cache_folder, is_offline, mirrors
from memgan.hub.download import fetch, sha256_of
from memgan.hub.registry import WeightSpec
from memgan.hub.repository import Repository
from memgan.hub.tensor_file import read_header

SAFE_SUFFIX = ".safetensors"
SOURCE_KEY = "source_sha256"
"""Header entry of converted files: the SHA-256 of what they were made of."""


def embedded_dir() -> Path:
    """Folder of the embedded weights: ``memgan/_weights`` when installed, else ``weights`` of the checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "_weights"
    return installed if installed.is_dir() else package.parent / "weights"


def locate(
    spec: WeightSpec,
    *,
    cache_dir: str | os.PathLike[str] | None = None,
    offline: bool | None = None,
    revision: str | None = None,
    token: str | None = None,
    also_in: Sequence[Path] = (),
    may_be_converted: bool = False,
) -> Path:
    """Find the file of registered weights, download it if need be, and check it.

    Looked at in this order: the installed package; the cache, ``FOLDER/filename``; ``also_in``; the repository on the
    Hugging Face hub, from its cache if it is there; the mirrors of ``MEMGAN_MIRRORS``; the registered addresses. A
    damaged file of a cache is put aside (``.damaged``) and fetched again, once.

    Args:
        spec: which weights.
        cache_dir, offline, revision, token: see :func:`memgan.hub.resolve.resolve`.
        also_in: folders of other programs that may have the file; what differs there is left alone, with a warning.
        may_be_converted: prefer, in the cache and ``also_in``, the ``.safetensors`` file that `memgan convert` has made
            of a pickled one.

    Returns, Raises: see :func:`memgan.hub.resolve.resolve`.
    """
    if spec.embedded and revision is None and (embedded := embedded_dir() / spec.filename).is_file():
        if sha256_of(embedded) != spec.sha256:
            raise _other(embedded, spec)
        return embedded
    if revision is not None:
        if spec.repo_id is None:
            raise ConfigError(f"{spec.name!r} has no other revision than its own; leave revision out.")
        return Repository(spec.repo_id, revision, cache_dir, offline, token).file(spec.repo_filename)
    place = cache_folder(cache_dir) / spec.filename
    if may_be_converted:
        for folder in (place.parent, *also_in):
            if (path := converted(spec, folder)) is not None:
                return path
    if place.is_file():
        if sha256_of(place) == spec.sha256:
            return place
        if is_offline(offline):
            raise _other(place, spec)
    for path in (folder / spec.filename for folder in also_in):
        if path.is_file():
            if sha256_of(path) == spec.sha256:
                return path
            warnings.warn(f"{path} is not the published {spec.name!r} and is not used; delete it.", stacklevel=2)
    problem: WeightsError | None = None
    if spec.repo_id is not None:
        try:
            return _from_repository(spec, Repository(spec.repo_id, spec.revision, cache_dir, offline, token))
        except WeightsError as error:
            problem = error
    urls = [f"{address}/{spec.filename}" for address in mirrors()] + list(spec.urls)
    if urls and not is_offline(offline):
        try:
            return fetch(urls, place, sha256=spec.sha256, size=spec.size)
        except WeightsError as error:
            before = f"{problem} " if problem else ""
            raise type(error)(f"{before}{error} {_by_hand(spec, place)}") from error
    if isinstance(problem, WeightsNotFoundError):
        raise WeightsNotFoundError(f"{problem} Or: {_by_hand(spec, place)}") from problem
    if problem is not None:
        raise problem
    if spec.embedded:
        raise WeightsNotFoundError(
            f"The embedded weights {spec.name!r} are missing: there is no {embedded_dir() / spec.filename}. Install "
            "memgan again (pip install --force-reinstall --no-deps memgan), or complete the checkout."
        )
    raise WeightsNotFoundError(
        f"{spec.filename} of {spec.name!r} is not in {place.parent}, and offline mode forbids downloading it. "
        + _by_hand(spec, place)
    )


def converted(spec: WeightSpec, folder: Path) -> Path | None:
    """The ``.safetensors`` file in ``folder`` that says that it was made of the registered, pickled file."""
    path = (folder / spec.filename).with_suffix(SAFE_SUFFIX)
    if spec.filename == path.name or not path.is_file():
        return None
    made_of = read_header(path).get("__metadata__", {}).get(SOURCE_KEY)
    return path if made_of == spec.sha256 else None


def where(
    spec: WeightSpec, cache_dir: str | os.PathLike[str] | None = None
) -> tuple[Literal["embedded", "cached", "remote"], Path | None]:
    """Where registered weights are now, and the file if it is on this machine; unchecked, without network."""
    if spec.embedded and (path := embedded_dir() / spec.filename).is_file():
        return "embedded", path
    if (path := cache_folder(cache_dir) / spec.filename).is_file():
        return "cached", path
    if spec.repo_id is None:
        return "remote", None
    kept = Repository(spec.repo_id, spec.revision, cache_dir).cached(spec.repo_filename)
    return ("remote", None) if kept is None else ("cached", kept)


def _from_repository(spec: WeightSpec, repository: Repository) -> Path:
    path = repository.file(spec.repo_filename)
    if sha256_of(path) != spec.sha256 and not is_offline(repository.offline):
        path = repository.renewed(path, spec.repo_filename, lambda file: sha256_of(file) == spec.sha256)
    if sha256_of(path) != spec.sha256:
        raise _other(path, spec)
    return path


def _other(path: Path, spec: WeightSpec) -> ChecksumError:
    return ChecksumError(
        f"{path} is not the published {spec.name!r}: its SHA-256 is {sha256_of(path)}, registered is {spec.sha256}. It "
        "is damaged or was changed: delete it and fetch it (or install memgan) again. Weights of your own are loaded "
        "by their path."
    )


def _by_hand(spec: WeightSpec, place: Path) -> str:
    source = f"from {spec.urls[0]} " if spec.urls else ""
    return (
        f"Get {spec.filename} {source}on another machine and put it at {place} (or set {HOME} to a folder that has "
        f"it), or set {MIRRORS} to an address that serves it."
    )
