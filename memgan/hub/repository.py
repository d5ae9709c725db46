"""Talks to the Hugging Face hub: the only file that imports its client."""

import dataclasses
import errno
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from memgan.errors import OutputError, WeightsError, WeightsNotFoundError
from memgan.hub.cache import hub_cache_folder, is_offline
from memgan.hub.download import locked, quarantine, sha256_of
from memgan.hub.tensor_file import read_metadata
from memgan.hub.weight_file import CONFIG_FILE, INDEX_FILE, MODEL_FILE, files_of
from memgan.runtime.privacy import keep_private

CARD_FILE = "README.md"
_ANSWER_S = 5.0
"""How long the hub may take to say what a file is, before the cache is used instead."""


@dataclasses.dataclass(frozen=True)
class Repository:
    """A repository of the hub as seen from here: its files come from the local cache where possible.

    For ``cache_dir``, ``offline`` and ``token`` see :func:`memgan.hub.resolve`.
    """

    repo_id: str
    """``owner/repo``."""
    revision: str | None = None
    """Branch, tag or commit; ``None``: the default branch. A commit that is cached needs no network."""
    cache_dir: str | os.PathLike[str] | None = None
    offline: bool | None = None
    token: str | None = dataclasses.field(default=None, repr=False)

    def model(self) -> Path:
        """``model.safetensors`` or its index, with ``config.json`` and all other files of the same commit."""
        config = self._take(CONFIG_FILE)
        # The folder is called as the commit: a push between two downloads must not mix two models.
        pinned = self if config is None else dataclasses.replace(self, revision=config.parent.name)
        if (model := pinned._take(MODEL_FILE)) is not None:
            return model
        index = pinned._take(INDEX_FILE) or self._raise_missing(MODEL_FILE)
        pinned = dataclasses.replace(self, revision=index.parent.name)
        for part in files_of(index):
            pinned.file(part.name)
        return index

    def file(self, filename: str) -> Path:
        """One file; what is damaged in the cache is fetched again, once. Raises as :func:`memgan.hub.resolve`."""
        return self._take(filename) or self._raise_missing(filename)

    def cached(self, filename: str) -> Path | None:
        """The file in the local cache, unchecked; ``None`` if it is not there."""
        return self._look_up(filename)[0]

    def renewed(self, path: Path, filename: str, is_good: Callable[[Path], bool]) -> Path:
        """Put a damaged file of the cache aside and fetch it anew, unless another process has just done so."""
        with locked(path.resolve()):
            if path.is_file() and not is_good(path):
                quarantine(path.resolve())  # the content: what lies in the commit's folder is mostly a link to it
                path.unlink(missing_ok=True)
        pinned = dataclasses.replace(self, revision=path.parent.name)
        return pinned._ask(filename, None) or self._raise_missing(filename)

    def _take(self, filename: str) -> Path | None:
        """As :meth:`file`, but ``None`` if the repository has no such file (offline: if the cache has none)."""
        kept, is_known_missing = self._look_up(filename)
        is_pinned = re.fullmatch("[0-9a-f]{40}", self.revision or "") is not None
        if is_offline(self.offline):
            if kept is not None and not _is_intact(kept):
                raise WeightsError(f"{kept} is damaged. Allow the network to fetch it again, or replace it.")
            return kept
        path = kept if is_pinned and (kept is not None or is_known_missing) else self._ask(filename, kept)
        if path is None or _is_intact(path):
            return path
        path = self.renewed(path, filename, _is_intact)
        if not _is_intact(path):
            raise WeightsError(f"{self._name(filename)} arrives damaged twice; try later, or set HF_ENDPOINT.")
        return path

    def _look_up(self, filename: str) -> tuple[Path | None, bool]:
        """The cached file, and whether the cache knows that this revision has none."""
        keep_private("huggingface_hub")
        from huggingface_hub import errors, try_to_load_from_cache

        folder = hub_cache_folder(self.cache_dir)
        try:
            found = try_to_load_from_cache(self.repo_id, filename, cache_dir=folder, revision=self.revision)
        except errors.HFValidationError as error:
            raise WeightsNotFoundError(f"{self.repo_id!r} is no repository name; write hf-hub:owner/repo.") from error
        return (Path(found), False) if isinstance(found, str) else (None, found is not None)

    def _ask(self, filename: str, kept: Path | None) -> Path | None:
        """Take a file from the hub; ``kept``, what the cache has, while the hub is not to be reached."""
        keep_private("huggingface_hub")
        from huggingface_hub import errors, get_hf_file_metadata, hf_hub_download, hf_hub_url

        endpoint, name = _endpoint(), self._name(filename)
        try:
            # One short question first: the client would repeat it for half a minute where there is no network.
            url = hf_hub_url(self.repo_id, filename, revision=self.revision, endpoint=endpoint)
            get_hf_file_metadata(url, token=self.token, timeout=_ANSWER_S)
            path = hf_hub_download(
                self.repo_id,
                filename,
                revision=self.revision,
                cache_dir=hub_cache_folder(self.cache_dir),
                endpoint=endpoint,
                token=self.token,
                library_name="memgan",
            )
            return Path(path)
        except errors.RepositoryNotFoundError as error:
            raise WeightsNotFoundError(
                f"{endpoint} has no repository {self.repo_id!r} that you may read. Check the name; if it is private or "
                f"gated: ask for access at {endpoint}/{self.repo_id}, and log in with `hf auth login` or set HF_TOKEN."
            ) from error
        except errors.RevisionNotFoundError as error:
            raise WeightsNotFoundError(
                f"{self.repo_id!r} has no revision {self.revision!r}; see {endpoint}/{self.repo_id}."
            ) from error
        except errors.RemoteEntryNotFoundError:
            return None
        except Exception as error:  # the client raises its own, httpx's and OS errors
            status = getattr(getattr(error, "response", None), "status_code", None)
            if status in (401, 403):
                raise WeightsError(
                    f"{endpoint} refuses {name} ({status}); log in with `hf auth login`, or set HF_TOKEN to a token "
                    "that may read it."
                ) from error
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
                raise OutputError(
                    f"{hub_cache_folder(self.cache_dir)} cannot take {name} ({error.strerror}); free some space, or "
                    "choose another folder with HF_HOME, MEMGAN_HOME or cache_dir."
                ) from error
            if kept is not None:
                return kept
            is_unreachable = isinstance(error, errors.LocalEntryNotFoundError | errors.OfflineModeIsEnabled)
            if is_unreachable or (status is None and "Connect" in type(error).__name__):
                raise self._unreachable(filename, error) from error
            raise WeightsError(
                f"Fetching {name} from {endpoint} failed: {error}. Check HF_ENDPOINT and proxies, or try again later."
            ) from error

    def _name(self, filename: str) -> str:
        return f"{filename!r} of {self.repo_id!r}" + (f" at revision {self.revision!r}" if self.revision else "")

    def _unreachable(self, filename: str, error: Exception | None = None) -> WeightsNotFoundError:
        """What to put where if there is no network."""
        cache, folder = hub_cache_folder(self.cache_dir), f"models--{self.repo_id.replace('/', '--')}"
        why = f"{_endpoint()} is not reachable ({error})" if error else "the network is not to be used (offline mode)"
        return WeightsNotFoundError(
            f"{self._name(filename)} is not in the local cache {cache}, and {why}. Elsewhere, fetch "
            f"{_endpoint()}/{self.repo_id}/resolve/{self.revision or 'main'}/{filename} (and {CONFIG_FILE}) "
            f"into a folder and give its path; or copy {folder} from another machine's cache to {cache / folder}; or "
            "set HF_ENDPOINT to a mirror."
        )

    def _raise_missing(self, filename: str) -> NoReturn:
        if is_offline(self.offline):
            raise self._unreachable(filename)
        raise WeightsNotFoundError(
            f"{self.repo_id!r} has no file {filename!r}; it holds no weights of memgan. Pickled files are never read "
            "from a hub: its author has to publish safetensors."
        )


