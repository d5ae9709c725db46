"""Knows who may open the page: names and hashed passwords from a file, checked so that guessing is slow.

A line of the file is ``user:scrypt$n$r$p$salt$key``, salt and key in base64 without padding. What is behind the colon
is made by :func:`hash_password`.
"""

import base64
import binascii
import collections
import getpass
import hashlib
import hmac
import ipaddress
import os
import secrets
import stat
import sys
import threading
import time
import unicodedata
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from memgan.errors import ConfigError, shown

_LEAST = (2**15, 8, 1)
"""n, r and p of scrypt for new hashes, and what a file's must have at least: 32 MiB and some tenths of a second."""
_MOST_BYTES = 1 << 30
_MOST_PARALLEL = 16  # p
_KEY_BYTES, _SALT_BYTES = 32, 16
_MOST_CHARACTERS = 1024
_MOST_FILE_BYTES = 16 << 20
_AT_ONCE = 2
"""Computations of all threads together: each takes the memory that its hash asks for, 32 MiB at least."""
_FREE_TRIES = 5
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 30.0
_FORGET_S = 900.0
_MOST_REMEMBERED = 4096


@dataclass(frozen=True)
class _Hash:
    n: int
    r: int
    p: int
    salt: bytes = field(repr=False)
    key: bytes = field(repr=False)

    def key_of(self, password: str) -> bytes:
        text = unicodedata.normalize("NFC", password).encode("utf-8", "surrogatepass")
        # OpenSSL wants a little more than the 128 n r bytes of the table, and otherwise allows 32 MiB in all.
        memory = 128 * self.r * (self.n + self.p + 4) + (1 << 16)
        return hashlib.scrypt(
            text, salt=self.salt, n=self.n, r=self.r, p=self.p, maxmem=memory, dklen=max(len(self.key), _KEY_BYTES)
        )

    def __str__(self) -> str:
        salt, key = (base64.b64encode(data).decode().rstrip("=") for data in (self.salt, self.key))
        return f"scrypt${self.n}${self.r}${self.p}${salt}${key}"


def hash_password(password: str) -> str:
    """What stands behind ``user:`` in the file of accounts; another text each time, since the salt is random.

    Raises:
        ConfigError: if the password is empty or has more than 1024 characters.
    """
    if not 1 <= len(password) <= _MOST_CHARACTERS:
        raise ConfigError(f"The password has {len(password)} characters; give one of 1 to {_MOST_CHARACTERS}.")
    unfilled = _Hash(*_LEAST, salt=secrets.token_bytes(_SALT_BYTES), key=b"")
    return str(_Hash(*_LEAST, salt=unfilled.salt, key=unfilled.key_of(password)))


def ask_and_print_hash() -> None:
    """Ask for a password, unseen and twice on a terminal, else one line of the standard input, and print its hash.

    Raises:
        ConfigError: if there is none, it is too long, or the two differ.
    """
    try:
        if sys.stdin.isatty():
            password = getpass.getpass("Password: ")
            if getpass.getpass("The same again: ") != password:
                raise ConfigError("The two passwords differ; nothing is printed. Run the command again.")
        else:
            password = sys.stdin.readline().rstrip("\r\n")
    except (EOFError, UnicodeDecodeError) as error:
        raise ConfigError("No password was given; type one, or pass one line of UTF-8 text.") from error
    print(hash_password(password))


@dataclass
class _Tries:
    """Of one user's name from one address."""

    wrong: int = 0
    paused_until: float = 0.0
    last: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)
    """Held while a password is checked: whoever sends many at once waits for the answer to the first ones."""


