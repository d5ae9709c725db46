"""Where weights come from: a path, the installed package, the local cache, the Hugging Face hub, in this order."""

import dataclasses
import difflib
import hashlib
import os
from pathlib import Path

from memgan.checkpoint import MODEL_FILE, Checkpoint, read, save, save_pretrained
from memgan.config import PRESETS
from memgan.errors import ChecksumError, ConfigError, WeightsNotFoundError
from memgan.remote import download, push_to_hub

__all__ = [
    "DEFAULT_NAME",
    "REGISTRY",
    "Checkpoint",
    "WeightSpec",
    "embedded_dir",
    "load",
    "push_to_hub",
    "resolve",
    "save",
    "save_pretrained",
    "sha256_of",
]

DEFAULT_NAME = "memgan-mobile-512"
"""The weights used when none are named."""
HUB_PREFIX = "hf-hub:"
"""``hf-hub:owner/repo`` or ``hf-hub:owner/repo@revision`` names a repository of the Hugging Face hub."""
_WEIGHT_SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt", ".bin", ".onnx")


@dataclasses.dataclass(frozen=True)
class WeightSpec:
    """Published weights: where they are and how to recognise them."""

    name: str
    filename: str
    sha256: str
    """Of the whole file, in lower-case hexadecimal."""
    licence: str
    embedded: bool = False
    """Whether the file travels inside the package."""
    repo_id: str | None = None
    """Repository of the Hugging Face hub, ``owner/repo``; ``None``: only embedded."""
    revision: str | None = None
    """Commit of that repository: a full hash, so that what is downloaded can never change."""


REGISTRY: dict[str, WeightSpec] = {
    spec.name: spec
    for spec in (
        WeightSpec(
            name="memgan-mobile-512",
            filename="memgan-mobile-512.safetensors",
            sha256="1dc9a6b073c304ee3ac0cb24478757cb1f44090570418d29fc08e8451f1e6e03",
            licence="non-commercial (see weights/README.md)",
            embedded=True,
        ),
    )
}
"""All published weights by name."""


def embedded_dir() -> Path:
    """Folder of the embedded weights: ``memgan/_weights`` when installed, else ``weights`` of the checkout."""
    package = Path(__file__).resolve().parent
    installed = package / "_weights"
    return installed if installed.is_dir() else package.parent / "weights"


def resolve(
    name_or_path: str | os.PathLike[str] | None = None,
    *,
    cache_dir: str | os.PathLike[str] | None = None,
    offline: bool | None = None,
    revision: str | None = None,
) -> Path:
    """Find a weight file and, where its SHA-256 is registered, check it.

    Args:
        name_or_path: a registered name, ``hf-hub:owner/repo[@revision]``, a file, or a folder with one
            ``.safetensors`` file (or ``model.safetensors``); ``None``: ``memgan-mobile-512``. A registered name wins
            over a file called alike: write ``./name`` to mean the file.
        cache_dir: folder for downloads; ``None``: the one of huggingface_hub (``HF_HOME``, ``HF_HUB_CACHE``).
        offline: never use the network; ``None``: what ``HF_HUB_OFFLINE`` says.
        revision: branch, tag or commit of the hub repository instead of the pinned one; its SHA-256 is not checked.

    Returns:
        The path of an existing file.

    Raises:
        WeightsNotFoundError: if there is none; the message says what to do.
        ChecksumError: if the file differs from the registered one.
        WeightsError: if a download fails.
        ConfigError: if the arguments contradict each other.
    """
    given = os.fspath(DEFAULT_NAME if name_or_path is None else name_or_path)
    is_text = name_or_path is None or isinstance(name_or_path, str)
    if is_text and given in REGISTRY:
        return _resolve_registered(REGISTRY[given], cache_dir, offline, revision)
    if is_text and given.startswith(HUB_PREFIX):
        repo_id, _, own_revision = given.removeprefix(HUB_PREFIX).partition("@")
        if own_revision and revision and own_revision != revision:
            raise ConfigError(f"Two revisions are given, {own_revision!r} in {given!r} and {revision!r}; give one.")
        return download(repo_id, MODEL_FILE, revision or own_revision or None, cache_dir, offline)
    if revision is not None:
        raise ConfigError(f"revision={revision!r} has no meaning for the path {given!r}; leave it out.")
    return _resolve_path(given, is_text)


