"""Shows that the campaign has teeth: breaks the code in ways that must not go unnoticed, one at a time.

Each mutant changes a function or a constant in a process of its own (`python tests/campaign --mutant NAME`). There the
campaign plays until a promise is broken.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from argparse import ArgumentParser
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

sys.path.insert(0, str(Path(__file__).parent.parent))

from campaign.sabotage import Condition, Constant, Instead, Value, Without, gives
from coval_gate.ci.console import Console
from coval_gate.coval.client import Client
from coval_gate.coval.errors import response_problem
from coval_gate.judge import gate
from coval_gate.judge.verdict import Judgement
from coval_gate.post import post
from coval_gate.runs import cancel, cleanup, guard, launch, schedule, watch
from coval_gate.runs.cancel import cancel_run
from coval_gate.runs.cleanup import Cleanup
from coval_gate.runs.collect import collect
from coval_gate.runs.find import has_tag, runs_with
from coval_gate.runs.launch import Launcher
from coval_gate.step import Step
from coval_gate.transport import Server

if TYPE_CHECKING:
    from collections.abc import Callable

    from campaign.sabotage import Break
    from coval_gate.clock import Clock
    from coval_gate.waiting import Wait

MOST: Final = 1000  # schedules that a mutant may survive, as many as `make test` plays
VIOLATION: Final = re.compile(r"^seed (\d+): (\w+): ", re.MULTILINE)
PLAYED: Final = re.compile(r"^campaign: ([\d,]+) schedules", re.MULTILINE)


@dataclass(frozen=True)
class Mutant:
    """One way to break the code, and the promises that may catch it.

    It takes two breaks where one guard stands behind another.
    """

    name: str
    promises: tuple[str, ...]
    breaks: tuple[Break, ...]

    def apply(self) -> None:
        """Break the code of this process. Raises LookupError if a break fits nowhere."""
        for each in [each.prepare() for each in self.breaks]:
            each()


@dataclass(frozen=True)
class Fate:
    """What became of a mutant: caught by which promises at which seed after how many schedules, or in trouble."""

    mutant: Mutant
    promises: tuple[str, ...] = ()
    seed: str = ""
    schedules: str = ""
    trouble: str = ""

    @property
    def well(self) -> bool:
        """Whether it was caught, and by a promise that is about it."""
        return not self.trouble and any(each in self.mutant.promises for each in self.promises)

    def __str__(self) -> str:
        how = self.trouble or f"{', '.join(self.promises)} (seed {self.seed}, schedule {self.schedules})"
        mark = "caught  " if self.well else "SURVIVED" if not self.promises else "BY CHANCE"
        return f"{mark} {self.mutant.name:<58} {how}"


def mutant(name: str, *breaks: Break, caught_by: str) -> Mutant:
    """A row of the table below; `caught_by` names promises."""
    return Mutant(name, tuple(caught_by.split()), breaks)


def wait_deafly(original: Callable[[Wait, Clock], None], wait: Wait, clock: Clock) -> None:
    """Wait for calls without asking the clock whether the process was told to end."""
    if not wait.calls:
        original(wait, clock)
        return
    due, ended = clock.now() + wait.seconds, threading.Event()
    for call in wait.calls:
        call.start(ended)
    while clock.now() < due and not ended.wait(0.01):
        pass


MUTANTS: Final = (
    mutant(
        "launch again without looking",
        Instead(Launcher._find_lost, gives(None)),
        caught_by="launched_once no_orphan right_run",
    ),
    mutant(
        "take any listed run for ours",
        Instead(has_tag, gives(value=True)),
        caught_by="right_run ended_only_ours",
    ),
    mutant(
        "trust the tag filter alone",
        Condition(runs_with, mentions="same", value=False),
        caught_by="launched_once no_orphan resumed right_run right_verdict",
    ),
    mutant(
        "repeat a launch whatever happened to it",
        Value(Client._backoff, "arrived", value=False),
        caught_by="launched_once",
    ),
    mutant(
        "take any 503 for Coval's own word that it did nothing",
        Value(response_problem, "is_coval", value=True),
        caught_by="launched_once",
    ),
    mutant(
        "look for a lost launch once, without patience",
        Constant(launch, "SETTLING", 0.0),
        caught_by="launched_once",
    ),
    mutant(
        "resume whatever the earlier attempt launched",
        Value(Launcher.find_earlier, "is_over", value=False),
        caught_by="right_run",
    ),
    mutant(
        "never resume",
        Instead(Launcher.find_earlier, gives(None)),
        caught_by="resumed",
    ),
    mutant(
        "supersede nothing",
        Instead(Launcher.supersede, gives(None)),
        caught_by="superseded",
    ),
    mutant(
        "delete without looking",
        Condition(cancel_run, mentions="is_over", value=False),
        caught_by="finished_stay",
    ),
    mutant(
        "trust a look that took long",
        Constant(cancel, "OLD", 1e9),
        caught_by="finished_stay",
    ),
    mutant(
        "take a 404 for the end of a run that is fresh",
        Constant(guard, "FRESH", -1.0),
        caught_by="no_orphan",
    ),
    mutant(
        "save what is held after the launch only",
        Without(Launcher.launch_guarded, call="arm"),
        caught_by="no_orphan",
    ),
    mutant(
        "leave the run alone when interrupted",
        Instead(Cleanup._is_left, lambda it, self, verdict: verdict == "cancelled" or it(self, verdict)),
        caught_by="no_orphan",
    ),
    mutant(
        "leave the run alone after a timeout",
        Instead(Cleanup._is_left, lambda it, self, verdict: verdict == "timed_out" or it(self, verdict)),
        caught_by="no_orphan",
    ),
    mutant(
        "end the run after every timeout",
        Instead(Cleanup._is_left, lambda it, self, verdict: verdict != "timed_out" and it(self, verdict)),
        caught_by="left_alone",
    ),
    mutant(
        "let the post step do nothing",
        Instead(post, gives(0)),
        caught_by="no_orphan",
    ),
    mutant(
        "let the post step act after every main step",
        Value(post, "cancel", value=True),
        caught_by="post_is_quiet left_alone",
    ),
    mutant(
        "take one's time when interrupted",
        Constant(cleanup, "HURRIED_TIME", cancel.CANCEL_TIME),
        caught_by="in_time",
    ),
    mutant(
        "do not ask for signals while a request is under way",
        Instead(schedule._pass, wait_deafly),
        caught_by="in_time",
    ),
    mutant(
        "drop the final look",
        Instead(
            watch._look,
            lambda it, *args, clock, deadline, last: (
                gives(last)(it)
                if last and clock.now() >= deadline
                else it(*args, clock=clock, deadline=deadline, last=last)
            ),
        ),
        caught_by="not_late",
    ),
    mutant(
        "wait past the deadline",
        Instead(
            watch.watch,
            lambda it, *args, budgets, **rest: it(
                *args, budgets=replace(budgets, deadline=budgets.deadline + budgets.max_wait_time + 60), **rest
            ),
        ),
        caught_by="in_time",
    ),
    mutant(
        "take a 5xx for an answer",
        Instead(
            response_problem,
            lambda it, request, response, **rest: it(
                request, response._replace(status=400) if response.status >= 500 else response, **rest
            ),
        ),
        caught_by="right_verdict",
    ),
    mutant(
        "give up on a run that is not known yet",
        Constant(watch, "NOT_FOUND_PATIENCE", 0.0),
        caught_by="right_verdict",
    ),
    mutant(
        "treat missing as pass",
        Instead(gate._gaps, gives(None)),
        caught_by="no_pass_without_data",
    ),
    mutant(
        "do not wait for values that lag behind",
        Instead(collect, lambda it, *args, grace, **rest: it(*args, grace=0 * grace, **rest)),
        caught_by="right_verdict",
    ),
    mutant(
        "overlook what Coval complains of",
        Condition(gate._population, mentions="complaint", value=False),
        caught_by="no_pass_without_data",
    ),
    mutant(
        "pass a step that timed out",
        Instead(Judgement.lets_pass, lambda it, self: self.verdict == "timed_out" or it(self)),
        caught_by="complete",
    ),
    mutant(
        "tell of the run at the end only",
        Without(Step.record_id, call="set_outputs"),
        caught_by="complete",
    ),
    mutant(
        "repeat the key that an answer repeats",
        Instead(Console.redact, lambda _, self, text: text),  # noqa: ARG005
        Instead(Server.without_credential, lambda _, self, body: body),  # noqa: ARG005
        caught_by="no_secret",
    ),
)


def run(arguments: list[str]) -> int:
    """Try every mutant; 1 if one survives."""
    parser = ArgumentParser(prog="python tests/campaign/mutants.py", description=__doc__)
    parser.add_argument("names", nargs="*", help="words of those to try (all)")
    parser.add_argument("--schedules", type=int, default=MOST, help=f"that one may survive ({MOST:,})")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="mutants at a time (one for each core)")
    given = parser.parse_args(arguments)
    chosen = [each for each in MUTANTS if not given.names or any(word in each.name for word in given.names)]
    fates = []
    with ThreadPoolExecutor(given.jobs) as pool:
        for fate in pool.map(lambda each: try_out(each, given.schedules), chosen):
            fates.append(fate)
            sys.stdout.write(f"{fate}\n")
            sys.stdout.flush()
    caught = sum(fate.well for fate in fates)
    sys.stdout.write(f"mutants: {caught} of {len(fates)} caught\n")
    return 0 if fates and caught == len(fates) else 1


def try_out(mutant: Mutant, schedules: int) -> Fate:
    """Play against a mutant until it is caught."""
    command = [
        sys.executable,
        str(Path(__file__).parent),
        "--mutant",
        mutant.name,
        "--stop",
        "--schedules",
        str(schedules),
    ]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    return _fate(mutant, ended)


def _fate(mutant: Mutant, ended: subprocess.CompletedProcess[str]) -> Fate:
    played = PLAYED.search(ended.stdout)
    if not played:
        return Fate(mutant, trouble=f"the campaign broke down: {ended.stderr.strip().splitlines()[-1:]}")
    found = VIOLATION.findall(ended.stdout)
    if not found:
        return Fate(mutant, trouble=f"survived {played[1]} schedules")
    promises = tuple(dict.fromkeys(promise for _, promise in found))
    return Fate(mutant, promises, found[0][0], played[1])


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
