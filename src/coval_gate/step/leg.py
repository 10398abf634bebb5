"""Legs: what a step evaluates. A leg has trials, the records of its runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from coval_gate.base.errors import GateError
from coval_gate.coval.model import Details, RunResult, TrendRun
from coval_gate.gate.verdict import Outcome
from coval_gate.inputs.inputs import Inputs, ids_of
from coval_gate.step.trial import Trial

if TYPE_CHECKING:
    from coval_gate.gate.compared import Standing
    from coval_gate.gate.findings import Findings
    from coval_gate.gate.judgement import Judgement


class Leg:
    """An agent, a persona and a test set with their criteria, and what its trials show.

    `name` distinguishes the legs of a step; it is empty if there is only one. `key`: its name in the file, or all of
    its ids; metadata of its runs contain it. `result` and `judgement` are about all trials together. `error`: the
    judgement of a leg that ended in an error, perhaps after its runs were judged. `leftovers`: repetitions of earlier
    attempts that nothing needs, by their ids. `details`: what is known of the simulations beyond their values. `trend`:
    the last runs before the first one. `standing`: what the first run is to later ones, if the step changed that.
    `planned`: how many simulations each of its runs has, if that is known. `is_listed`: the configuration file lists
    it. `base`: the leg of the agent that this one is compared with, which others may share. `outcomes` are those of a
    base's trials, or what went wrong; `wanted`: how many trials it is to have.
    """

    def __init__(self, inputs: Inputs, name: str = "", key: str = "") -> None:
        self.inputs = inputs
        self.name = name
        self.key = key or name
        self.trials: list[Trial] = []
        self.leftovers: dict[str, Trial] = {}
        self.result: RunResult | None = None
        self.judgement: Judgement | None = None
        self.error: Judgement | None = None
        self.findings: Findings | None = None
        self.details: Details | None = None
        self.trend: tuple[TrendRun, ...] = ()
        self.standing: Standing | None = None
        self.planned: int | None = None
        self.is_done = False
        self.is_ending = False  # runs that it gave up are being cancelled
        self.is_listed = False
        self.base: Leg | None = None
        self.is_base = False
        self.outcomes: list[Outcome | GateError] = []
        self.wanted = 1

    @property
    def outcome(self) -> Judgement | None:
        """The judgement that counts for the step."""
        return self.error or self.judgement

    def conclude(self, judgement: Judgement) -> None:
        """Replace the judgement that counts for the step."""
        if self.error:
            self.error = judgement
        else:
            self.judgement = judgement

    def take(self, trials: Sequence[Trial]) -> None:
        self.trials = [*trials]
        for number, trial in enumerate(trials):
            trial.leg, trial.repetition = self.name, number

    @property
    def first(self) -> Trial:
        """Raises IndexError before the launch."""
        return self.trials[0]


def ids_shown(leg: Leg, trial: Trial) -> dict[str, str]:
    """Return the ids of agent, persona and test set that a run of a leg has; those that the step asks for elsewhere."""
    return {name: getattr(trial.run, name, "") or id_ for name, id_ in ids_of(leg.inputs).items()}
