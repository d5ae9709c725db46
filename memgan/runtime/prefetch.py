"""Makes the next item of an iterator in a thread while the caller uses the one before."""

import contextlib
import queue
import threading
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


def prefetch(items: Iterable[T]) -> Generator[T, None, None]:
    """The same items in the same order, each made in a thread of its own while the one before is used.

    One item at a time is made ahead, so that memory stays bounded; if ``items`` is made of another such iterator, both
    threads work at the same time. What ``items`` raises is raised here, in the place of the item. Closing the result
    (a loop that is left early does not do it, see :func:`contextlib.closing`) ends the thread after the item that it
    is at, and waits for that.

    Args:
        items: gone through by that thread alone, and closed there if it is a generator.
    """
    closed = threading.Event()
    room = threading.Semaphore(1)
    made: queue.SimpleQueue[Future[T] | None] = queue.SimpleQueue()
    thread = threading.Thread(target=_make, args=(iter(items), made, room, closed), name="memgan-prefetch", daemon=True)
    thread.start()
    try:
        while (item := made.get()) is not None:
            room.release()
            yield item.result()
            del item  # or it would live until the next one is there
    finally:
        closed.set()
        room.release()
        thread.join()


def _make(
    source: Iterator[T],
    made: "queue.SimpleQueue[Future[T] | None]",
    room: threading.Semaphore,
    closed: threading.Event,
) -> None:
    """What the thread does: an item into ``made`` whenever there is room, and ``None`` after the last."""
    with contextlib.ExitStack() as at_the_end:
        at_the_end.callback(made.put, None)
        at_the_end.callback(getattr(source, "close", lambda: None))
        while room.acquire() and not closed.is_set():
            item: Future[T] = Future()
            try:
                item.set_result(next(source))
            except StopIteration:
                return
            except BaseException as error:  # whatever it is: who waits for the item hears of it
                item.set_exception(error)
                made.put(item)
                return
            made.put(item)
            del item
