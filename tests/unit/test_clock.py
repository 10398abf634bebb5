"""Real time, real signals, real threads."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

from coval_gate.clock import Interrupted, SystemClock

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


def test_no_error_handler_takes_an_interrupt_for_an_error() -> None:
    assert not issubclass(Interrupted, Exception)


def test_nobody_listens_unless_asked_to() -> None:
    before = signal.getsignal(signal.SIGTERM)
    SystemClock().check()
    assert signal.getsignal(signal.SIGTERM) is before
