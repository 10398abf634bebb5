"""Real time, real signals, real threads."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from coval_gate.clock import SIGNALS, Interrupted, SystemClock

if TYPE_CHECKING:
    from collections.abc import Iterator

SCRIPT = """
import sys
from coval_gate.clock import Interrupted, SystemClock
from coval_gate.runs.schedule import run
from coval_gate.waiting import BackgroundCall, Wait
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
    "call": "import threading; run((each for each in [Wait(60, (BackgroundCall(threading.Event().wait),))]), clock)",
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


@pytest.fixture
def listening() -> Iterator[SystemClock]:
    """A clock that takes this process's signals, which are given back afterwards."""
    before = {each: signal.getsignal(each) for each in SIGNALS}
    clock = SystemClock()
    clock.listen()
    yield clock
    for each, handler in before.items():
        signal.signal(each, handler)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_raises_where_something_waits_and_only_once(listening: SystemClock, number: signal.Signals) -> None:
    signal.raise_signal(number)
    with pytest.raises(Interrupted):
        listening.sleep(60)
    signal.raise_signal(number)
    listening.check()
    listening.sleep(0.01)


def test_the_system_clock_sleeps_in_real_time() -> None:
    clock = SystemClock()
    now, at = clock.now(), clock.time()
    clock.sleep(0.15)
    assert 0.15 <= clock.now() - now < 5
    assert at < clock.time() < at + 5


def test_no_error_handler_takes_an_interrupt_for_an_error() -> None:
    assert not issubclass(Interrupted, Exception)


def test_nobody_listens_unless_asked_to() -> None:
    before = signal.getsignal(signal.SIGTERM)
    SystemClock().check()
    assert signal.getsignal(signal.SIGTERM) is before
