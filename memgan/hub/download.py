"""Downloads one file of known SHA-256 from a list of addresses: resumed, checked, and moved into place whole."""

import contextlib
import hashlib
import http.client
import os
import shutil
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from memgan.errors import ChecksumError, MemGANError, OutputError, WeightsError, WeightsNotFoundError
from memgan.runtime.progress import ProgressBar

_BLOCK_BYTES = 1 << 20
_TIMEOUT_S = 20.0
_MAX_BYTES = 8 << 30
"""What a file of unknown size may have: a server that never ends must not fill the disk."""
_MAX_CUTS = 8
"""How often one address may break off or ask to come back later before the next one is tried."""
_PAUSE_S = 0.5
"""Before the second attempt; doubled each time, up to 16 times."""
_LATER = (408, 416, 425, 429, 500, 502, 503, 504)


class _FailedError(Exception):
    """This address gives nothing; another one may."""


class _CutError(Exception):
    """This address breaks off, or asks to come back later."""


def sha256_of(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file in lower-case hexadecimal; :class:`WeightsError` if it cannot be read."""
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while block := file.read(_BLOCK_BYTES):
                digest.update(block)
    except OSError as error:
        raise WeightsError(f"{path} cannot be read ({error.strerror or error}); check its permissions.") from error
    return digest.hexdigest()


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep other processes and threads out of the same block for the same ``path``; waits as long as it takes."""
    import filelock

    folder = path.parent / ".locks"
    with _disk_errors(path):
        folder.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(folder / f"{path.name}.lock")
        try:
            lock.acquire()
        except NotImplementedError as error:  # of releases before 3.30, on a file system that has no locks
            raise OutputError(
                f"{path.parent} cannot take the download (its file system has no locks); choose another folder with "
                "MEMGAN_HOME or cache_dir."
            ) from error
    try:
        yield
    finally:
        lock.release()


def quarantine(path: Path) -> None:
    """Give a damaged file the name ``NAME.damaged``; an earlier one of that name is replaced."""
    try:
        os.replace(path, path.with_name(f"{path.name}.damaged"))
    except OSError as error:
        raise OutputError(
            f"{path} is damaged and cannot be replaced ({error.strerror or error}); delete it, or choose another "
            "folder with MEMGAN_HOME or cache_dir."
        ) from error


def fetch(urls: Sequence[str], path: Path, *, sha256: str, size: int | None = None) -> Path:
    """Download a file unless it is there; of several processes one downloads and the others wait for it.

    What is received is kept in ``.NAME.part`` in its folder; a later call resumes from it. Only a whole file of the
    right SHA-256 gets the name ``path``. A file already there that is damaged is kept as ``NAME.damaged``.

    Args:
        urls: addresses to try in this order: http, https or file.
        path: where the file goes; missing folders are made.
        sha256: in lower-case hexadecimal.
        size: in bytes, if known: not a byte more is received. ``None``: at most 8 GiB.

    Raises:
        WeightsNotFoundError: if no address gives the file.
        ChecksumError: if what they give is another file.
        OutputError: if there is no room, or ``path`` cannot be written.
    """
    part = path.with_name(f".{path.name}.part")
    problems = []
    kind: type[WeightsError] = WeightsNotFoundError
    with locked(path), _disk_errors(path):
        if path.is_file():
            if sha256_of(path) == sha256:  # another process was faster
                return path
            quarantine(path)
        for url in urls:
            try:
                _fetch_checked(url, part, sha256, size)
                os.replace(part, path)
                return path
            except (_FailedError, ChecksumError) as error:
                problems.append(f"{url}: {error}.")
                kind = ChecksumError if isinstance(error, ChecksumError) else kind
    raise kind(f"{path.name} (SHA-256 {sha256}) cannot be downloaded. " + " ".join(problems))


def _fetch_checked(url: str, part: Path, sha256: str, size: int | None) -> None:
    """Complete ``part``; one left by an earlier run may be of something else: then once more from the start."""
    is_continued = part.is_file()
    while True:
        _fetch_all(url, part, size)
        found = sha256_of(part)
        if found == sha256:
            return
        part.unlink()
        if not is_continued:
            raise ChecksumError(f"gives another file (SHA-256 {found})")
        is_continued = False


def _fetch_all(url: str, part: Path, size: int | None) -> None:
    """Append to ``part`` until the server has no more; resume after cuts."""
    problem: Exception | None = None
    for attempt in range(_MAX_CUTS):
        if attempt:
            time.sleep(_PAUSE_S * min(2 ** (attempt - 1), 16))
        try:
            return _fetch_some(url, part, size)
        except _CutError as error:
            problem = error
    raise _FailedError(f"{problem}, {_MAX_CUTS} times")


def _fetch_some(url: str, part: Path, size: int | None) -> None:
    """Complete ``part`` by one request; an ``OSError`` is the disk's."""
    start = part.stat().st_size if part.is_file() else 0
    if size is not None and start >= size:
        if start == size:
            return
        part.unlink()
        start = 0
    # Identity: a compressed answer could not be resumed, nor its length compared.
    headers = {"Accept-Encoding": "identity", "User-Agent": "memgan"}
    if start:
        headers["Range"] = f"bytes={start}-"
    with _network_errors(part):
        response = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=_TIMEOUT_S)
    with response:
        # Many servers send all of the file whatever was asked for.
        if response.status != 206 or not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            start = 0
        length = response.headers.get("Content-Length", "")
        total = start + int(length) if length.isdecimal() and len(length) < 20 else None
        if size is not None and total is not None and total != size:
            raise _FailedError(f"offers {total} bytes, but the file has {size}")
        most = next(count for count in (total, size, _MAX_BYTES) if count is not None)
        if most > _MAX_BYTES and size is None:
            raise _FailedError(f"offers {most} bytes; allowed are {_MAX_BYTES}")
        _check_room(part, total, start)
        part.parent.mkdir(parents=True, exist_ok=True)
        name = part.name.removeprefix(".").removesuffix(".part")
        quiet = sys.stderr is None or not sys.stderr.isatty()  # a library writes nothing into log files
        done = start
        try:
            with (
                open(part, "ab" if start else "wb") as file,
                ProgressBar(total, unit="B", title=name, start=start, hidden=quiet) as bar,
            ):
                while block := _read(response, part):
                    done += len(block)
                    if done > most:
                        part.unlink(missing_ok=True)
                        raise _FailedError(f"sends more than {most} bytes")
                    file.write(block)
                    file.flush()
                    bar.advance(len(block))
        except OSError:
            part.unlink(missing_ok=True)  # give the room back: on a full disk other programs need it
            raise
    if total is not None and done != total:
        raise _CutError("breaks off again and again")


