"""What every format shows of a step: its judgement, its legs, and where it ran."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from coval_gate.ci.context import Context
from coval_gate.model.details import Details

if TYPE_CHECKING:
    from collections.abc import Mapping

    from coval_gate.config.inputs import Inputs
    from coval_gate.judge.judgement import Judgement
    from coval_gate.judge.variants import Variant
    from coval_gate.judge.verdict import Verdict
    from coval_gate.model.promotion import Promotion
    from coval_gate.model.results import RunResult
    from coval_gate.model.run import Run
    from coval_gate.model.trend import TrendRun


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """A run by itself: its page, the status that Coval reported last, and the verdict on it alone."""

    run_id: str
    run_url: str
    status: str
    verdict: Verdict | None


@dataclass(frozen=True, kw_only=True)
class LegReport:
    """A leg of the step: what was last seen of its first run, what its runs produced, and the judgement of them.

    `name` tells legs apart, empty where there is one only; `details` is what is known of the simulations beyond their
    values. `single_runs`: the run and its repetitions, each by itself; `result` and `judgement` are those of all that
    count. `promotion`: what became of it, if the run was to be promoted. `trend`: the last runs, the newest first,
    where a report shows them. `rows`: what `leg_rows` computes once for all formats, by the dashboard's URL.
    """

    judgement: Judgement
    name: str = ""
    run_id: str = ""
    run_url: str = ""
    run: Run | None = None
    result: RunResult | None = None
    details: Details = field(default_factory=Details)
    promotion: Promotion | None = None
    trend: tuple[TrendRun, ...] = ()
    single_runs: tuple[RunReport, ...] = ()
    rows: dict[str, tuple[Any, ...]] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def runs(self) -> tuple[RunReport, ...]:
        """The run, and its repetitions."""
        status = self.run.status if self.run else ""
        alone = RunReport(run_id=self.run_id, run_url=self.run_url, status=status, verdict=self.judgement.verdict)
        return self.single_runs or (alone,)

    @cached_property
    def variants(self) -> tuple[Variant, ...]:
        """The agent and its mutations with their statistics, which are there as soon as there is a result."""
        if self.judgement.variants or self.result is None:
            return self.judgement.variants
        # The step was interrupted between collecting and judging.
        from coval_gate.judge.variants import variants_of

        return variants_of(self.result)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The end of a step.

    `judgement` is that of the step as a whole: it decides the check. With one leg it is that leg's, unless something
    went wrong afterwards; where the step ended before it had a run, there are no legs. The step began at `began`
    (ISO 8601, UTC) and took `seconds`. `files`: the paths of those that were written, relative to the workspace, by the
    input that asked for each.
    """

    judgement: Judgement
    legs: tuple[LegReport, ...] = ()
    context: Context = field(default_factory=Context)
    inputs: Inputs | None = None
    began: str = ""
    seconds: float = 0.0
    comment_url: str = ""
    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def run_id(self) -> str:
        """The id of the first leg's run; empty where there is none."""
        return self.legs[0].run_id if self.legs else ""

    @property
    def run_url(self) -> str:
        """The page of the first leg's run in Coval; empty where there is none."""
        return self.legs[0].run_url if self.legs else ""

    @property
    def run_ids(self) -> list[str]:
        """The ids of all runs, also those of repetitions."""
        return [run.run_id for leg in self.legs for run in leg.runs]

    @property
    def exit_code(self) -> int:
        """0 where the check may be green, 1 otherwise."""
        return 0 if self.judgement.lets_pass else 1
