"""Makes the next item of an iterator in a thread while the caller uses the one before."""

import sys
from collections.abc import Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")

_END: Any = object()


def prefetch(items: Iterable[T]) -> Generator[T, None, None]:
    """The same items in the same order, each made in a thread of its own while the one before is used.

    One item at a time is made ahead, so that memory stays bounded; if ``items`` is made of another such iterator, both
    threads work at the same time. What ``items`` raises is raised here, in the place of the item. Closing the result
    (a loop that is left early does not do it, see :func:`contextlib.closing`) waits for the item that the thread is
    at, and closes ``items`` in that thread if it is a generator.
    """
    source = iter(items)
    with ThreadPoolExecutor(1, thread_name_prefix="memgan-prefetch") as pool:
        try:
            ahead = pool.submit(next, source, _END)
            while (item := ahead.result()) is not _END:
                ahead = pool.submit(next, source, _END)
                yield item
                del item  # or it would live until the next one is there
        finally:
            if not sys.is_finalizing():  # then the threads have ended already
                pool.submit(getattr(source, "close", lambda: None)).result()
