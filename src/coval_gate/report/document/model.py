"""The input of the document: a step's judgement, its legs, and where it ran."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

from coval_gate.ci.host import Context
from coval_gate.coval.model import Details, Run, RunResult
from coval_gate.gate.findings import Findings, findings_of
from coval_gate.gate.judgement import UNFINISHED_RUN, Judgement
from coval_gate.inputs.inputs import Inputs, SelectedLegs
from coval_gate.report.document.base import SingleRunFacts

if TYPE_CHECKING:
    from coval_gate.features.comparisons.standing import Standing
    from coval_gate.features.nights.document import HistoryDocument

BASE_AGENT: Final = "base_agent_id"  # among the names of a leg
UNFOUND: Final[Findings] = findings_of(UNFINISHED_RUN)  # in place of findings that are not known yet


class LegReport(NamedTuple):
    """A leg of the step: the last known state of its first run, the result of its runs, and their judgement.

    `name`: empty for the only leg; reports show `title` instead, unless it is empty. `ids`: the agent, persona and
    test set that the step asked for. `result` and `judgement` cover all runs that count, `runs` has each by itself; it
    is empty if the launch was refused. `standing`: the run's role for later runs, if the step changed it.
    `dashboard_url`: the base of the runs' pages; empty if unknown. `inputs`: the step's, with the leg's own values;
    None if the step's count. `attached`: whether a job answered its first run; None if Coval itself reaches the agent,
    or `agent_type_is_known` is False. `names`: what Coval calls the agent, persona, test set and base agent, by the
    inputs of their ids, as far as the key may read them.
    """

    judgement: Judgement
    name: str = ""
    title: str = ""
    ids: Mapping[str, str] = MappingProxyType({})
    run: Run | None = None
    result: RunResult | None = None
    details: Details = Details()
    standing: "Standing | None" = None
    runs: tuple[SingleRunFacts, ...] = ()
    dashboard_url: str = ""
    findings: Findings = UNFOUND
    base: "LegReport | None" = None
    inputs: Inputs | None = None
    attached: bool | None = None
    agent_type_is_known: bool = True
    names: Mapping[str, str] = MappingProxyType({})

    @property
    def run_id(self) -> str:
        """Empty where no run was launched."""
        return self.runs[0].id if self.runs else ""

    @property
    def run_url(self) -> str:
        return self.runs[0].url if self.runs else ""


class Report(NamedTuple):
    """The end of a step, which began at `began` (ISO 8601, UTC).

    `judgement` is of the step as a whole and decides the check. With one leg it is that leg's, unless something went
    wrong afterwards. `legs`: empty if the step had no run. `together`: all of them in one comparison, which has no run.
    `wrong`: the texts of inputs that are not valid. `history`: of mode history, which files and summary show instead.
    `selected`: None if only_legs is empty. `planned_simulations`: None if unknown. `attempt`: its number, unless the
    step is the first of its commit.
    """

    judgement: Judgement
    inputs: Inputs
    legs: tuple[LegReport, ...] = ()
    together: LegReport | None = None
    context: Context = Context()
    wrong: Mapping[str, str] = MappingProxyType({})
    history: "HistoryDocument | None" = None
    selected: SelectedLegs | None = None
    planned_simulations: int | None = None
    attempt: int | None = None
    began: str = ""
    seconds: float = 0.0
