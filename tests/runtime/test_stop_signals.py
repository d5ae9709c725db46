"""Signals that ask a program to stop."""

import contextlib
import os
import signal
import subprocess
import sys
import threading

import pytest

from memgan.runtime.stop_signals import STOP_SIGNALS, StopSignals, end_by

WAITING = """
import signal, sys, time
from memgan.runtime.stop_signals import StopSignals, end_by
if sys.argv[1] == "ignored":
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
with StopSignals("one more step") as stop:
    print("ready", flush=True)
    while sys.argv[1] == "never" or stop.received is None:
        time.sleep(0.01)
    end_by(stop.received)
"""


def sent(kind: str, *numbers: int) -> tuple[int, str]:
    """Status and standard error of a process that gets signals, each after it has answered the one before."""
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", WAITING, kind], **options) as process:
        assert process.stdout.readline() == "ready\n"
        answers = ""
        for number in numbers[:-1]:
            process.send_signal(number)
            answers += "" if kind == "ignored" else process.stderr.readline() + process.stderr.readline()
        process.send_signal(numbers[-1])
        answers += process.communicate(timeout=20)[1]
        return process.returncode, answers


def test_the_first_signal_is_noted_and_answered() -> None:
    status, answer = sent("once", signal.SIGTERM)
    assert status == 128 + signal.SIGTERM
    assert answer == "\nSIGTERM: one more step; a second signal ends at once\n"


@pytest.mark.parametrize(("first", "second"), [("SIGTERM", "SIGTERM"), ("SIGINT", "SIGTERM"), ("SIGTERM", "SIGINT")])
def test_the_second_signal_ends_at_once(first: str, second: str) -> None:
    status, _ = sent("never", getattr(signal, first), getattr(signal, second))
    assert status == -getattr(signal, second)


def test_an_ignored_signal_stays_ignored() -> None:
    assert sent("ignored", signal.SIGHUP, signal.SIGTERM)[0] == 128 + signal.SIGTERM


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a fork")
def test_the_second_signal_ends_what_was_interrupted() -> None:
    child = os.fork()
    if child == 0:
        with StopSignals("it ends", lets_finish=False):
            with contextlib.suppress(KeyboardInterrupt):
                signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)
            os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGTERM


def test_handlers_are_as_before_and_other_threads_change_none() -> None:
    before = [signal.getsignal(number) for number in STOP_SIGNALS]

    def within() -> None:
        with StopSignals("nothing"):
            assert [signal.getsignal(number) for number in STOP_SIGNALS] == before

    thread = threading.Thread(target=within)
    thread.start()
    thread.join()
    with StopSignals("nothing") as stop:
        assert [signal.getsignal(number) for number in STOP_SIGNALS] != before
    assert [signal.getsignal(number) for number in STOP_SIGNALS] == before and stop.received is None


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_it_interrupts_what_does_not_look_yet(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with StopSignals("nothing", lets_finish=False) as stop, pytest.raises(KeyboardInterrupt):
        signal.raise_signal(number)
    assert stop.received == number and signal.getsignal(number) is before


def test_ctrl_c_ends_as_python_does() -> None:
    with pytest.raises(KeyboardInterrupt):
        end_by(signal.SIGINT)
    with pytest.raises(SystemExit) as end:
        end_by(signal.SIGTERM)
    assert end.value.code == 143
