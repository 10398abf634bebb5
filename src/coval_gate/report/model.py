"""What all formats show: a step's judgement, its legs, and where it ran."""

from __future__ import annotations

from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING

from coval_gate.base.records import NamedTuple
from coval_gate.ci.host import Context
from coval_gate.coval.model import Details

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from coval_gate.coval.model import Run, RunResult, TrendRun
    from coval_gate.gate.checks import Totals
    from coval_gate.gate.compared import Standing
    from coval_gate.gate.findings import Findings
    from coval_gate.gate.judgement import Judgement
    from coval_gate.gate.variants import Variant
    from coval_gate.gate.verdict import Verdict
    from coval_gate.inputs.inputs import Inputs
    from coval_gate.report.document.step import Document


class RunReport(NamedTuple):
    """A run by itself. `status`: what Coval reported last; `verdict`: on this run alone."""

    run_id: str
    run_url: str
    status: str
    verdict: Verdict | None


class BaseReport(NamedTuple):
    """The agent beside which the leg's agent is tested, and its first run; `run_id` is empty before the launch."""

    name: str
    agent_id: str
    planned: int | None = None
    run_id: str = ""
    run_url: str = ""
    again: tuple[str, ...] = ()
    """The ids of its repetitions."""


class _LegFields(NamedTuple):
    judgement: Judgement
    name: str = ""
    ids: Mapping[str, str] = MappingProxyType({})
    planned: int | None = None
    run_id: str = ""
    run_url: str = ""
    run: Run | None = None
    result: RunResult | None = None
    details: Details = Details()
    standing: Standing | None = None
    trend: tuple[TrendRun, ...] = ()
    single_runs: tuple[RunReport, ...] = ()
    dashboard_url: str = ""
    own_findings: Findings | None = None
    base: BaseReport | None = None
    inputs: Inputs | None = None
    attached: bool | None = None
    agent_type_is_known: bool = True
    names: Mapping[str, str] = MappingProxyType({})


class LegReport(_LegFields):
    """A leg of the step: the last known state of its first run, the result of its runs, and their judgement.

    `name`: empty for the only leg. `ids`: the agent, persona and test set that the step asked for. `planned`: how many
    simulations its first run was to have. `run_id`: empty if the launch was refused. `result` and `judgement` cover all
    runs that count, `single_runs` has each by itself. `standing`: what the run is to later ones, if the step changed
    that. `trend`: the last runs, newest first. `dashboard_url`: the base of the runs' pages; empty where it is unknown.
    `inputs`: the step's, with the leg's own values; None if the step's count. `attached`: whether a job answered its
    first run; None if Coval itself reaches the agent, or `agent_type_is_known` is False. `names`: what Coval calls the
    agent, persona, test set and base agent, by the inputs of their ids, as far as the key may read them.
    """

    @property
    def runs(self) -> tuple[RunReport, ...]:
        """The run and its repetitions; empty if the launch was refused."""
        status = self.run.status if self.run else ""
        alone = RunReport(run_id=self.run_id, run_url=self.run_url, status=status, verdict=self.judgement.verdict)
        return self.single_runs or ((alone,) if self.run_id else ())

    @cached_property
    def totals(self) -> Totals | None:
        """Of a leg that was not judged, those of its last poll, with none passed."""
        if self.judgement.totals or not (self.run and self.run.progress):
            return self.judgement.totals
        from coval_gate.gate.checks import Totals  # not needed before the launch, whose start is measured

        polled = self.run.progress.in_simulations(self.planned)
        return Totals(total=polled.total, completed=polled.completed, unlisted=polled.total)

    @property
    def pass_rate(self) -> float | None:
        """None for a leg that was not judged."""
        return self.judgement.totals.pass_rate if self.judgement.totals else None

    @cached_property
    def findings(self) -> Findings:
        from coval_gate.gate.findings import findings_of  # not needed before the launch, whose start is measured

        return self.own_findings or findings_of(self.judgement, self.result)

    @cached_property
    def case_name(self) -> Callable[[str], str]:
        from coval_gate.report.compose.words import case_names

        return case_names(self.details.labels)

    @cached_property
    def variants(self) -> tuple[Variant, ...]:
        """Empty without a result."""
        if self.judgement.variants or self.result is None:
            return self.judgement.variants
        # The step was interrupted between collecting and judging.
        from coval_gate.gate.variants import variants_of

        return variants_of(self.result)


class _ReportFields(NamedTuple):
    judgement: Judgement
    legs: tuple[LegReport, ...] = ()
    context: Context = Context()
    inputs: Inputs | None = None
    wrong: Mapping[str, str] = MappingProxyType({})
    began: str = ""
    seconds: float = 0.0
    comment_url: str = ""
    files: Mapping[str, str] = MappingProxyType({})


class Report(_ReportFields):
    """The end of a step, which began at `began` (ISO 8601, UTC).

    `judgement` is of the step as a whole and decides the check. With one leg it is that leg's, unless something went
    wrong afterwards. `legs`: empty if the step had no run. `wrong`: the texts of inputs that are not valid. `files`:
    paths relative to the workspace, by input.
    """

    @cached_property
    def document(self) -> Document:
        """Everything that formats show."""
        from coval_gate.report.compose.step import document_of  # not needed before the launch, whose start is measured

        return document_of(self)

    def with_file(self, name: str, path: str) -> Report:
        """Return the report with the path of a file, of which the document does not tell."""
        report = self._replace(files={**self.files, name: path})
        report.__dict__.update(self.__dict__)
        return report

    @property
    def run_id(self) -> str:
        """The id of the first leg's run; empty where there is none."""
        return self.legs[0].run_id if self.legs else ""

    @property
    def run_url(self) -> str:
        return self.legs[0].run_url if self.legs else ""

    @property
    def run_ids(self) -> list[str]:
        """The ids of all runs: the first ones of all legs, those of their bases, and then the repetitions."""
        bases = [leg.base for leg in self.legs if leg.base]
        first = [leg.run_id for leg in self.legs] + [base.run_id for base in bases]
        again = [run.run_id for leg in self.legs for run in leg.runs[1:]] + [
            id_ for base in bases for id_ in base.again
        ]
        return list(dict.fromkeys(run_id for run_id in first + again if run_id))
