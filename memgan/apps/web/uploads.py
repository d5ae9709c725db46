"""Takes the files that visitors send, each into a folder of its own, where equal files of two visitors stay two."""

import asyncio
import contextlib
import json
import re
import shutil
import threading
import unicodedata
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import IO, Any

from memgan.apps.web.asgi import GoneError, Receive, RefusedError, Scope, Send, respond
from memgan.apps.web.visitors import Visitor, Visitors
from memgan.errors import ConfigError, MissingDependencyError, OutputError
from memgan.runtime.path_rules import name_problem

_FIELD = "files"
_MOST_FILES = 1000
_MOST_HEADER_BYTES = 8192
_MOST_FORM_BYTES = 1 << 20
"""What a request may have besides its files: the headers of each part and other fields."""
_MOST_STEM_BYTES, _MOST_SUFFIX_BYTES = 120, 16
_PATIENCE_S = 60.0
_NOT_IN_NAMES = '<>:"|?*#%;'
"""What Windows forbids in names, or addresses of files give another meaning."""
_JOINERS = "\u200c\u200d"  # of Persian and Indian letters and of emoji; other invisible characters are dropped


class Uploads:
    """An ASGI application for ``POST /gradio_api/upload``, in place of gradio's own.

    Takes a form (multipart/form-data) with any number of files, up to 1000, in the field ``files``. Each is written to
    a new folder of the visitor as it comes. The answer is a JSON list of their absolute paths, in the order of the
    form. Other answers are a sentence: 400 for what is no such form, 413 for too many bytes, 507 if the visitor or the
    page has no room, 408 if nothing comes for a minute. Of what is not answered with 200, nothing stays.
    """

    def __init__(self, visitors: Visitors, *, max_bytes: int = 1 << 30, patience_s: float = _PATIENCE_S) -> None:
        """Set the limits.

        Args:
            visitors: who gets the files.
            max_bytes: all files of one request together.
            patience_s: seconds without a byte after which an upload is given up.

        Raises:
            ConfigError: if a limit is not positive.
            MissingDependencyError: if python-multipart is not installed.
        """
        for name, value in (("max_bytes", max_bytes), ("patience_s", patience_s)):
            if not value > 0:
                raise ConfigError(f"{name} is {value}; give a number above 0.")
        try:
            import python_multipart  # noqa: F401
        except ImportError as error:
            raise MissingDependencyError("Uploads need the package python-multipart, which gradio brings.") from error
        self._visitors = visitors
        self._max_bytes = max_bytes
        self._patience_s = patience_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, as ASGI has it."""
        body = _Body(receive, self._patience_s)
        try:
            paths = await self._take(scope, body)
        except GoneError:
            return
        except RefusedError as error:
            # The server takes what is still to come and throws it away, so that browsers see the answer; where nothing
            # comes, it is to end the connection.
            headers = [(b"connection", b"close")] if error.status == 408 else []
            await respond(scope, send, error.status, str(error), headers=headers)
            return
        text = json.dumps([str(path) for path in paths])
        await respond(scope, send, 200, text, content_type="application/json")

    async def _take(self, scope: Scope, body: "_Body") -> list[Path]:
        if scope["method"] != "POST":
            raise RefusedError(405, "Files are sent here by POST.")
        visitor = self._visitors.of(scope)
        length = _content_length(scope)
        if length is not None and length > self._max_bytes + _MOST_FORM_BYTES:
            raise self._too_large()
        with self._visitors.request(visitor):
            form = await asyncio.to_thread(self._open_form, visitor, _boundary(scope), length)
            try:
                while (data := await body.piece()) is not None:
                    await asyncio.to_thread(form.feed, data)
                return await asyncio.to_thread(form.finish)
            except BaseException:
                # Also if the server cancels this task while a thread writes: it ends first, then all is deleted.
                await asyncio.shield(asyncio.to_thread(form.discard))
                raise

    def _open_form(self, visitor: Visitor, boundary: bytes, length: int | None) -> "_Form":
        """A form for which there is room; ``length`` of ``None``: it asks for room as it grows."""
        stack = contextlib.ExitStack()
        ask = stack.enter_context(self._visitors.room(visitor))

        def ask_for(num_bytes: int) -> None:
            try:
                ask(num_bytes)
            except OSError as error:  # OutputError is one too
                raise _no_room(error) from error

        try:
            if length is not None:
                ask_for(length)
            return _Form(
                lambda: self._visitors.new_folder(visitor),
                ask_for,
                stack.close,
                boundary,
                self._max_bytes,
                self._too_large,
                length is not None,
            )
        except BaseException:
            stack.close()
            raise

    def _too_large(self) -> RefusedError:
        return RefusedError(
            413,
            f"These files have more than {self._max_bytes / 1e6:.4g} MB together, which is the most that can be sent "
            "at once. Send fewer at a time, or smaller ones.",
        )


class _Body:
    """What a request brings, piece by piece."""

    def __init__(self, receive: Receive, patience_s: float) -> None:
        self._receive, self._patience_s = receive, patience_s
        self._is_over = False

    async def piece(self) -> bytes | None:
        """The next one; ``None``: there is none any more."""
        if self._is_over:
            return None
        try:
            message = await asyncio.wait_for(self._receive(), self._patience_s)
        except (TimeoutError, asyncio.TimeoutError) as error:  # two classes before Python 3.11
            raise RefusedError(408, "The upload stopped half-way. Check the connection, and send it again.") from error
        if message["type"] == "http.disconnect":
            self._is_over = True
            raise GoneError("The upload broke off.")
        self._is_over = not message.get("more_body", False)
        return bytes(message.get("body", b""))


class _Form:
    """A form that comes bit by bit; what it calls back on writes files at once."""

    def __init__(
        self,
        new_folder: Callable[[], Path],
        ask: Callable[[int], None],
        leave: Callable[[], None],
        boundary: bytes,
        max_bytes: int,
        too_large: Callable[[], RefusedError],
        is_asked: bool,
    ) -> None:
        from python_multipart.multipart import MultipartParser

        self._new_folder, self._ask, self._leave = new_folder, ask, leave
        self._max_bytes, self._too_large, self._is_asked = max_bytes, too_large, is_asked
        self._parser: Any = MultipartParser(
            boundary,
            {
                "on_part_begin": self._on_part_begin,
                "on_header_field": lambda data, start, end: self._on_header(self._name, data[start:end]),
                "on_header_value": lambda data, start, end: self._on_header(self._value, data[start:end]),
                "on_header_end": self._on_header_end,
                "on_headers_finished": self._on_headers_finished,
                "on_part_data": self._on_part_data,
                "on_part_end": self._on_part_end,
                "on_end": self._on_end,
            },
        )
        self._name, self._value, self._disposition = bytearray(), bytearray(), b""
        self._header_bytes = 0
        self._file: IO[bytes] | None = None
        self._paths: list[Path] = []
        self._num_bytes = self._other_bytes = 0
        self._is_whole = False
        self._lock = threading.Lock()
        self._is_over = False

    def feed(self, data: bytes) -> None:
        """Write what is in the next bytes of the form."""
        from python_multipart.exceptions import FormParserError

        with self._lock:
            if self._is_over:
                return
            if not self._is_asked:
                self._ask(len(data))
            before = self._num_bytes
            try:
                self._parser.write(data)
            except FormParserError as error:
                raise RefusedError(400, f"This is no form that a browser sends ({error}).") from error
            except OSError as error:
                raise _no_room(error) from error
            self._other_bytes += len(data) - (self._num_bytes - before)
            if self._other_bytes > _MOST_FORM_BYTES:
                raise RefusedError(413, "The form has too much besides its files.")

    def finish(self) -> list[Path]:
        """The files, if the form came whole."""
        with self._lock:
            if not self._is_whole:
                raise RefusedError(400, "The upload ended half-way. Send it again.")
            self._is_over = True
            self._leave()
            return self._paths

    def discard(self) -> None:
        """Delete what was written, and write nothing more."""
        with self._lock:
            if self._is_over:
                return
            self._is_over = True
            if self._file is not None:
                with contextlib.suppress(OSError):  # what is still to be written may not fit on the disk
                    self._file.close()
            for path in self._paths:
                shutil.rmtree(path.parent, ignore_errors=True)
            self._leave()

    def _on_part_begin(self) -> None:
        self._disposition, self._header_bytes = b"", 0
        self._name.clear()
        self._value.clear()

    def _on_header(self, part: bytearray, data: bytes) -> None:
        self._header_bytes += len(data)
        if self._header_bytes > _MOST_HEADER_BYTES:
            raise RefusedError(400, f"The name of a file takes more than {_MOST_HEADER_BYTES} bytes; shorten it.")
        part += data

    def _on_header_end(self) -> None:
        if self._name.lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._name.clear()
        self._value.clear()

    def _on_headers_finished(self) -> None:
        from python_multipart.multipart import parse_options_header

        _, options = parse_options_header(self._disposition)
        if options.get(b"name") != _FIELD.encode() or not options.get(b"filename"):
            return
        if len(self._paths) == _MOST_FILES:
            raise RefusedError(413, f"These are more than {_MOST_FILES} files; send fewer at a time.")
        path = self._new_folder() / safe_name(_text(options[b"filename"]))
        self._paths.append(path)
        self._file = open(path, "xb")  # noqa: SIM115 - it stays open for as long as its part comes

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._file is None:
            return
        self._num_bytes += end - start
        if self._num_bytes > self._max_bytes:
            raise self._too_large()
        self._file.write(memoryview(data)[start:end])

    def _on_part_end(self) -> None:
        if self._file is not None:
            file, self._file = self._file, None
            file.close()

    def _on_end(self) -> None:
        self._is_whole = True


def _no_room(error: OSError) -> RefusedError:
    if isinstance(error, OutputError):
        return RefusedError(507, str(error))
    return RefusedError(507, "The files cannot be kept, since the disk of this page is full. Try again in ten minutes.")


def _content_length(scope: Scope) -> int | None:
    """In bytes; ``None`` if the request does not say it before."""
    found = [value for name, value in scope["headers"] if name.lower() == b"content-length"]
    if not found:
        return None
    if not found[0].isdigit() or len(found[0]) > 18:
        raise RefusedError(400, "The header Content-Length is no number.")
    return int(found[0])


def _boundary(scope: Scope) -> bytes:
    from python_multipart.multipart import parse_options_header

    value = next((value for name, value in scope["headers"] if name.lower() == b"content-type"), b"")
    kind, options = parse_options_header(value)
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not 1 <= len(boundary) <= 70:  # RFC 2046
        raise RefusedError(400, "Files are sent here as multipart/form-data, in the field 'files'.")
    return boundary


def _text(name: bytes) -> str:
    """A file's name: browsers send UTF-8, and a quotation mark as %22."""
    try:
        text = name.decode("utf-8")
    except UnicodeDecodeError:
        text = name.decode("latin-1")
    return text.replace("%22", '"')


def safe_name(name: str) -> str:
    """A name for a file that every system can have, as near to the given one as that allows.

    Letters of all scripts (in the form NFC), digits, spaces, dots and most signs stay. Folders before it are left out,
    control characters and dots at the front too; what has a meaning in paths or addresses becomes ``_``. It has at most
    120 bytes before the suffix, which is kept if it is one.
    """
    name = unicodedata.normalize("NFC", re.split(r"[/\\]", name)[-1])
    name = "".join(" " if unicodedata.category(char) == "Zs" else char for char in name)
    name = "".join(
        char for char in name if char in _JOINERS or unicodedata.category(char)[0] not in "CZ" or char == " "
    )
    name = "".join("_" if char in _NOT_IN_NAMES else char for char in name).strip(". ")
    suffix = PurePosixPath(name).suffix
    if len(suffix.encode("utf-8")) > _MOST_SUFFIX_BYTES or " " in suffix:
        suffix = ""
    stem = name[: len(name) - len(suffix)].encode("utf-8")[:_MOST_STEM_BYTES].decode("utf-8", "ignore").rstrip(". ")
    name = f"{stem or 'file'}{suffix}"
    return f"_{name}" if name_problem(PurePosixPath(name), windows=True) else name
