"""Keeps work from being lost to a standard stream that is closed, full, gone, or of few characters."""

import contextlib
import errno
import io
import os
import re
import sys
from collections.abc import Iterator
from typing import Any

# Nobody is there to read it any more; EINVAL is how Windows says it.
_GONE = (errno.EPIPE, errno.EIO, errno.ECONNRESET, errno.ESHUTDOWN, errno.EINVAL)


class LenientStream(io.TextIOBase):
    """Writes to another text stream until that fails; from then on what is written is dropped.

    Characters that the stream cannot encode are written as escapes. All else is the other stream's.
    """

    def __init__(self, stream: Any) -> None:
        """``stream``: ``None``: there is none, as in a process without a console."""
        self._stream = stream
        self.error: Exception | None = None
        """Why nothing is written any more."""

    @property
    def is_gone(self) -> bool:
        """Whether its reader has left, or there never was one."""
        return self._stream is None or (isinstance(self.error, OSError) and self.error.errno in _GONE)

    def write(self, text: str) -> int:
        """Write ``text`` if it can be; the number of its characters in any case."""
        if self._stream is not None and self.error is None:
            try:
                self._stream.write(text)
            except UnicodeEncodeError:
                encoding = self.encoding or "ascii"
                self.write(text.encode(encoding, "backslashreplace").decode(encoding))
            except (OSError, ValueError) as error:  # ValueError: it is closed
                self.error = error
        return len(text)

    def flush(self) -> None:
        """Flush the stream if it can be."""
        if self._stream is not None and self.error is None:
            try:
                self._stream.flush()
            except (OSError, ValueError) as error:
                self.error = error

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        try:
            return self._stream is not None and self.error is None and bool(self._stream.isatty())
        except ValueError:
            return False

    def fileno(self) -> int:
        """Number of its file; an OSError if there is none."""
        if self._stream is None:
            raise io.UnsupportedOperation("fileno")
        return int(self._stream.fileno())

    def writable(self) -> bool:
        """Always: see :meth:`write`."""
        return True

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """Of the stream."""
        return getattr(self._stream, "encoding", None) or "utf-8"

    @property
    def errors(self) -> str:  # type: ignore[override]
        """What becomes of characters that cannot be encoded."""
        return "backslashreplace"

    def __getattr__(self, name: str) -> Any:
        """Anything else is the stream's own."""
        return getattr(self._stream, name)


def one_line(text: str) -> str:
    """The text with control characters as escapes: a file's name may hold line ends and orders to the terminal."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f]", lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


@contextlib.contextmanager
def lenient_streams() -> Iterator[tuple[LenientStream, LenientStream]]:
    """Standard output and standard error as :class:`LenientStream` within the block."""
    before = sys.stdout, sys.stderr
    out, err = map(LenientStream, before)
    sys.stdout, sys.stderr = out, err
    try:
        yield out, err
    finally:
        out.flush()
        err.flush()
        sys.stdout, sys.stderr = before


def open_missing_streams() -> None:
    """Open the null device in place of standard streams that are closed.

    A file that is opened later, such as a result, would otherwise get the number of a standard stream, and C libraries
    that complain there would write into it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number, which is this one


def drop_what_is_left() -> None:
    """Send what the standard streams still hold to the null device, so that the interpreter ends without complaint."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
