"""What sessions of other libraries have in common: threads share them, they outlive a fork, and they can be pickled."""

import abc
import ctypes
import os
import threading
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


class Session(abc.ABC):
    """A network opened by another library, that several threads at once may run, and that outlives a fork.

    As many threads work for it as torch has where it is opened: where it is made, or in a fork where it runs first.
    Pickled, it is the arguments of its class.
    """

    def __init__(self, *given: Any) -> None:
        """``given``: the arguments with which it is made again."""
        self._given = given
        self._session = self._open()
        self._forked = False
        self._lock = threading.Lock()
        _sessions.add(self)

    @abc.abstractmethod
    def _open(self) -> Any:
        """The library's own object for what is given."""

    @abc.abstractmethod
    def run(self, outputs: Sequence[str] | None, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """The named outputs (``None``: all) for these inputs."""

    @abc.abstractmethod
    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a file from which it can be opened again.

        Raises:
            OutputError: if the file cannot be written.
        """

    def _opened(self) -> Any:
        """The library's object, in a fork a new one."""
        if self._forked:
            with self._lock:
                if self._forked:
                    self._session = self._open()
                    self._forked = False
        return self._session

    def __reduce__(self) -> tuple[type["Session"], tuple[Any, ...]]:
        return type(self), self._given

    def _after_fork(self) -> None:
        """Its threads did not come along: it must neither run again nor be destroyed, which would wait for them."""
        if not self._forked:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._session))
        self._forked, self._lock = True, threading.Lock()


_sessions: "weakref.WeakSet[Session]" = weakref.WeakSet()


def _after_fork() -> None:
    for session in _sessions:
        session._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
