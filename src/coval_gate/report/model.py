"""What every face of a step shows: the judgement, and what it is about."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from coval_gate.ci.context import Context
from coval_gate.model.results import Details

if TYPE_CHECKING:
    from coval_gate.config.inputs import Inputs
    from coval_gate.judge.verdict import Judgement
    from coval_gate.model.results import RunResult
    from coval_gate.model.run import Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The end of a step.

    `run` is what was last seen of the run, `background` what is known of its simulations beyond their values; the
    step began at `began` (ISO 8601, UTC) and took `seconds`. The paths are those of files that were written, relative
    to the workspace.
    """

    judgement: Judgement
    context: Context = field(default_factory=Context)
    run_id: str = ""
    run_url: str = ""
    run: Run | None = None
    result: RunResult | None = None
    background: Details = field(default_factory=Details)
    inputs: Inputs | None = None
    began: str = ""
    seconds: float = 0.0
    comment_url: str = ""
    junit_path: str = ""
    json_path: str = ""

    @property
    def exit_code(self) -> int:
        """0 where the check may be green, 1 otherwise."""
        return 0 if self.judgement.lets_pass else 1
