"""A signal lets the work in hand end; a second one does not wait."""

import os
import signal
import threading

import pytest

from memgan.runtime.signals import StopSignals

NAMES = ("SIGINT", "SIGTERM", "SIGHUP")


@pytest.mark.parametrize("name", NAMES)
def test_the_first_signal_is_noted(name: str) -> None:
    number = getattr(signal, name)
    before = signal.getsignal(number)
    with StopSignals() as stop:
        assert stop.number is None and stop.name == ""
        stop.lets_finish = True
        signal.raise_signal(number)
        assert stop.number == number and stop.name == name
    assert signal.getsignal(number) is before


def test_it_interrupts_what_does_not_look() -> None:
    with StopSignals() as stop, pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGTERM)
    assert stop.number == signal.SIGTERM


def test_the_second_signal_ends_the_process() -> None:
    child = os.fork()
    if child == 0:
        with StopSignals() as stop:
            stop.lets_finish = True
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)
            os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGTERM


def test_what_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopSignals() as stop:
            signal.raise_signal(signal.SIGHUP)
        assert stop.number is None
    finally:
        signal.signal(signal.SIGHUP, before)


def test_threads_other_than_the_main_one_note_none() -> None:
    handlers = []

    def work() -> None:
        with StopSignals():
            handlers.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert handlers == [signal.getsignal(signal.SIGTERM)]
