"""Real time, real signals, real threads."""

import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from coval_gate.base.clock import SIGNALS, Interrupted, SystemClock

SCRIPT = """
import sys
from coval_gate.base.clock import Interrupted, SystemClock
from coval_gate.base.schedule import run
from coval_gate.base.schedule import BackgroundCall, Wait
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
    "sleep": "clock.sleep(600)",
    "call": "import threading; run((wait for wait in [Wait(600, (BackgroundCall(threading.Event().wait),))]), clock)",
}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("wait", WAITS)
def test_first_signal_interrupts_wait_and_second_does_not(wait: str, number: signal.Signals) -> None:
    command = [sys.executable, "-c", SCRIPT.format(wait=WAITS[wait])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "listening\n"
        process.send_signal(number)
        assert process.stdout.readline() == "interrupted\n"
        process.send_signal(number)
        assert process.stdout.readline() == "went on\n"
        assert process.wait(60) == 0


@pytest.fixture
def listening() -> Iterator[SystemClock]:
    """A clock that handles this process's signals; the previous handlers are restored afterwards."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    clock = SystemClock()
    clock.listen()
    yield clock
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", SIGNALS)
def test_first_signal_is_raised_in_sleep_and_second_is_not(listening: SystemClock, number: signal.Signals) -> None:
    signal.raise_signal(number)
    with pytest.raises(Interrupted):
        listening.sleep(600)
    signal.raise_signal(number)
    listening.check()
    listening.sleep(0.01)


def test_system_clock_sleeps_in_real_time() -> None:
    clock = SystemClock()
    now, at = clock.now(), clock.time()
    clock.sleep(0.15)
    assert clock.now() - now >= 0.15
    assert clock.time() > at


def test_interrupted_is_no_exception_subclass() -> None:
    assert not issubclass(Interrupted, Exception)


def test_signal_handlers_are_unchanged_without_listen() -> None:
    before = signal.getsignal(signal.SIGTERM)
    SystemClock().check()
    assert signal.getsignal(signal.SIGTERM) is before
