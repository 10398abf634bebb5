"""Mutation testing of the campaign: each mutant breaks the code on purpose, and the campaign must catch it.

Each mutant changes a function or a constant in a separate process (`python tests/campaign --mutant NAME`). There the
campaign runs until an invariant is violated.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from argparse import ArgumentParser
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).parent.parent))

from collections.abc import Callable

from campaign.sabotage import Break, ReplaceFunction, SetConstant, returns
from coval_gate.base import times
from coval_gate.base.schedule import Procedure
from coval_gate.base.transport import Server
from coval_gate.ci.host import Console
from coval_gate.coval.client import uncertain_after
from coval_gate.coval.errors import response_problem
from coval_gate.gate import baseline as judge_baseline
from coval_gate.gate import judge, population, repetition
from coval_gate.gate.kinds import ThresholdHolds
from coval_gate.gate.variants import Sample
from coval_gate.gate.verdict import Verdict
from coval_gate.history import baseline, standing
from coval_gate.history import search as history
from coval_gate.history.tags import branch_tag_of
from coval_gate.inputs.parsing import NO_MATRIX, matrix_of
from coval_gate.step import cancel, cleanup, follow, look, modes, watch
from coval_gate.step import settle as flow_standing
from coval_gate.step.launch import Launcher
from coval_gate.step.leg import Trial
from coval_gate.step.lost import EarlierRuns
from coval_gate.step.pages import KeptPage, PagePublisher
from coval_gate.step.post import post
from coval_gate.step.step import Step

MAX_SCHEDULES: Final = 1000  # schedules that a mutant may survive, as many as `make long` runs
VIOLATION: Final = re.compile(r"^seed (\d+): (\w+): ", re.MULTILINE)
SCHEDULES: Final = re.compile(r"^campaign: ([\d,]+) schedules", re.MULTILINE)


@dataclass(frozen=True)
class Mutant:
    """One way to break the code, and the invariants that are expected to catch it.

    `campaign` selects other schedules, such as "--legs" or "--attach".
    """

    name: str
    invariants: tuple[str, ...]
    breaks: tuple[Break, ...]
    campaign: str = ""

    def apply(self) -> None:
        """Break the code of this process. Raises LookupError if a break does not apply."""
        for install in [change.prepare() for change in self.breaks]:
            install()


@dataclass(frozen=True)
class MutantOutcome:
    """The outcome of a mutant: the invariants that caught it, the seed and the number of schedules, or an error."""

    mutant: Mutant
    invariants: tuple[str, ...] = ()
    seed: str = ""
    schedules: str = ""
    error: str = ""

    @property
    def is_caught(self) -> bool:
        """Return whether one of the expected invariants caught it."""
        return not self.error and any(invariant in self.mutant.invariants for invariant in self.invariants)

    def __str__(self) -> str:
        detail = self.error or f"{', '.join(self.invariants)} (seed {self.seed}, schedule {self.schedules})"
        mark = "caught  " if self.is_caught else "SURVIVED" if not self.invariants else "BY CHANCE"
        return f"{mark} {self.mutant.name:<58} {detail}"


def mutant(name: str, *breaks: Break, caught_by: str, campaign: str = "") -> Mutant:
    """Build a row of the table below; `caught_by` names invariants."""
    return Mutant(name, tuple(caught_by.split()), breaks, campaign)


def take_for_done(page: str) -> Callable[..., Procedure[bool]]:
    """Show the report on all pages, and say that one of them needs no later attempt."""

    def show(
        original: Callable[..., Procedure[bool]], self: PagePublisher, kept: KeptPage, *args: object, **rest: object
    ) -> Procedure[bool]:
        return (yield from original(self, kept, *args, **rest)) or kept.page.input == page

    return show


MUTANTS: Final = (
    mutant(
        "retry a launch without a search for its run",
        ReplaceFunction(Launcher._find_lost, returns(None)),
        caught_by="one_launch_per_step no_orphaned_run run_belongs_to_step",
    ),
    mutant(
        "retry a launch after any error",
        ReplaceFunction(uncertain_after, returns(None)),
        caught_by="one_launch_per_step",
    ),
    mutant(
        "never resume",
        ReplaceFunction(EarlierRuns.to_resume, returns(None)),
        caught_by="rerun_resumes",
    ),
    mutant(
        "take the jobs of a matrix for one",
        ReplaceFunction(matrix_of, returns(NO_MATRIX)),
        caught_by="run_belongs_to_step rerun_resumes only_own_runs_are_cancelled check_run_is_final",
    ),
    mutant(
        "never supersede",
        ReplaceFunction(EarlierRuns.supersede, returns(None)),
        caught_by="superseded_runs_are_cancelled",
    ),
    mutant(
        "trust an outdated poll",
        SetConstant(cancel, "MAX_POLL_AGE", 1e9),
        caught_by="finished_runs_are_kept",
    ),
    mutant(
        "save the state only after the launch",
        ReplaceFunction(Trial.guard, lambda original, self, **given: original(self, **given) if self.run_id else None),
        caught_by="no_orphaned_run",
    ),
    mutant(
        "do not cancel the run after an interrupt",
        ReplaceFunction(cleanup._leaves, lambda original, *given: given[-1] == "cancelled" or original(*given)),
        caught_by="no_orphaned_run",
    ),
    mutant(
        "skip the post step",
        ReplaceFunction(post, returns(0)),
        caught_by="no_orphaned_run",
    ),
    mutant(
        "take as long after an interrupt as without one",
        SetConstant(times, "HURRIED_CALLING", times.CANCELLING),
        caught_by="time_limits_are_kept",
    ),
    mutant(
        "skip the last poll",
        ReplaceFunction(
            watch._poll,
            lambda original, session, run_id, *, last, **rest: (
                returns(last)(original)
                if last and session.clock.now() >= session.deadline
                else original(session, run_id, last=last, **rest)
            ),
        ),
        caught_by="last_poll_at_deadline hanging_poll_is_not_the_last",
    ),
    mutant(
        "take a 5xx for a 400",
        ReplaceFunction(
            response_problem,
            lambda original, request, response, **rest: original(
                request, response._replace(status=400) if response.status >= 500 else response, **rest
            ),
        ),
        caught_by="verdict_matches_run",
    ),
    mutant(
        "take an impossible comparison for one that did not occur",
        ReplaceFunction(Sample.impossible, returns(())),
        caught_by="no_pass_without_data",
    ),
    mutant(
        "ignore missing values",
        ReplaceFunction(judge._gaps, returns(None)),
        caught_by="no_pass_without_data",
    ),
    mutant(
        "take the listed simulations for all",
        ReplaceFunction(
            population.population,
            lambda original, run, simulations, criteria: population.Population(len(simulations), certain=True),  # noqa: ARG005
        ),
        caught_by="pass_rests_on_everything verdict_matches_run",
    ),
    mutant(
        "ignore errors that Coval reports",
        ReplaceFunction(look._reported_error, returns("")),
        caught_by="no_pass_without_data",
    ),
    mutant(
        "write the run id only at the end",
        ReplaceFunction(Step.record_id, lambda _, self, *__: self.save()),
        caught_by="outputs_are_complete",
    ),
    mutant(
        "repeat an API key in a response",
        ReplaceFunction(Console.redact, lambda _, self, text: text),  # noqa: ARG005
        ReplaceFunction(Server.without_credential, lambda _, self, body: body),  # noqa: ARG005
        caught_by="api_key_does_not_leak",
    ),
    mutant(
        "conclude without the final commit status",
        ReplaceFunction(PagePublisher._set, take_for_done("commit_status")),
        caught_by="status_is_final",
    ),
    mutant(
        "take a threshold without a baseline as met",
        ReplaceFunction(judge_baseline._verdict_without, returns(Verdict.PASSED)),
        caught_by="baseline_decides_nothing_alone verdict_matches_run",
    ),
    mutant(
        "let any run take the tag",
        SetConstant(standing, "pull_request_of", returns(None)),
        SetConstant(standing, "branch_tag_of", lambda run: branch_tag_of(run) or "any"),
        ReplaceFunction(flow_standing._is_of_branch, returns(value=True)),
        caught_by="tag_is_taken_by_rule",
    ),
    mutant(
        "take the tag although enough runs have it",
        SetConstant(standing, "counting", returns(())),
        caught_by="tag_is_taken_by_rule",
    ),
    mutant(
        "accept without taking the tag from others",
        ReplaceFunction(standing._take_from_others, returns(None)),
        caught_by="accepted_run_stands_alone",
    ),
    mutant(
        "count a run that a comparison failed",
        SetConstant(baseline, "FAILED", ""),
        caught_by="baseline_decides_nothing_alone verdict_matches_run",
    ),
    mutant(
        "soften a threshold that is decided as counted",
        ReplaceFunction(ThresholdHolds.is_sampled, returns(value=True)),
        caught_by="no_pass_without_data verdict_matches_run",
    ),
    mutant(
        "judge the last repetition alone",
        ReplaceFunction(repetition.pool_of, lambda original, results: original(results[-1:])),
        caught_by="no_pass_without_data pass_rests_on_everything mutations_are_told_apart verdict_matches_run",
    ),
    mutant(
        "let the first leg decide",
        ReplaceFunction(modes._gravest, lambda original, step: step.legs[0].outcome or original(step)),
        caught_by="green_only_if_all_legs_are_good legs_agree_with_outputs",
        campaign="--legs",
    ),
    mutant(
        "launch more simulations than the inputs allow",
        ReplaceFunction(modes._prepare, returns(None)),
        caught_by="too_large_step_launches_nothing",
        campaign="--legs",
    ),
    mutant(
        "pass without the base",
        ReplaceFunction(judge_baseline._verdict_without, returns(Verdict.INCONCLUSIVE)),
        caught_by="each_leg_needs_its_base",
        campaign="--base",
    ),
    mutant(
        "take the oldest run of a source for the newest",
        ReplaceFunction(history._newest_first, lambda original, runs: original(runs)[::-1]),
        caught_by="newest_run_is_judged",
        campaign="--newest",
    ),
    mutant(
        "judge before the tag comes",
        SetConstant(follow, "TAG_LAG", 0.0),
        caught_by="answered_run_is_judged answered_run_has_its_verdict",
        campaign="--attach",
    ),
)


def run(arguments: list[str]) -> int:
    """Run the mutants; return 1 if one survives."""
    parser = ArgumentParser(prog="python tests/campaign/mutants.py", description=__doc__)
    parser.add_argument("names", nargs="*", help="parts of the names of mutants to run (all)")
    parser.add_argument(
        "--schedules", type=int, default=MAX_SCHEDULES, help=f"schedules that a mutant may survive ({MAX_SCHEDULES:,})"
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="parallel mutants (one for each core)")
    options = parser.parse_args(arguments)
    chosen = [row for row in MUTANTS if not options.names or any(word in row.name for word in options.names)]
    outcomes = []
    with ThreadPoolExecutor(options.jobs) as pool:
        for outcome in pool.map(lambda row: run_mutant(row, options.schedules), chosen):
            outcomes.append(outcome)
            sys.stdout.write(f"{outcome}\n")
            sys.stdout.flush()
    caught = sum(outcome.is_caught for outcome in outcomes)
    sys.stdout.write(f"mutants: {caught} of {len(outcomes)} caught\n")
    return 0 if outcomes and caught == len(outcomes) else 1


def run_mutant(mutant: Mutant, schedules: int) -> MutantOutcome:
    """Run the campaign against a mutant until it is caught."""
    command = [
        sys.executable,
        str(Path(__file__).parent),
        "--mutant",
        mutant.name,
        "--stop",
        "--schedules",
        str(schedules),
        *mutant.campaign.split(),
    ]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    return _outcome(mutant, process)


def _outcome(mutant: Mutant, process: subprocess.CompletedProcess[str]) -> MutantOutcome:
    checked = SCHEDULES.search(process.stdout)
    if not checked:
        return MutantOutcome(mutant, error=f"the campaign failed: {process.stderr.strip().splitlines()[-1:]}")
    violations = VIOLATION.findall(process.stdout)
    if not violations:
        return MutantOutcome(mutant, error=f"survived {checked[1]} schedules")
    invariants = tuple(dict.fromkeys(invariant for _, invariant in violations))
    return MutantOutcome(mutant, invariants, violations[0][0], checked[1])


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
