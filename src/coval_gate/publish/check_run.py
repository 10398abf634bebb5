"""Keeps the check run of a commit: in progress from the launch on, and completed with the verdict.

Its id, and all that completes it, are in the step's state, so that the post step can do what this step could not. A
later step with mode wait finds it by its name and its external id, which is the id of the run in Coval.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Final

from coval_gate.ci.github.check_runs import CheckAnnotation, CheckRun
from coval_gate.config.inputs import Problem
from coval_gate.errors import GitHubError, RunnerError
from coval_gate.judge.verdict import Verdict
from coval_gate.publish.github import may_be_located, tolerant
from coval_gate.report.formats import Surface, rendered
from coval_gate.text import folded, json_in, quoted, whole_number

if TYPE_CHECKING:
    from coval_gate.ci.context import Context
    from coval_gate.ci.host import Host
    from coval_gate.clock import Clock
    from coval_gate.config.inputs import Inputs
    from coval_gate.publish.github import Reach
    from coval_gate.report.formats.check import CheckOutput
    from coval_gate.report.model import Report
    from coval_gate.waiting import Procedure

OWED: Final = "check"  # the name of the state that holds the check run as the post step has to complete it
ID: Final = "check_id"  # the name of the state that holds its id on GitHub
CONCLUDED: Final = "check_concluded"  # the name of the state that says that it needs no completing


class CheckRunPublisher:
    """Creates the check run of a step, and completes it."""

    def __init__(self, host: Host, clock: Clock, reach: Reach) -> None:
        self._host = host
        self._clock = clock
        self._reach = reach
        self._references: tuple[str, ...] = ()
        self._owed: CheckRun | None = None
        self._shown: CheckRun | None = None  # what GitHub shows
        self._id: int | None = None
        self._forbidden = False
        self._may_be_several = False  # a request to create it got no response, and may take effect later

    def is_open(self, inputs: Inputs) -> bool:
        """Tell the post step whether the check run still has to be completed."""
        return bool(inputs.check_run) and inputs.mode != "cancel" and self._host.read_state(CONCLUDED) != "true"

    @property
    def is_saved(self) -> bool:
        """Whether the main step saved what the post step has to do, and for which commit."""
        owed = read_owed(self._host.read_state(OWED))
        return owed is not None and bool(owed.sha)

    def owe(self, report: Report) -> None:
        """Hand what completes the check run to the post step, in case this step cannot do it.

        Where the run is only launched, a later step completes the check run, perhaps before the post step runs.
        """
        if report.judgement.verdict is None:
            self._save({CONCLUDED: "true"})
        if not (_is_wanted(report) and report.judgement.verdict and may_be_located(report)):
            return
        from coval_gate.report.formats.check import brief

        owed = self._check_run(report, brief(report))
        if owed != self._owed:
            self._owed = owed
            self._save({OWED: json.dumps(asdict(owed))})

    def announce(self, report: Report, *, until: float) -> Procedure[None]:
        """Create the check run, in progress."""
        if self._is_possible(report):
            from coval_gate.report.formats.check import brief

            yield from self._set(report, self._check_run(report, brief(report)), until=until)

    def conclude(self, report: Report, *, until: float) -> Procedure[None]:
        """Complete the check run; one that is only launched stays in progress, for a later step."""
        if report.inputs is None or not report.inputs.check_run:
            return
        if report.judgement.verdict is None:
            yield from self.announce(report, until=until)
            return
        if self._is_possible(report):
            check = self._check_run(report, rendered(Surface.CHECK, report))
            is_done = yield from self._set(report, check, until=until)
            is_done = is_done and not self._may_be_several  # the post step looks for another one
        else:
            is_done = not (_is_wanted(report) and may_be_located(report))
        if is_done:
            self._save({CONCLUDED: "true"})

    def close(self, report: Report, *, until: float) -> Procedure[None]:
        """Complete the check run as the main step saved it; if it saved nothing, as `report` says."""
        from coval_gate.report.formats.check import brief

        owed = read_owed(self._host.read_state(OWED))
        if owed and not owed.sha:
            if not report.context.sha_is_known:
                return  # the main step has said so
            here = self._check_run(report, brief(report))
            owed = replace(owed, sha=here.sha, name=here.name)
        if owed is None and not self._is_possible(report):
            return
        self._id = whole_number(self._host.read_state(ID))
        check = owed or self._check_run(report, brief(report))
        yield from self._set(report, check, until=until, may_exist=True)

    def _is_possible(self, report: Report) -> bool:
        """Return whether the step is to have a check run and can have one; if it cannot, say so."""
        inputs = report.inputs
        return _is_wanted(report) and inputs is not None and self._reach.knows_commit(report.context, inputs)

    def _check_run(self, report: Report, output: CheckOutput) -> CheckRun:
        from coval_gate.report.formats.check import check_name

        redact = self._host.redact
        reference = redact(_reference(report))
        self._references = (*(each for each in self._references if each != reference), reference)
        return CheckRun(
            sha=report.context.sha if report.context.sha_is_known else "",
            name=redact(check_name(report)),
            references=self._references,
            conclusion=output.conclusion,
            title=redact(output.title),
            summary=redact(output.summary),
            annotations=tuple(
                CheckAnnotation(redact(each.file), redact(each.title), redact(each.message))
                for each in output.annotations
            ),
            launched_as=redact(report.inputs.check_run) if report.inputs and report.inputs.mode == "wait" else "",
        )

    def _set(self, report: Report, check: CheckRun, *, until: float, may_exist: bool = False) -> Procedure[bool]:
        """Create or update the check run. Returns False if a later attempt may succeed."""
        if self._forbidden or check == self._shown or report.inputs is None:
            return True
        if not (github := self._reach.github(report.context, report.inputs)):
            return True
        context, inputs = report.context, report.inputs
        setting = github.set_check_run(
            check,
            id_=self._id,
            search=inputs.mode == "wait" or context.run_attempt != "1",
            may_exist=may_exist or self._may_be_several,
            until=until,
        )
        with tolerant(self._host):
            had_several, self._may_be_several = self._may_be_several, self._may_be_several or self._id is None
            try:
                self._id, creations = yield from setting
            except GitHubError as error:
                if error.forbidden:
                    self._forbidden, self._may_be_several = True, had_several
                raise
            self._may_be_several = had_several or creations > 1
            self._shown = check
            self._save({ID: str(self._id)})
            return True
        return self._forbidden

    def _save(self, state: dict[str, str]) -> None:
        with suppress(RunnerError):
            self._host.save_state(state)


def name_problems(inputs: Inputs, context: Context) -> list[Problem]:
    """Return what is wrong with the name of the check run."""
    if not _is_job(inputs, context):
        return []
    problem = (
        f"must differ from the job's id, {quoted(context.job)}: GitHub shows the job as a check of that name, and a "
        "branch that requires it could not tell the two apart."
    )
    return [Problem("check_run", problem)]


def read_owed(text: str) -> CheckRun | None:
    """Read the check run that the main step saved; None if it saved none, or it cannot be read."""
    given = json_in(text)
    references = given.get("references") if isinstance(given, dict) else None
    if not references or not isinstance(references, list):
        return None
    try:
        check = CheckRun(**given | {"references": tuple(references), "annotations": ()})
    except TypeError:
        return None
    texts = (check.sha, check.name, check.conclusion, check.title, check.summary, check.launched_as, *references)
    return check if all(isinstance(each, str) for each in texts) else None


def _is_wanted(report: Report) -> bool:
    """Return whether the step is to have a check run. One that evaluates nothing must not satisfy a branch."""
    inputs = report.inputs
    if inputs is None or not inputs.check_run or inputs.mode == "cancel":
        return False
    return report.judgement.verdict is not Verdict.SKIPPED and not _is_job(inputs, report.context)


def _is_job(inputs: Inputs, context: Context) -> bool:
    return bool(inputs.check_run) and folded(inputs.check_run) == folded(context.job)


def _reference(report: Report) -> str:
    """Return the id of the run in Coval; without a run, what tells this step and attempt from all others."""
    inputs, context = report.inputs, report.context
    waits_for = inputs.run_id[0] if inputs and inputs.mode == "wait" and inputs.run_id else ""
    return report.run_id or waits_for or f"{context.run_id}.{context.run_attempt}/{context.job}/{context.step}"