class Accounts:
    """Names and hashed passwords; any number of threads may ask.

    After five wrong passwords in a row for one name from one address, that address is refused for this name, right
    password or not: for 1 s, then twice as long after each further wrong one, at most 30 s. Elsewhere the name's owner
    is not kept waiting, so nobody can lock another out. What guesses from many addresses can do is bounded by the two
    computations that run at once.
    """

    def __init__(self, hashes: Mapping[str, _Hash], *, clock: Callable[[], float] = time.monotonic) -> None:
        """Use :meth:`read`; ``clock``: in seconds, never goes back."""
        self._hashes = dict(hashes)
        self._others = list(self._hashes.values())
        self._clock = clock
        self._computing = threading.BoundedSemaphore(_AT_ONCE)
        self._lock = threading.Lock()
        self._tries: collections.OrderedDict[bytes, _Tries] = collections.OrderedDict()
        self._secret = secrets.token_bytes(32)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> "Accounts":
        """Read a file with a line ``user:hash`` for each account; empty lines and those that begin with # are skipped.

        Where a file has owners (not on Windows): one that others may write is refused, since they could give
        themselves an account; one that others may read is warned about, since containers get their secrets so.

        Raises:
            ConfigError: if it cannot be read, has no account, or a line is wrong; it names the line, never the hash.
        """
        path = Path(path)
        try:
            with open(path, "rb") as file:
                mode = os.fstat(file.fileno()).st_mode
                data = file.read(_MOST_FILE_BYTES + 1)
        except OSError as error:
            raise ConfigError(
                f"{path} cannot be read ({error.strerror or error}); give a file of user:hash lines."
            ) from error
        if len(data) > _MOST_FILE_BYTES:
            raise ConfigError(f"{path} has more than {_MOST_FILE_BYTES >> 20} MiB; give a file of user:hash lines.")
        if os.name == "posix" and stat.S_ISREG(mode):
            _check_mode(path, mode)
        try:
            lines = data.decode("utf-8-sig").split("\n")
        except UnicodeDecodeError as error:
            number = data.count(b"\n", 0, error.start) + 1
            raise ConfigError(f"Line {number} of {path} is not UTF-8; save the file in that encoding.") from error
        return cls(_parse(path, lines))

    def check(self, user: str, password: str, address: str = "") -> bool:
        """Whether this is the user's password; takes as long for a name that has no account.

        Args:
            user: as in the file; which Unicode form (NFC, NFD) it and the password are in does not matter.
            address: of the visitor, by which wrong passwords are counted.
        """
        user = _name(user)
        tries = self._tries_of(user, address)
        with tries.lock:
            now = self._clock()
            if now < tries.paused_until:
                return False
            right = self._is_right(user, password)
            tries.wrong = 0 if right else tries.wrong + 1
            tries.last = self._clock()
            if tries.wrong >= _FREE_TRIES:
                doubled = _FIRST_PAUSE_S * 2.0 ** min(tries.wrong - _FREE_TRIES, 16)
                tries.paused_until = tries.last + min(doubled, _LONGEST_PAUSE_S)
        return right

    def pause(self, user: str, address: str = "") -> float:
        """Seconds for which :meth:`check` refuses this name from this address; 0 if it does not."""
        with self._lock:
            tries = self._tries.get(self._place(_name(user), address))
        return max(0.0, tries.paused_until - self._clock()) if tries else 0.0

    def _is_right(self, user: str, password: str) -> bool:
        known = self._hashes.get(user)
        # A name without an account costs what that of some account costs, always the same one.
        number = int.from_bytes(self._digest(user.encode("utf-8", "surrogatepass"))[:8], "big")
        hashed = known or self._others[number % len(self._others)]
        if len(password) > _MOST_CHARACTERS:
            return False
        with self._computing:
            key = hashed.key_of(password)
        return hmac.compare_digest(key, hashed.key) and known is not None

    def _tries_of(self, user: str, address: str) -> _Tries:
        place = self._place(user, address)
        with self._lock:
            tries = self._tries.get(place)
            if tries is None or self._clock() - tries.last > _FORGET_S:
                tries = self._tries[place] = _Tries(last=self._clock())
            self._tries.move_to_end(place)
            while len(self._tries) > _MOST_REMEMBERED:
                self._tries.popitem(last=False)
            return tries

    def _place(self, user: str, address: str) -> bytes:
        """Of name and address; short whatever they are, so that they cannot fill the memory."""
        return self._digest(f"{_network(address)}\n{user}".encode("utf-8", "surrogatepass"))

    def _digest(self, data: bytes) -> bytes:
        return hashlib.blake2b(data, key=self._secret, digest_size=16).digest()