def load(
    name_or_path: str | os.PathLike[str] | None = None,
    *,
    cache_dir: str | os.PathLike[str] | None = None,
    offline: bool | None = None,
    revision: str | None = None,
) -> Checkpoint:
    """Find (as :func:`resolve` does) and read weights.

    Raises:
        WeightsNotFoundError: if there are none.
        ChecksumError: if the file differs from the registered one.
        WeightsError: if the file is damaged or of another kind, or a download fails.
    """
    return read(resolve(name_or_path, cache_dir=cache_dir, offline=offline, revision=revision))


def sha256_of(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file in lower-case hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _resolve_registered(
    spec: WeightSpec, cache_dir: str | os.PathLike[str] | None, offline: bool | None, revision: str | None
) -> Path:
    path = embedded_dir() / spec.filename
    if spec.embedded and revision is None and path.is_file():
        return _verified(path, spec)
    if spec.repo_id is None:
        if revision is not None:
            raise ConfigError(f"{spec.name!r} is embedded and has no other revision than its own; leave revision out.")
        raise WeightsNotFoundError(
            f"The embedded weights {spec.name!r} are missing: there is no {path}. Install memgan again "
            "(pip install --force-reinstall --no-deps memgan), or complete the checkout."
        )
    path = download(spec.repo_id, spec.filename, revision or spec.revision, cache_dir, offline)
    return path if revision is not None else _verified(path, spec)


def _verified(path: Path, spec: WeightSpec) -> Path:
    found = sha256_of(path)
    if found != spec.sha256:
        raise ChecksumError(
            f"{path} is not the published {spec.name!r}: its SHA-256 is {found}, registered is {spec.sha256}. It is "
            "damaged or was changed: delete it and fetch it (or install memgan) again. Weights of your own are "
            "loaded by their path."
        )
    return path


def _resolve_path(given: str, is_text: bool) -> Path:
    path = os.path.expanduser(given)
    if os.path.isfile(path):
        return Path(path)
    if os.path.isdir(path):
        return _file_in(Path(path))
    if is_text and not (os.sep in given or "/" in given or given.endswith(_WEIGHT_SUFFIXES)):
        hint = difflib.get_close_matches(given, REGISTRY, n=1, cutoff=0.5)
        if given in PRESETS:
            reason = f"{given!r} is a configuration without published weights: train it with `memgan train`."
        else:
            reason = f"No weights are called {given!r}" + (f"; did you mean {hint[0]!r}?" if hint else ".")
        raise WeightsNotFoundError(
            f"{reason} Known: {', '.join(sorted(REGISTRY))}; else give a .safetensors file or {HUB_PREFIX}owner/repo."
        )
    parts = given.split("/")
    hub = f" To load from the Hugging Face hub, write {HUB_PREFIX}{given}." if is_text and len(parts) == 2 else ""
    raise WeightsNotFoundError(
        f"There is no file or folder {given!r} (looked from {os.getcwd()}).{hub} Check the path, or give one of the "
        f"names: {', '.join(sorted(REGISTRY))}."
    )


def _file_in(folder: Path) -> Path:
    if (folder / MODEL_FILE).is_file():
        return folder / MODEL_FILE
    files = sorted(file for file in folder.glob("*.safetensors") if file.is_file())
    if len(files) == 1:
        return files[0]
    found = f"{len(files)} of them: {', '.join(file.name for file in files[:5])}" if files else "none"
    raise WeightsNotFoundError(
        f"The folder {folder} needs {MODEL_FILE} or exactly one .safetensors file; it has {found}. "
        "Give the file itself."
    )
