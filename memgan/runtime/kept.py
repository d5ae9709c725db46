"""Keeps what takes long to make for threads that share it."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Kept(Generic[Key, Value]):
    """Things that take long to make, those used last; threads that ask for the same one wait for the first of them.

    No lock is held while one is made. What fails is tried again by the next one who asks.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._found: OrderedDict[Key, Future[Value]] = OrderedDict()

    def get(self, key: Key, make: Callable[[], Value]) -> Value:
        own: Future[Value] = Future()
        with self._lock:
            found = self._found.setdefault(key, own)
            self._found.move_to_end(key)
            while len(self._found) > self._most:
                self._found.popitem(last=False)
        if found is own:
            try:
                own.set_result(make())
            except BaseException as error:
                with self._lock:
                    if self._found.get(key) is own:
                        del self._found[key]
                own.set_exception(error)
        return found.result()
