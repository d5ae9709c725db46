"""Traffic with the Hugging Face hub: the only file that imports its client."""

import os
import re
import socket
import tempfile
import urllib.parse
import urllib.request
from pathlib import Path

from memgan.checkpoint import Checkpoint, save_pretrained
from memgan.errors import WeightsError, WeightsNotFoundError

_DEFAULT_ENDPOINT = "https://huggingface.co"
_PROBE_SECONDS = 3.0


def download(
    repo_id: str,
    filename: str,
    revision: str | None,
    cache_dir: str | os.PathLike[str] | None,
    offline: bool | None,
) -> Path:
    """Take a file from the local cache where possible (always for a commit hash), else from the hub.

    Args:
        repo_id: ``owner/repo``.
        filename: within the repository.
        revision: branch, tag or commit; ``None``: the default branch.
        cache_dir: folder for downloads; ``None``: the one of huggingface_hub.
        offline: never use the network; ``None``: what ``HF_HUB_OFFLINE`` says.

    Raises:
        WeightsNotFoundError: if the file is neither cached nor to be had.
        WeightsError: if the download fails on the way.
    """
    from huggingface_hub import errors, hf_hub_download, try_to_load_from_cache

    endpoint = os.environ.get("HF_ENDPOINT") or _DEFAULT_ENDPOINT
    where = f"{filename!r} of {repo_id!r}" + (f" at revision {revision!r}" if revision else "")
    try:
        if revision and re.fullmatch("[0-9a-f]{40}", revision):  # a commit never changes: no need to ask the hub
            cached = try_to_load_from_cache(repo_id, filename, cache_dir=cache_dir, revision=revision)
            if isinstance(cached, str):
                return Path(cached)
        return Path(
            hf_hub_download(
                repo_id,
                filename,
                revision=revision,
                cache_dir=cache_dir,
                local_files_only=_is_offline(offline) or not _is_reachable(endpoint),
                endpoint=endpoint,
                library_name="memgan",
            )
        )
    except errors.GatedRepoError as error:
        raise WeightsNotFoundError(
            f"{repo_id!r} is gated: ask for access at {endpoint}/{repo_id} and log in with `hf auth login`."
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise WeightsNotFoundError(
            f"{endpoint} has no repository {repo_id!r} that you may read; check the name, or log in with "
            "`hf auth login` (or set HF_TOKEN) if it is private."
        ) from error
    except errors.RevisionNotFoundError as error:
        raise WeightsNotFoundError(f"{repo_id!r} has no revision {revision!r}; see {endpoint}/{repo_id}.") from error
    except errors.LocalEntryNotFoundError as error:
        raise WeightsNotFoundError(
            f"{where} is not in the local cache and {endpoint} is not reachable (or offline use was asked for: "
            f"offline=True, HF_HUB_OFFLINE). Connect, set HF_ENDPOINT to a mirror, or fetch {filename} on another "
            "machine and give its path."
        ) from error
    except errors.EntryNotFoundError as error:
        raise WeightsNotFoundError(f"{repo_id!r} has no file {filename!r}; it holds no MemGAN weights.") from error
    except errors.HFValidationError as error:
        raise WeightsNotFoundError(f"{repo_id!r} is no repository name; write hf-hub:owner/repo.") from error
    except Exception as error:  # the client raises its own, httpx's and OS errors
        raise WeightsError(f"Fetching {where} from {endpoint} failed: {error}. Try again later.") from error


def _is_offline(offline: bool | None) -> bool:
    """Read at every call: the client reads the variable only once, when it is imported."""
    if offline is not None:
        return offline
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def _is_reachable(endpoint: str) -> bool:
    """Whether a connection can be opened at all: the client itself would retry for half a minute without network."""
    url = urllib.parse.urlsplit(endpoint)
    if url.hostname is None or urllib.request.getproxies():  # a proxy may reach what we cannot: let the client try
        return True
    try:
        port = url.port or (80 if url.scheme == "http" else 443)
        socket.create_connection((url.hostname, port), timeout=_PROBE_SECONDS).close()
    except OSError:
        return False
    return True


def push_to_hub(
    repo_id: str,
    checkpoint: Checkpoint,
    *,
    card: str | None = None,
    private: bool = False,
    token: str | None = None,
    message: str = "Add MemGAN weights",
) -> str:
    """Upload ``config.json``, ``model.safetensors`` and the card; the repository is made if need be.

    Args:
        repo_id: ``owner/repo``.
        checkpoint: what to upload.
        card: text of the repository's README.md (data, licences, limits); ``None``: leave it as it is.
        private: make a new repository private.
        token: of the hub; ``None``: the one of ``HF_TOKEN`` or of the login.
        message: of the commit.

    Returns:
        The commit's hash: the revision to pin.

    Raises:
        WeightsError: if the upload fails.
    """
    from huggingface_hub import HfApi

    with tempfile.TemporaryDirectory() as folder:
        save_pretrained(folder, checkpoint)
        if card is not None:
            Path(folder, "README.md").write_text(card, encoding="utf-8")
        try:
            api = HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None, token=token)
            api.create_repo(repo_id, private=private, exist_ok=True)
            return str(api.upload_folder(repo_id=repo_id, folder_path=folder, commit_message=message).oid)
        except Exception as error:  # the client raises its own, httpx's and OS errors
            raise WeightsError(
                f"Uploading to {repo_id!r} failed: {error}. Log in with `hf auth login` or set HF_TOKEN to a token "
                "that may write there, and check the connection."
            ) from error