def _name(user: str) -> str:
    """The form in which names are compared; one that is too long for a file's is nobody's."""
    return unicodedata.normalize("NFC", user) if len(user) <= _MOST_CHARACTERS else ""


def _network(address: str) -> str:
    """What one visitor has: an IPv4 address, or 64 bits of an IPv6 one, whose others it may change as it likes."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(parsed.ipv4_mapped or ipaddress.IPv6Network((int(parsed), 64), strict=False))
    return str(parsed)


def _check_mode(path: Path, mode: int) -> None:
    remedy = f"chmod 600 {path}"
    if mode & 0o022:
        raise ConfigError(
            f"{path} may be written by other users (mode {stat.S_IMODE(mode):03o}), who could give themselves an "
            f"account; allow only its owner: {remedy}"
        )
    if mode & 0o077:
        warnings.warn(
            f"{path} may be read by other users (mode {stat.S_IMODE(mode):03o}), who could try passwords against its "
            f"hashes; better: {remedy}",
            stacklevel=3,
        )


def _parse(path: Path, lines: list[str]) -> dict[str, _Hash]:
    hashes: dict[str, _Hash] = {}
    first_line: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        remedy = "A line is user:hash, the hash made by `memgan app --hash-password`."
        user, colon, hashed = (part.strip() for part in text.rpartition(":"))
        if not colon or not user:
            raise ConfigError(f"Line {number} of {path} has no user before a colon. {remedy}")
        if ":" in user:
            raise ConfigError(f"Line {number} of {path} has a user with a colon in the name, or two colons. {remedy}")
        user = unicodedata.normalize("NFC", user)
        if not user.isprintable() or len(user) > _MOST_CHARACTERS:
            raise ConfigError(f"Line {number} of {path} has control characters or too many in the user. {remedy}")
        if user in hashes:
            raise ConfigError(
                f"Line {number} of {path} gives {shown(user)} again (first on line {first_line[user]}); delete one."
            )
        try:
            hashes[user] = _parse_hash(hashed)
        except ValueError as error:
            raise ConfigError(f"Line {number} of {path}: {error}. {remedy}") from None
        first_line[user] = number
    if not hashes:
        raise ConfigError(f"{path} has no account; write a line user:hash for each, see `memgan app --hash-password`.")
    return hashes


def _parse_hash(text: str) -> _Hash:
    """Raises ``ValueError`` whose message says what is wrong, and nothing of the hash itself."""
    kind, *parts = text.split("$")
    if kind != "scrypt" or len(parts) != 5:
        raise ValueError("what follows the colon is no hash of the form scrypt$n$r$p$salt$key")
    if not all(number.isascii() and number.isdigit() and len(number) < 10 for number in parts[:3]):
        raise ValueError("n, r and p of the hash are not whole numbers")
    n, r, p = (int(number) for number in parts[:3])
    if n < _LEAST[0] or n & (n - 1) or r < _LEAST[1] or p < _LEAST[2]:
        raise ValueError("the hash is weaker than n=32768, r=8, p=1, or its n is no power of two")
    if 128 * n * r > _MOST_BYTES or p > _MOST_PARALLEL:
        raise ValueError("the hash takes more than 1 GiB of memory, or its p is above 16")
    try:
        salt, key = (base64.b64decode(part + "=" * (-len(part) % 4), validate=True) for part in parts[3:])
    except (binascii.Error, ValueError):
        raise ValueError("salt or key of the hash is not base64") from None
    if len(salt) < _SALT_BYTES or len(key) != _KEY_BYTES:
        raise ValueError("the salt of the hash has less than 16 bytes, or its key other than 32")
    return _Hash(n, r, p, salt, key)