def _read(response: IO[bytes], part: Path) -> bytes:
    with _network_errors(part):
        return response.read(_BLOCK_BYTES)


@contextlib.contextmanager
def _network_errors(part: Path) -> Iterator[None]:
    """Sort what urllib and http.client raise by whether another attempt is of use."""
    try:
        yield
    except urllib.error.HTTPError as error:
        if error.code == 416:  # the part is longer than the file, so it is of something else
            part.unlink(missing_ok=True)
        kind = _CutError if error.code in _LATER else _FailedError
        raise kind(f"answers {error.code} {error.reason}") from error
    except TimeoutError as error:
        raise _CutError(f"is silent for {_TIMEOUT_S:g} s ({error})") from error
    except urllib.error.URLError as error:  # mostly no network, no such host or file
        kind = _CutError if isinstance(error.reason, TimeoutError | ConnectionResetError) else _FailedError
        raise kind(f"cannot be reached ({error.reason})") from error
    except (OSError, http.client.HTTPException) as error:
        raise _CutError(f"breaks off ({error or type(error).__name__})") from error


@contextlib.contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except MemGANError:
        raise
    except OSError as error:
        raise OutputError(
            f"{path.parent} cannot take the download ({error.strerror or error}); free some space, or choose another "
            "folder with MEMGAN_HOME or cache_dir."
        ) from error


def _check_room(part: Path, total: int | None, start: int) -> None:
    folder = next((parent for parent in part.parents if parent.is_dir()), part.parent)
    free = shutil.disk_usage(folder).free
    if total is not None and total - start > free:
        raise OSError(28, f"No space left: {(total - start) / 1e6:.1f} MB are needed, {free / 1e6:.1f} MB are free")
