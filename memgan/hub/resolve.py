"""Which weights there are, and where they come from.

One order for everything (:func:`resolve`): a file or folder that is named, the installed package, the cache of
downloaded files, the Hugging Face hub, and last the mirrors and addresses of plain files.
"""

import difflib
import os
import re
from pathlib import Path

from memgan.errors import ConfigError, WeightsError, WeightsNotFoundError
from memgan.hub.download import sha256_of
from memgan.hub.locate import converted, embedded_dir, locate, where
from memgan.hub.registry import DEFAULT_NAME, REGISTRY, WeightSpec
from memgan.hub.repository import Repository, push_to_hub
from memgan.hub.weight_file import Checkpoint, model_in, read, save, save_pretrained
from memgan.network.config import PRESETS

__all__ = [
    "DEFAULT_NAME",
    "REGISTRY",
    "Checkpoint",
    "WeightSpec",
    "converted",
    "embedded_dir",
    "load",
    "locate",
    "push_to_hub",
    "resolve",
    "save",
    "save_pretrained",
    "sha256_of",
    "where",
]

HUB_PREFIX = "hf-hub:"
"""``hf-hub:owner/repo[@revision]`` names a repository of the hub, even if there is a folder called alike."""
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(@\S+)?")
_WEIGHT_SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt", ".bin", ".onnx")


def resolve(
    name_or_path: str | os.PathLike[str] | None = None,
    *,
    cache_dir: str | os.PathLike[str] | None = None,
    offline: bool | None = None,
    revision: str | None = None,
    token: str | None = None,
) -> Path:
    """Find a weight file, download it if need be, and check it where its SHA-256 is known.

    Looked at in this order: the file or folder that is named; for a registered name (which wins over a file called
    alike: write ``./name`` to mean the file) see :func:`locate`; the hub's repository, from the cache if it is there.

    Args:
        name_or_path: a registered name, ``owner/repo[@revision]`` of the Hugging Face hub (``hf-hub:owner/repo`` if
            there is a folder called alike), a file, or a folder with one ``.safetensors`` file (or
            ``model.safetensors``, or its index); ``None``: ``memgan-mobile-512``.
        cache_dir: folder for downloads; ``None``: ``MEMGAN_HOME`` if set, else the one of huggingface_hub (``HF_HOME``,
            ``HF_HUB_CACHE``) for its repositories, and ``memgan`` in the user's cache folder for plain files.
        offline: never use the network; ``None``: what ``HF_HUB_OFFLINE`` says.
        revision: branch, tag or commit of the hub repository instead of the pinned one; its SHA-256 is not checked.
        token: of the hub; ``None``: the one of ``HF_TOKEN`` or of the login.

    Returns:
        The path of an existing file.

    Raises:
        WeightsNotFoundError: if there is none; the message says what to do.
        ChecksumError: if the file differs from the registered one.
        WeightsError: if a download fails.
        OutputError: if the cache cannot be written.
        ConfigError: if the arguments contradict each other.
    """
    given = os.fspath(DEFAULT_NAME if name_or_path is None else name_or_path)
    is_text = name_or_path is None or isinstance(name_or_path, str)
    if is_text and given in REGISTRY:
        return locate(REGISTRY[given], cache_dir=cache_dir, offline=offline, revision=revision, token=token)
    path = Path(given).expanduser()
    is_bare = is_text and _HUB_NAME.fullmatch(given) is not None and not given.endswith(_WEIGHT_SUFFIXES)
    if (is_text and given.startswith(HUB_PREFIX)) or (is_bare and not path.exists()):
        repo_id, _, own_revision = given.removeprefix(HUB_PREFIX).partition("@")
        if own_revision and revision and own_revision != revision:
            raise ConfigError(f"Two revisions are given, {own_revision!r} in {given!r} and {revision!r}; give one.")
        try:
            return Repository(repo_id, revision or own_revision or None, cache_dir, offline, token).model()
        except WeightsNotFoundError as error:
            if is_bare:
                raise WeightsNotFoundError(f"There is no folder {given!r} here, and on the hub: {error}") from error
            raise
    if revision is not None:
        raise ConfigError(f"revision={revision!r} has no meaning for the path {given!r}; leave it out.")
    if path.is_file():
        return path
    if given and path.is_dir():  # an empty name is no folder, though Path("") is this one
        return model_in(path)
    raise _nothing(given, is_text)


def load(
    name_or_path: str | os.PathLike[str] | None = None,
    *,
    cache_dir: str | os.PathLike[str] | None = None,
    offline: bool | None = None,
    revision: str | None = None,
    token: str | None = None,
) -> Checkpoint:
    """Find (as :func:`resolve` does) and read weights of a restorer.

    Raises:
        WeightsNotFoundError: if there are none.
        ChecksumError: if the file differs from the registered one.
        WeightsError: if the file is damaged or of another kind, or a download fails.
    """
    spec = REGISTRY.get(name_or_path) if isinstance(name_or_path, str) else None
    if spec is not None and spec.kind != "restorer":
        raise WeightsError(f"{spec.name!r} is a face {spec.kind}; restorers are: {', '.join(_names('restorer'))}.")
    return read(resolve(name_or_path, cache_dir=cache_dir, offline=offline, revision=revision, token=token))


def _names(kind: str) -> list[str]:
    return sorted(name for name, spec in REGISTRY.items() if spec.kind == kind)


def _nothing(given: str, is_text: bool) -> WeightsNotFoundError:
    """What to say when a name or path means nothing."""
    known = ", ".join(sorted(REGISTRY))
    if is_text and not (os.sep in given or "/" in given or given.endswith(_WEIGHT_SUFFIXES)):
        hint = difflib.get_close_matches(given, REGISTRY, n=1, cutoff=0.5)
        if given in PRESETS:
            reason = f"{given!r} is a configuration without published weights: train it with `memgan train`."
        else:
            reason = f"No weights are called {given!r}" + (f"; did you mean {hint[0]!r}?" if hint else ".")
        return WeightsNotFoundError(f"{reason} Known: {known}; else give a .safetensors file or owner/repo of the hub.")
    return WeightsNotFoundError(
        f"There is no file or folder {given!r} (looked from {os.getcwd()}). Check the path, or give one of the names: "
        f"{known}; or owner/repo of the Hugging Face hub."
    )
