"""Puts a report wherever it belongs: outputs, files, summary, log, and then GitHub's own pages.

What the workflow rests on comes first. An output or a file that was asked for and cannot be written changes the
verdict, because somebody waits for it; nothing else does.
"""

from __future__ import annotations

import traceback
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from coval_gate.ci.workspace import Workspace
from coval_gate.clock import Interrupted
from coval_gate.config.inputs import Problem
from coval_gate.errors import GateError, InternalError, RunnerError
from coval_gate.judge.verdict import Verdict, errored
from coval_gate.publish.pull_request import BUG, NAME, PullRequestPublisher, tolerant
from coval_gate.report.formats.log import annotation, case_annotations, closing_line
from coval_gate.report.formats.outputs import outputs

if TYPE_CHECKING:
    from coval_gate.ci.host import Host
    from coval_gate.config.inputs import Inputs
    from coval_gate.report.model import Report
    from coval_gate.runtime import Runtime


CONCLUDED: Final = "concluded"  # in the state, once the step has a verdict


class Publisher:
    """Writes what a step has to say."""

    def __init__(self, host: Host, runtime: Runtime) -> None:
        self._host = host
        self._workspace = Workspace(runtime.environ)
        self._places: dict[str, str] = {}  # of files, by the input that asks for them
        self.pull_request = PullRequestPublisher(host, runtime)

    def prepare(self, inputs: Inputs) -> list[Problem]:
        """See that every file can be written, before anything costs; returns what is wrong with their paths."""
        problems = []
        for name in ("junit_path", "json_path"):
            if path := getattr(inputs, name):
                try:
                    self._places[name] = self._workspace.place(path)
                except ValueError as problem:
                    problems.append(Problem(name, str(problem)))
        if len(set(self._places.values())) < len(self._places):
            problems.append(Problem("json_path", "is the same as junit_path; give each its own file."))
        return problems

    def write_outputs(self, report: Report) -> None:
        """Set every output. Raises RunnerError."""
        self._host.set_outputs(outputs(report))

    def publish(self, report: Report, *, hurried: bool = False) -> Report:
        """Write the report everywhere, and return it with what came of that."""
        report = self._write(report)
        with suppress(RunnerError):
            self._host.save_state({CONCLUDED: "true"})
        self._summarize(report)
        self._log(report)
        # Who interrupts a step that has come so far takes nothing away from it.
        with suppress(Interrupted, RunnerError):
            if url := self.pull_request.conclude(report, hurried=hurried):
                report = replace(report, comment_url=url)
                self.write_outputs(report)
        self._host.show_outputs(outputs(report))
        return report

    def _write(self, report: Report) -> Report:
        """Outputs and files. A verdict that cannot be handed on is no verdict; the first error says most."""
        written = report
        for write in (self.write_outputs, self._write_junit, self._write_json):
            try:
                written = write(written) or written
            except GateError as error:
                written = self._spoilt(written, error)
            except Exception as error:  # noqa: BLE001 - one face less must not take the others along
                self._host.fold(BUG, traceback.format_exc().splitlines())
                written = self._spoilt(written, InternalError(error))
        if written is not report:
            with suppress(RunnerError):
                self.write_outputs(written)
        return written

    def _spoilt(self, report: Report, error: GateError) -> Report:
        if not report.judgement.lets_pass:
            self._host.annotate("warning", NAME, error.what)
            return report
        spoilt = errored(error)
        return replace(report, judgement=replace(spoilt, checks=report.judgement.checks))

    def _write_junit(self, report: Report) -> Report | None:
        if not (path := self._places.get("junit_path")):
            return None
        from coval_gate.report.formats.junit import junit

        self._workspace.write(path, self._host.redact(junit(report)))
        return replace(report, junit_path=path)

    def _write_json(self, report: Report) -> Report | None:
        if not (path := self._places.get("json_path")):
            return None
        from coval_gate.report.formats.json import document

        self._workspace.write(path, self._host.redact(document(report)))
        return replace(report, json_path=path)

    def _summarize(self, report: Report) -> None:
        if report.inputs and not report.inputs.summary:
            return
        from coval_gate.report.formats.summary import summary

        with tolerant(self._host):
            self._host.add_summary(summary(report))

    def _log(self, report: Report) -> None:
        """The verdict, as an annotation where the step fails, and the worst simulations."""
        judgement = report.judgement
        if report.inputs and not report.inputs.annotations:
            self._host.log(closing_line(report))
        elif not judgement.lets_pass:
            for each in case_annotations(report, self._host.room_for_warnings):
                self._host.annotate("warning", *each)
            self._host.annotate("error", *annotation(report))
        elif judgement.verdict is Verdict.SKIPPED:
            self._host.annotate("notice", *annotation(report))
        else:
            self._host.log(closing_line(report))
