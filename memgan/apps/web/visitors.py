"""Gives every visitor of the page a folder that nobody else gets files from, and removes it soon after the visit."""

import contextlib
import hashlib
import hmac
import os
import secrets
import shutil
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from memgan.apps.web.asgi import cookies
from memgan.errors import ConfigError, OutputError

COOKIE = "memgan_visitor"
"""Whose value is the secret by which a browser is known."""
SCOPE_KEY = "memgan.visitor"
"""Under which :class:`memgan.apps.web.gate.VisitorGate` puts the :class:`Visitor` into a request's ASGI scope."""
_SECRET_CHARACTERS = range(16, 201)
_PREFIX, _LOCK_SUFFIX = "memgan-app-", ".lock"
_GONE = "gone-"
_SPARE_BYTES = 256 << 20
"""What uploads leave free on the disk."""


@dataclass(frozen=True)
class Visitor:
    """Someone who visits, as far as their files are concerned."""

    key: str
    """Name of the folder, 32 hexadecimal digits; tells nothing of the secret or the address."""


@dataclass
class _Record:
    last_contact: float
    busy: int = 0
    """Open requests and running work."""
    has_folder: bool = False
    num_bytes: int = 0
    """In the folder, when it was last measured."""
    reserved: int = 0
    """Of uploads that are under way."""


