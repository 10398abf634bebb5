"""A leg: what a step evaluates, and the record of its trials."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from coval_gate.config.inputs import Inputs
    from coval_gate.judge.findings import Findings
    from coval_gate.judge.judgement import Judgement
    from coval_gate.model.details import Details
    from coval_gate.model.drift import Drift
    from coval_gate.model.promotion import Promotion
    from coval_gate.model.results import RunResult
    from coval_gate.model.trend import TrendRun
    from coval_gate.runs.trial import Trial


class Leg:
    """An agent, a persona and a test set with their criteria, and what its trials show.

    `inputs` are the step's, with the leg's own values. `name` distinguishes the legs of a step; it is empty if there is
    only one. `trials`: the first run, and its repetitions. `result` and `judgement` are about all trials together.
    `error`: the judgement of a leg that ended in an error, perhaps after its runs were judged. `findings`: what the
    judgement shows, once a report needs it. `leftovers`: repetitions of earlier attempts that nothing needs, by their
    ids. `details`: what is known of the simulations beyond their values. `trend`: the last runs before the first one.
    `drift`: what shows whether the agent drifts, if the user asks for it. `promotion`: what became of the first run, if
    it was to be promoted. `begins`: the tag that the first run gets because no run has it: the reference of drift
    begins with this run.
    """

    def __init__(self, inputs: Inputs, name: str = "") -> None:
        self.inputs = inputs
        self.name = name
        self.trials: list[Trial] = []
        self.leftovers: dict[str, Trial] = {}
        self.result: RunResult | None = None
        self.judgement: Judgement | None = None
        self.error: Judgement | None = None
        self.findings: Findings | None = None
        self.details: Details | None = None
        self.trend: tuple[TrendRun, ...] = ()
        self.drift: Drift | None = None
        self.promotion: Promotion | None = None
        self.begins = ""

    @property
    def outcome(self) -> Judgement | None:
        """The judgement that counts for the step; None before there is one."""
        return self.error or self.judgement

    def conclude(self, judgement: Judgement) -> None:
        """Replace the judgement that counts for the step."""
        if self.error:
            self.error = judgement
        else:
            self.judgement = judgement

    @property
    def first(self) -> Trial:
        """The trial of the first run. Raises IndexError before its launch."""
        return self.trials[0]
