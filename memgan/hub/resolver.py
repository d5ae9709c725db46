"""Finds weight files: on this machine, on the Hugging Face hub, at plain addresses."""

import difflib
import os
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from memgan.errors import ChecksumError, ConfigError, WeightsError, WeightsNotFoundError, shown
from memgan.hub.cache import HOME, MIRRORS, cache_folder, is_offline, mirrors
from memgan.hub.download import fetch, sha256_of
from memgan.hub.registry import DEFAULT_NAME, REGISTRY, WeightSpec, spec_of
from memgan.hub.repository import Repository
from memgan.hub.tensor_file import read_metadata
from memgan.hub.weight_file import Checkpoint, model_in, read
from memgan.network.config import PRESETS
from memgan.runtime.path_rules import expand_home

HUB_PREFIX = "hf-hub:"
SOURCE_KEY = "source_sha256"
"""Header entry of converted files: the SHA-256 of what they were made of."""
_SAFE_SUFFIX = ".safetensors"
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(@\S+)?")
_Folder = str | os.PathLike[str] | None
_WEIGHT_SUFFIXES = (_SAFE_SUFFIX, ".pth", ".pt", ".ckpt", ".bin", ".onnx")


def embedded_dir() -> Path:
    """Folder of the embedded weights: ``memgan/_weights`` when installed, else ``weights`` of the checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "_weights"
    return installed if installed.is_dir() else package.parent / "weights"


def resolve(
    name_or_path: str | os.PathLike[str] | None = None,
    *,
    cache_dir: _Folder = None,
    offline: bool | None = None,
    revision: str | None = None,
    token: str | None = None,
    also_in: Sequence[Path] = (),
    may_be_converted: bool = False,
) -> Path:
    """Find a weight file, download it if need be, and check it where its SHA-256 is known.

    A registered name wins over a file called alike: write ``./name`` to mean the file. For the order of search see
    hub/README.md. A damaged file of a cache is put aside (``.damaged``) and fetched again, once.

    Args:
        name_or_path: a registered name, ``owner/repo[@revision]`` of the Hugging Face hub (``hf-hub:owner/repo`` if
            there is a folder called alike), a file, or a folder with one ``.safetensors`` file (or
            ``model.safetensors``, or its index); ``None``: ``memgan-mobile-512``.
        cache_dir: folder for downloads; ``None``: see :mod:`memgan.hub.cache`.
        offline: never use the network; ``None``: what ``HF_HUB_OFFLINE`` says.
        revision: branch, tag or commit of the hub repository instead of the pinned one; its SHA-256 is not checked.
        token: of the hub; ``None``: the one of ``HF_TOKEN`` or of the login.
        also_in: folders of other programs that may have a registered file; what differs there is left alone, with a
            warning.
        may_be_converted: prefer, in the cache and ``also_in``, the ``.safetensors`` file that `memgan convert` has made
            of a registered pickled one.

    Raises:
        WeightsNotFoundError: if there is none; the message says what to do.
        ChecksumError: if the file differs from the registered one.
        WeightsError: if a download fails.
        OutputError: if the cache cannot be written.
        ConfigError: if the name is empty or no text, or the arguments contradict each other.
    """
    given = DEFAULT_NAME if name_or_path is None else name_or_path
    spec = spec_of(given)
    if spec is not None and revision is None:
        return _registered(spec, cache_dir, is_offline(offline), token, also_in, may_be_converted)
    if spec is not None:
        if spec.repo_id is None:
            raise ConfigError(f"{spec.name!r} has no other revision than its own; leave revision out.")
        return Repository(spec.repo_id, revision, cache_dir, offline, token).file(spec.repo_filename)
    path, is_there = _place_of(given)
    if isinstance(given, str) and (given.startswith(HUB_PREFIX) or (_is_hub_name(given) and not is_there)):
        repo_id, _, own_revision = given.removeprefix(HUB_PREFIX).partition("@")
        if own_revision and revision and own_revision != revision:
            raise ConfigError(f"Two revisions are given, {own_revision!r} in {given!r} and {revision!r}; give one.")
        try:
            return Repository(repo_id, revision or own_revision or None, cache_dir, offline, token).model()
        except WeightsNotFoundError as error:
            if given.startswith(HUB_PREFIX):
                raise
            raise WeightsNotFoundError(f"There is no folder {given!r} here, and on the hub: {error}") from error
    if revision is not None:
        raise ConfigError(f"revision={revision!r} has no meaning for the path {os.fspath(given)!r}; leave it out.")
    if not is_there:
        raise _nothing(given)
    if not path.is_dir() and not path.is_file():  # of a device or a pipe there is no end
        raise WeightsError(f"{path} is neither a file nor a folder; give a .safetensors file.")
    return model_in(path) if path.is_dir() else path


def load(
    name_or_path: str | os.PathLike[str] | None = None,
    *,
    cache_dir: _Folder = None,
    offline: bool | None = None,
    revision: str | None = None,
    token: str | None = None,
) -> Checkpoint:
    """Find (as :func:`resolve` does) and read weights of a restorer.

    Raises:
        WeightsError: if the file is damaged or of another kind; and all that :func:`resolve` raises.
    """
    spec = spec_of(name_or_path)
    if spec is not None and spec.kind != "restorer":
        restorers = ", ".join(sorted(name for name, one in REGISTRY.items() if one.kind == "restorer"))
        raise WeightsError(f"{spec.name!r} is of the kind {spec.kind!r}; restorers are: {restorers}.")
    return read(resolve(name_or_path, cache_dir=cache_dir, offline=offline, revision=revision, token=token))


def where(spec: WeightSpec, cache_dir: _Folder = None) -> tuple[Literal["embedded", "cached", "remote"], Path | None]:
    """Where registered weights are now, and the file if it is on this machine; unchecked, without network."""
    if spec.embedded and (path := embedded_dir() / spec.filename).is_file():
        return "embedded", path
    if (path := cache_folder(cache_dir) / spec.filename).is_file():
        return "cached", path
    kept = spec.repo_id and Repository(spec.repo_id, spec.revision, cache_dir).cached(spec.repo_filename)
    return ("cached", kept) if kept else ("remote", None)


def _registered(
    spec: WeightSpec,
    cache_dir: _Folder,
    offline: bool,
    token: str | None,
    also_in: Sequence[Path],
    may_be_converted: bool,
) -> Path:
    """The first place that has the registered file."""
    if spec.embedded and (path := embedded_dir() / spec.filename).is_file():
        return _checked(path, spec)
    target, *others = (folder / spec.filename for folder in (cache_folder(cache_dir), *also_in))
    if may_be_converted and not spec.filename.endswith(_SAFE_SUFFIX):
        for path in (place.with_suffix(_SAFE_SUFFIX) for place in (target, *others)):
            if path.is_file() and read_metadata(path).get(SOURCE_KEY) == spec.sha256:
                return path
    if target.is_file() and (offline or sha256_of(target) == spec.sha256):  # else it is fetched again
        return _checked(target, spec)
    for path in filter(Path.is_file, others):
        if sha256_of(path) == spec.sha256:
            return path
        warnings.warn(f"{path} is not the published {spec.name!r} and is not used; delete it.", stacklevel=3)
    problem: WeightsError | None = None
    if spec.repo_id is not None:
        try:
            return _from_repository(spec, Repository(spec.repo_id, spec.revision, cache_dir, offline, token))
        except WeightsError as error:
            problem = error
    urls = (*(f"{address}/{spec.filename}" for address in mirrors()), *spec.urls)
    if urls and not offline:
        try:
            return fetch(urls, target, sha256=spec.sha256, size=spec.size)
        except WeightsError as error:
            before = f"{problem} " if problem else ""
            raise type(error)(f"{before}{error} {_by_hand(spec, target)}") from error
    if problem is not None:
        raise type(problem)(f"{problem} Or: {_by_hand(spec, target)}") from problem
    if spec.embedded:
        raise WeightsNotFoundError(
            f"The embedded weights {spec.name!r} are missing: there is no {embedded_dir() / spec.filename}. Install "
            "memgan again (pip install --force-reinstall --no-deps memgan), or complete the checkout."
        )
    raise WeightsNotFoundError(
        f"{spec.filename} of {spec.name!r} is not in {target.parent}, and offline mode forbids downloading it. "
        + _by_hand(spec, target)
    )


def _from_repository(spec: WeightSpec, repository: Repository) -> Path:
    path = repository.file(spec.repo_filename)
    if sha256_of(path) != spec.sha256 and not repository.offline:
        path = repository.renewed(path, spec.repo_filename, lambda file: sha256_of(file) == spec.sha256)
    return _checked(path, spec)


def _checked(path: Path, spec: WeightSpec) -> Path:
    if (found := sha256_of(path)) != spec.sha256:
        raise ChecksumError(
            f"{path} is not the published {spec.name!r}: its SHA-256 is {found}, registered is {spec.sha256}. It is "
            "damaged or was changed: delete it and fetch it (or install memgan) again. Weights of your own are loaded "
            "by their path."
        )
    return path


def _by_hand(spec: WeightSpec, place: Path) -> str:
    source = f"from {spec.urls[0]} " if spec.urls else ""
    return (
        f"Get {spec.filename} {source}on another machine and put it at {place} (or set {HOME} to a folder that has "
        f"it), or set {MIRRORS} to an address that serves it."
    )


def _is_hub_name(given: str | os.PathLike[str]) -> bool:
    is_name = isinstance(given, str) and _HUB_NAME.fullmatch(given) is not None
    return is_name and not str(given).endswith(_WEIGHT_SUFFIXES)


def _place_of(given: str | os.PathLike[str]) -> tuple[Path, bool]:
    """What is given as a path, and whether there is anything; :class:`ConfigError` for what can be no path."""
    if not isinstance(given, str | os.PathLike):
        raise ConfigError(f"The weights are {shown(given)}; give a name, a path, or None for the embedded ones.")
    if not os.fspath(given).strip():
        raise ConfigError(f"The weights are {given!r}; give a name or a path, or None for the embedded ones.")
    try:
        path = expand_home(given)
        return path, path.exists()
    except ConfigError:
        raise
    except (OSError, ValueError) as error:  # too long, or with a zero in it
        reason = getattr(error, "strerror", None) or error
        raise WeightsNotFoundError(f"There can be no file {shown(os.fspath(given))} ({reason}).") from error


def _nothing(given: str | os.PathLike[str]) -> WeightsNotFoundError:
    """What to say when a name or path means nothing."""
    advice = f"Known: {', '.join(sorted(REGISTRY))}; else give a file or folder, or owner/repo of the Hugging Face hub."
    if isinstance(given, str) and not (os.sep in given or "/" in given or given.endswith(_WEIGHT_SUFFIXES)):
        reason = f"No weights are called {given!r}."
        if given in PRESETS:
            reason = f"{given!r} is a configuration without published weights: train it with `memgan train`."
        elif hint := difflib.get_close_matches(given.lower(), REGISTRY, n=1, cutoff=0.5):
            reason = f"No weights are called {given!r}; did you mean {hint[0]!r}?"
        return WeightsNotFoundError(f"{reason} {advice}")
    return WeightsNotFoundError(f"There is no file or folder {os.fspath(given)!r} (seen from {os.getcwd()}). {advice}")