class Visitors:
    """Folders of all visitors of one process, below a folder of its own that only this user may enter.

    A folder is removed ``keep_seconds`` after the last contact with its visitor: a request that ended or is still open,
    or work that runs. What a process left behind that was killed is removed when the next one begins. All methods may
    be called by any thread, and those that do not say otherwise return at once.
    """

    def __init__(
        self,
        parent: str | os.PathLike[str] | None = None,
        *,
        keep_seconds: float = 540.0,
        max_visitor_bytes: int = 2 << 30,
        max_bytes: int = 8 << 30,
        max_visitors: int = 1000,
        sweep_every_s: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Make the folder, and begin to sweep in a thread of its own. Close it, or use it in a ``with`` statement.

        Args:
            parent: where :attr:`root` is made; ``None``: the system's folder of temporary files.
            keep_seconds: how long a folder stays after the last contact, until the next sweep.
            max_visitor_bytes: files of one visitor, before which an upload is refused.
            max_bytes: files of all visitors together.
            max_visitors: with a folder; of more, those go whose last contact is longest ago, unless they are in use.
            sweep_every_s: seconds from one sweep to the next.
            clock: in seconds, never goes back.

        Raises:
            ConfigError: if a number is not positive.
            OutputError: if the folder cannot be made.
        """
        numbers = {
            "keep_seconds": keep_seconds,
            "max_visitor_bytes": max_visitor_bytes,
            "max_bytes": max_bytes,
            "max_visitors": max_visitors,
            "sweep_every_s": sweep_every_s,
        }
        for name, value in numbers.items():
            if not value > 0:
                raise ConfigError(f"{name} is {value}; give a number above 0.")
        self.max_visitor_bytes = max_visitor_bytes
        self._keep_seconds = keep_seconds
        self._max_bytes = max_bytes
        self._max_visitors = max_visitors
        self._clock = clock
        self._salt = secrets.token_bytes(32)
        self._records: dict[str, _Record] = {}
        self._gone: list[Path] = []
        self._lock = threading.RLock()
        self._closing = threading.Event()
        folder = Path(tempfile.gettempdir() if parent is None else parent).resolve()
        self._root_lock: Any
        self.root, self._root_lock = _make_root(folder)
        """The absolute path of the folder, without symbolic links."""
        _remove_abandoned(folder)
        self._sweeper = threading.Thread(
            target=self._sweep_on, args=(sweep_every_s,), name="memgan-visitors", daemon=True
        )
        self._sweeper.start()

    def __enter__(self) -> "Visitors":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- who it is ---------------------------------------------------------------------------------------------------

    def with_secret(self, secret: str) -> Visitor:
        """The visitor whose browser sends this secret."""
        return self._visitor(f"secret:{secret}")

    def at_address(self, address: str) -> Visitor:
        """The visitor at an address who sends no secret, as programs do."""
        return self._visitor(f"address:{address}")

    def of(self, scope: Mapping[str, Any]) -> Visitor:
        """The visitor who sends a request.

        Args:
            scope: of ASGI, as ``request.scope`` of Starlette has it.
        """
        seen = scope.get(SCOPE_KEY)
        if isinstance(seen, Visitor):
            return seen
        secret = secret_in(scope)
        if secret is not None:
            return self.with_secret(secret)
        client = scope.get("client")
        return self.at_address(str(client[0]) if client else "")

    def _visitor(self, text: str) -> Visitor:
        digest = hmac.new(self._salt, text.encode("utf-8", "surrogatepass"), hashlib.sha256)
        return Visitor(digest.hexdigest()[:32])

    # -- their files -------------------------------------------------------------------------------------------------

    def folder_of(self, visitor: Visitor) -> Path:
        """The visitor's folder, made if it is not there; counts as a contact.

        Raises:
            OutputError: if it cannot be made.
        """
        with self._lock:
            record = self._record(visitor)
            record.last_contact = self._clock()
            folder = self.root / visitor.key
            _make_folder(folder)
            if not record.has_folder:
                record.has_folder = True
                self._make_way(record)
            return folder

    def new_folder(self, visitor: Visitor) -> Path:
        """A new empty folder in the visitor's own, whose name cannot be guessed; counts as a contact.

        Raises:
            OutputError: if it cannot be made.
        """
        with self._lock:
            folder = self.folder_of(visitor) / secrets.token_hex(16)
            _make_folder(folder)
            return folder

    def owns(self, visitor: Visitor, path: str | os.PathLike[str]) -> bool:
        """Whether a path leads into the visitor's folder, wherever ``..`` and symbolic links in it go.

        Nothing has to be there. Asks the file system.
        """
        folder = self.root / visitor.key
        try:
            real = Path(os.path.realpath(path))
        except (OSError, ValueError):  # a NUL, which no path contains
            return False
        return folder in real.parents

    @contextlib.contextmanager
    def room(self, visitor: Visitor) -> Iterator[Callable[[int], None]]:
        """A function that asks for room before bytes are written; in the end, what was written is measured.

        It takes the number of bytes to come and raises :class:`OutputError`, with a sentence for who visits, if that
        many do not fit besides what is there and what other uploads have asked for. Reads the visitor's folder.
        """
        asked = 0

        def ask(num_bytes: int) -> None:
            nonlocal asked
            with self._lock:
                record = self._record(visitor)
                if record.num_bytes + record.reserved + num_bytes > self.max_visitor_bytes:
                    raise OutputError(
                        f"Your files on this page would take more than {_size(self.max_visitor_bytes)}, which is all "
                        "that one visitor gets. Choose fewer or smaller files, or come back in ten minutes: until "
                        "then, what you sent before is deleted if you close the page."
                    )
                total = sum(each.num_bytes + each.reserved for each in self._records.values())
                free = shutil.disk_usage(self.root).free - sum(each.reserved for each in self._records.values())
                if total + num_bytes > self._max_bytes or free - num_bytes < _SPARE_BYTES:
                    raise OutputError(
                        "This page has no room for your files now, since others are using it too. Try again in ten "
                        "minutes, or choose fewer or smaller files."
                    )
                record.reserved += num_bytes
                asked += num_bytes

        with self.request(visitor):
            self._measure(visitor)
            try:
                yield ask
            finally:
                self._measure(visitor)
                with self._lock:
                    self._record(visitor).reserved -= asked

    def _measure(self, visitor: Visitor) -> None:
        num_bytes = _bytes_in(self.root / visitor.key)
        with self._lock:
            record = self._records.get(visitor.key)
            if record is not None:
                record.num_bytes = num_bytes

    # -- contact -----------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def in_use(self, visitor: Visitor) -> Iterator[None]:
        """Keep the visitor's folder while work runs; afterwards its size is measured, which reads the folder."""
        with self.request(visitor):
            try:
                yield
            finally:
                self._measure(visitor)

    @contextlib.contextmanager
    def request(self, visitor: Visitor) -> Iterator[None]:
        """Keep the visitor's folder while a request is open."""
        with self._lock:
            self._record(visitor).busy += 1
        try:
            yield
        finally:
            with self._lock:
                record = self._record(visitor)
                record.busy -= 1
                record.last_contact = self._clock()
                if not record.busy and not record.has_folder:  # nothing to remember: many come once and bring nothing
                    del self._records[visitor.key]

    def touch(self, visitor: Visitor) -> None:
        """The visitor is still there: their folder, if they have one, stays as long as after a request."""
        with self._lock:
            record = self._records.get(visitor.key)
            if record is not None:
                record.last_contact = self._clock()

    def _record(self, visitor: Visitor) -> _Record:
        return self._records.setdefault(visitor.key, _Record(self._clock()))

    # -- the end -----------------------------------------------------------------------------------------------------

    def sweep(self) -> None:
        """Remove the folders that are due, never one in use. Who returns meanwhile gets a new one. Takes its time."""
        with self._lock:
            due = self._clock() - self._keep_seconds
            for key, record in list(self._records.items()):
                if not record.busy and record.last_contact <= due:
                    self._set_aside(key)
            gone, self._gone = self._gone, []
        for folder in gone:
            shutil.rmtree(folder, ignore_errors=True)
        with self._lock:
            self._gone += [folder for folder in gone if folder.exists()]  # on Windows a file may still be open
        # So that what clears the system's temporary files of old age does not take a lock or a folder in use for one.
        for path in (self.root, self.root.with_name(self.root.name + _LOCK_SUFFIX)):
            with contextlib.suppress(OSError):
                os.utime(path)

    def close(self) -> None:
        """Remove everything, at once; folders are not given any more. May be called again."""
        self._closing.set()
        if threading.current_thread() is not self._sweeper:
            self._sweeper.join()
        with self._lock:
            if self._root_lock is None:
                return
            shutil.rmtree(self.root, ignore_errors=True)
            self._records.clear()
            _let_go(self.root, self._root_lock)
            self._root_lock = None

    def _set_aside(self, key: str) -> None:
        """Forget a visitor whose folder is deleted later: at its place a new one can be made at once."""
        folder, gone = self.root / key, self.root / f"{_GONE}{secrets.token_hex(8)}"
        try:
            os.replace(folder, gone)
        except FileNotFoundError:
            del self._records[key]
        except OSError:  # on Windows, while a file in it is open: the next sweep tries again
            return
        else:
            del self._records[key]
            self._gone.append(gone)

    def _make_way(self, kept: _Record) -> None:
        """Set folders aside if there are too many."""
        holders = [(key, record) for key, record in self._records.items() if record.has_folder]
        idle = [pair for pair in holders if not pair[1].busy and pair[1] is not kept]
        idle.sort(key=lambda pair: pair[1].last_contact)
        for key, _ in idle[: max(0, len(holders) - self._max_visitors)]:
            self._set_aside(key)

    def _sweep_on(self, every_s: float) -> None:
        while not self._closing.wait(every_s):
            self.sweep()


def secret_in(scope: Mapping[str, Any]) -> str | None:
    """The secret that a request's cookie has; ``None``: it has none, or one that is too short or too long."""
    return next((secret for secret in cookies(scope, COOKIE) if len(secret) in _SECRET_CHARACTERS), None)


def new_secret() -> str:
    """For a browser that has none: 256 random bits as 43 characters that a cookie may have."""
    return secrets.token_urlsafe(32)


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:.1f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:.3g} MB"


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{folder} cannot be made ({error.strerror or error}); check that the disk has room, and start again."
        ) from error


