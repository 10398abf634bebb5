"""What every face of a step shows: the judgement, and what it is about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from coval_gate.coval.models import Run
    from coval_gate.inputs import Inputs
    from coval_gate.judge.verdict import Judgement
    from coval_gate.result import RunResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The end of a step. `run` is what was last seen of the run, `seconds` how long the step took."""

    judgement: Judgement
    run_id: str = ""
    run_url: str = ""
    run: Run | None = None
    result: RunResult | None = None
    inputs: Inputs | None = None
    seconds: float = 0.0

    @property
    def exit_code(self) -> int:
        """0 where the check may be green, 1 otherwise."""
        return 0 if self.judgement.lets_pass else 1
