"""Runs procedures on one clock in one thread: one, or any number of them side by side.

Signals arrive here, and only here: `Interrupted` is raised in the procedure, where it waits. It closes the procedures
that run side by side: none of them goes on while the step cleans up.
"""

from __future__ import annotations

import math
import threading
from typing import TYPE_CHECKING, Generic, TypeVar

from coval_gate.clock import Interrupted
from coval_gate.waiting import Wait

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from coval_gate.clock import Clock
    from coval_gate.waiting import Procedure

T = TypeVar("T")


def run(procedure: Procedure[T], clock: Clock) -> T:
    """Run a procedure to its end. Returns what it returns, raises what it raises.

    A signal raises Interrupted in the procedure, which may catch it and go on.
    """
    try:
        wait = next(procedure)
        while True:
            try:
                _pass(wait, clock)
            except Interrupted as signal:
                wait = procedure.throw(signal)
            else:
                wait = next(procedure)
    except StopIteration as end:
        result: T = end.value
        return result
    finally:
        procedure.close()


def together(
    procedures: Iterable[Procedure[T]], clock: Clock, *, at_once: int | None = None
) -> Procedure[list[T | Exception]]:
    """Run procedures side by side, each as if it were alone; together they take as long as the longest.

    At most `at_once` of them run at the same time; the next one begins when one has ended. Returns, in their order,
    what each returned, or the exception that it raised: one that fails does not hold up the others.
    """
    tasks = [_Task(procedure, clock) for procedure in procedures]
    try:
        while running := [task for task in tasks if not task.result][:at_once]:
            for task in running:
                task.resume_if_due()
            waits = [task for task in running if not task.result]
            if len(waits) == len(running):
                next_due = min(task.due for task in waits)
                yield Wait(max(0.0, next_due - clock.now()), tuple(call for task in waits for call in task.wait.calls))
        return [task.result[0] for task in tasks]
    finally:
        for task in tasks:
            task.procedure.close()


def all_or_first_error(results: Sequence[T | Exception]) -> list[T]:
    """Return what procedures returned, unless one of them raised: then raise the first error."""
    for result in results:
        if isinstance(result, Exception):
            raise result
    return [result for result in results if not isinstance(result, Exception)]


class _Task(Generic[T]):
    """A running procedure: what it waits for, until when, and in the end its result."""

    def __init__(self, procedure: Procedure[T], clock: Clock) -> None:
        self.procedure = procedure
        self.wait = Wait(0.0)
        self.due = -math.inf
        self.result: list[T | Exception] = []
        self._clock = clock

    def resume_if_due(self) -> None:
        """Go on with the procedure if what it waits for has happened."""
        if self._clock.now() < self.due and not any(call.ended for call in self.wait.calls):
            return
        try:
            self.wait = next(self.procedure)
            self.due = self._clock.now() + self.wait.seconds
        except StopIteration as end:
            self.result.append(end.value)
        except Exception as error:  # noqa: BLE001 - returned to the caller, after the others have ended
            self.result.append(error)


def _pass(wait: Wait, clock: Clock) -> None:
    """Let what a procedure waits for happen. Raises Interrupted, before a call begins as well."""
    if not wait.calls:
        clock.sleep(wait.seconds)
        return
    if all(call.started for call in wait.calls):
        clock.check()
    due = clock.now() + wait.seconds
    ended = threading.Event()
    for call in wait.calls:
        if not call.started:
            clock.check()
        call.start(ended)
    while clock.now() < due and not any(call.ended for call in wait.calls):
        clock.wait(ended, due)