def _endpoint() -> str:
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def _is_intact(path: Path) -> bool:
    """Whether a cached file is what the hub sent: large files are stored under their SHA-256."""
    content = path.resolve()
    is_named_by_hash = re.fullmatch("[0-9a-f]{64}", content.name) is not None
    try:
        if is_named_by_hash:
            return sha256_of(content) == content.name
        if path.suffix == ".safetensors":
            read_metadata(path)
    except WeightsError:
        if is_named_by_hash and content.exists():
            raise
        return False  # damaged, or another process has just put it aside
    return True


def read_card(path: Path) -> dict[str, Any]:
    """The header of a model card (README.md) as plain data; :class:`WeightsError` if it cannot be read."""
    keep_private("huggingface_hub")
    from huggingface_hub import metadata_load

    try:
        return metadata_load(path) or {}
    except Exception as error:  # the YAML reader raises its own
        raise WeightsError(f"The header of {path} is no YAML ({error}); correct it.") from error


def card_header(data: Mapping[str, Any]) -> str:
    """The header of a model card, between lines of ``---``, as the hub wants it."""
    keep_private("huggingface_hub")
    from huggingface_hub import ModelCardData

    return f"---\n{ModelCardData(**data).to_yaml()}\n---\n"


def upload(folder: Path, repo_id: str, *, private: bool, token: str | None, message: str) -> str:
    """Upload the files of a folder and return the commit's hash; the repository is made if need be."""
    keep_private("huggingface_hub")
    from huggingface_hub import HfApi

    try:
        api = HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None, token=token)
        api.create_repo(repo_id, private=private, exist_ok=True)
        return str(api.upload_folder(repo_id=repo_id, folder_path=folder, commit_message=message).oid)
    except Exception as error:  # the client raises its own, httpx's and OS errors
        raise WeightsError(
            f"Uploading to {repo_id!r} failed: {error}. Log in with `hf auth login` or set HF_TOKEN to a token "
            "that may write there, and check the connection."
        ) from error