def _bytes_in(folder: Path) -> int:
    """Of all files below; what disappears meanwhile does not count."""
    num_bytes = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                num_bytes += os.lstat(os.path.join(place, name)).st_size
    return num_bytes


def _root_lock(root: Path) -> Any:
    """The lock of a root, beside it: held as long as its process lives."""
    import filelock

    path = root.with_name(root.name + _LOCK_SUFFIX)
    return filelock.FileLock(path, timeout=0, thread_local=False, mode=0o600)


def _make_root(parent: Path) -> tuple[Path, Any]:
    root = parent / f"{_PREFIX}{secrets.token_hex(8)}"
    lock = _root_lock(root)
    try:
        lock.acquire()  # before the folder is there: nobody can take it for abandoned
        root.mkdir(mode=0o700)
    except (OSError, NotImplementedError) as error:  # the latter where a file system has no locks
        _let_go(root, lock)
        raise OutputError(
            f"{parent} cannot take visitors' files ({getattr(error, 'strerror', None) or error}); choose a folder that "
            "may be written, has room and is on a local disk, by the environment variable TMPDIR."
        ) from error
    return root, lock


def _remove_abandoned(parent: Path) -> None:
    """Remove the roots of processes that ended without doing so: their locks are free."""
    import filelock

    for root in parent.glob(f"{_PREFIX}*"):
        if not _is_own_folder(root):
            continue
        lock = _root_lock(root)
        try:
            lock.acquire()
        except (filelock.Timeout, OSError, NotImplementedError):
            continue
        shutil.rmtree(root, ignore_errors=True)
        _let_go(root, lock)


def _is_own_folder(path: Path) -> bool:
    """Whether it is a folder, no link to one, that this user has made: others may write where temporary files lie."""
    try:
        status = path.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and (not hasattr(os, "getuid") or status.st_uid == os.getuid())


def _let_go(root: Path, lock: Any) -> None:
    lock.release()
    with contextlib.suppress(OSError):
        root.with_name(root.name + _LOCK_SUFFIX).unlink(missing_ok=True)
