"""Real time, real signals, real threads."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time

import pytest

from coval_gate.clock import Aside, Interrupted, SystemClock

SCRIPT = """
import sys
from coval_gate.clock import Aside, Interrupted, SystemClock
clock = SystemClock()
clock.listen()
print("listening", flush=True)
try:
    {wait}
except Interrupted:
    print("interrupted", flush=True)
clock.check()
clock.sleep(0.1)
print("went on", flush=True)
"""
WAITS = {
    "sleep": "clock.sleep(60)",
    "request": "import threading; Aside(threading.Event().wait).wait(60, clock)",
}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("wait", WAITS)
def test_a_signal_ends_every_wait_at_once_and_only_once(wait: str, number: signal.Signals) -> None:
    command = [sys.executable, "-c", SCRIPT.format(wait=WAITS[wait])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "listening\n"
        told = time.monotonic()
        process.send_signal(number)
        assert process.stdout.readline() == "interrupted\n"
        assert time.monotonic() - told < 1
        process.send_signal(number)
        assert process.stdout.readline() == "went on\n"
        assert process.wait(5) == 0


def test_work_aside_gives_its_result_its_error_or_nothing() -> None:
    clock, never = SystemClock(), threading.Event()
    assert Aside(lambda: 42).result_within(5, clock) == 42
    with pytest.raises(ZeroDivisionError):
        Aside(lambda: 1 / 0).result_within(5, clock)
    with pytest.raises(TimeoutError):
        Aside(never.wait).result_within(0.05, clock)
    never.set()


def test_no_error_handler_takes_an_interrupt_for_an_error() -> None:
    assert not issubclass(Interrupted, Exception)


def test_nobody_listens_unless_asked_to() -> None:
    before = signal.getsignal(signal.SIGTERM)
    SystemClock().check()
    assert signal.getsignal(signal.SIGTERM) is before
