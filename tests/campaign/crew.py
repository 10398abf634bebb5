"""Plays many schedules, on every core, and adds up what came of them."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from campaign.draw import draw
from campaign.play import play
from campaign.promises import violations

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from campaign.play import Played, Taken

CHUNK: Final = 25  # schedules that a process takes at a time
TAIL: Final = 25  # lines of each log that are shown
REPLAY: Final = ".venv/bin/python tests/campaign --seed {}"


@dataclass(frozen=True)
class Outcome:
    """What came of one schedule; `account` says all that a person needs, where a promise was broken."""

    seed: int
    broken: tuple[str, ...]
    violations: tuple[str, ...]
    account: str
    faults: int
    signals: int
    story: str
    verdicts: tuple[str, ...]


@dataclass
class Tally:
    """What came of many."""

    schedules: int = 0
    faults: int = 0
    signals: int = 0
    seconds: float = 0.0
    verdicts: Counter[str] = field(default_factory=Counter)
    stories: Counter[str] = field(default_factory=Counter)
    failures: list[Outcome] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        """Count one more."""
        self.schedules += 1
        self.faults += outcome.faults
        self.signals += outcome.signals
        self.verdicts.update(outcome.verdicts)
        self.stories[outcome.story] += 1
        if outcome.violations:
            self.failures.append(outcome)

    def __str__(self) -> str:
        broken = sum(len(each.violations) for each in self.failures)
        verdicts = ", ".join(f"{count:,} {verdict}" for verdict, count in self.verdicts.most_common())
        return (
            f"campaign: {self.schedules:,} schedules, {self.faults:,} faults, {self.signals:,} interrupts and kills "
            f"in {self.seconds:.0f} s: {broken} violations. Steps: {verdicts}."
        )


def campaign(seeds: Sequence[int], *, jobs: int = 0, stop: bool = False) -> Tally:
    """Play the schedules of `seeds` on `jobs` cores (0: on all), with `stop` until the first violation."""
    tally, began = Tally(), time.monotonic()
    for outcome in _outcomes(seeds, jobs or os.cpu_count() or 1):
        tally.add(outcome)
        if stop and outcome.violations:
            break
    tally.failures.sort(key=lambda each: each.seed)
    tally.seconds = time.monotonic() - began
    return tally


def _outcomes(seeds: Sequence[int], jobs: int) -> Iterator[Outcome]:
    if jobs == 1:
        yield from map(outcome_of, seeds)
        return
    chunks = [seeds[start : start + CHUNK] for start in range(0, len(seeds), CHUNK)]
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        for outcomes in pool.map(_outcomes_of, chunks):
            yield from outcomes


def _outcomes_of(seeds: Iterable[int]) -> list[Outcome]:
    return [outcome_of(seed) for seed in seeds]


def outcome_of(seed: int) -> Outcome:
    """Play one schedule."""
    played = play(draw(seed))
    found = violations(played)
    return Outcome(
        seed=seed,
        broken=tuple(dict.fromkeys(each.promise for each in found)),
        violations=tuple(map(str, found)),
        account=account(played) if found else "",
        faults=played.met,
        signals=sum(each.signalled is not None or each.killed is not None for each in played.taken),
        story=played.schedule.story,
        verdicts=tuple(_end(each) for each in played.taken if not each.is_post),
    )


def account(played: Played) -> str:
    """A play, so that a person can see what happened."""
    found = "\n".join(f"  VIOLATION {each}" for each in violations(played))
    return "\n".join(
        [
            str(played.schedule),
            found or "  no violation",
            *(line for taken in played.taken for line in _account_of(taken)),
            f"  replay alone: {REPLAY.format(played.schedule.seed)}",
        ]
    )


def _account_of(taken: Taken) -> Iterator[str]:
    part = "post step of step" if taken.is_post else "step"
    yield f"  {part} {taken.number}, from {taken.began:.2f} s to {taken.ended:.2f} s: {_end(taken)}"
    if taken.signalled is not None:
        yield f"    told to end at {taken.signalled:.2f} s"
    if taken.killed is not None:
        yield f"    killed at {taken.killed:.2f} s"
    yield from (f"    {sent}" for sent in taken.sent)
    lines = taken.log.splitlines()
    yield from (f"    | {line}" for line in (["…"] if len(lines) > TAIL else []) + lines[-TAIL:])
    yield from (f"    ! {line}" for line in taken.crash.splitlines()[-TAIL:])


def _end(taken: Taken) -> str:
    return "killed" if taken.killed is not None else taken.verdict or f"exit {taken.exit_code}"
