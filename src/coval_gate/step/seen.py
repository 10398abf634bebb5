"""Takes what a poll shows of a run: it must be the run that the inputs mean, and no larger than planned."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from coval_gate.base.errors import InputError
from coval_gate.base.text import in_words, quoted
from coval_gate.ci.host import IS_BASE, LEG, with_run_metadata
from coval_gate.coval.model import Run
from coval_gate.gate.judgement import UNFINISHED
from coval_gate.history.tags import provenance_of
from coval_gate.inputs.inputs import LAUNCH_IDS, Problem, ids_of, noun
from coval_gate.step.leg import Leg
from coval_gate.step.report import report_of
from coval_gate.step.size import check_size
from coval_gate.step.step import LegRun
from coval_gate.step.trial import Trial

MOST_NAMED: Final = 5  # legs in an error
AS_LAUNCHED: Final = "Use the inputs and the configuration file of the launch."


def see(session: LegRun, trial: Trial, run: Run) -> None:
    """Raises InputError if the inputs of mode wait name another run, and GateError if it is larger than planned."""
    step, leg = session.step, session.leg
    trial.see(run, at=session.clock.now())
    check_size(leg, run)
    if trial.is_given:
        if problems := problems_of(leg, run):
            trial.release()  # no run that the user means
            raise InputError(problems)
        step.context = with_run_metadata(step.context, provenance_of(run, step.context.repository))
        step.publisher.pages.owe(report_of(step, UNFINISHED))


def problems_of(leg: Leg, run: Run) -> list[Problem]:
    """Return how a run that was launched elsewhere differs from what the leg would launch, as far as Coval shows."""
    if IS_BASE in run.metadata and not leg.is_base:
        what = (
            f"names run {run.run_id}, which is a base: a step with base_agent_id launched it beside the run that it "
            "tests. Give that step's output run_ids, and its base_agent_id."
        )
        return [Problem("run_id", what)]
    given = ids_of(leg.inputs)
    problems = [
        Problem(
            name,
            f"is {quoted(given[name])}, but run {run.run_id} has {quoted(id_)}; wait for a run with this {noun(name)}, "
            f"or leave {name} empty.",
        )
        for name, id_ in _ids_of(run).items()
        if given[name] not in ("", id_)
    ]
    recorded = recorded_leg(run)
    by_ids = not leg.name and {*_ids_of(run).values()} <= {*recorded.split(" · ")}
    if not problems and recorded not in ("", leg.key) and not by_ids:
        what = (
            f"names run {run.run_id}, which is of {legs_in_words([recorded])}. This step has no such leg. {AS_LAUNCHED}"
        )
        problems = [Problem("run_id", what)]
    return problems


def not_shown(leg: Leg, run: Run) -> str:
    """Return a sentence on the inputs that cannot be compared; empty if Coval shows all of them."""
    names = [name for name, id_ in ids_of(leg.inputs).items() if id_ and name not in _ids_of(run)]
    nouns = in_words([noun(name) for name in names])
    return f"{in_words(names)} cannot be checked: Coval does not show the {nouns} of run {run.run_id}." if names else ""


def _ids_of(run: Run) -> dict[str, str]:
    return {name: id_ for name in LAUNCH_IDS if (id_ := getattr(run, name))}


def recorded_leg(run: Run) -> str:
    """Return the key of the leg in a run's metadata; empty if they do not show it."""
    key = run.metadata.get(LEG)
    return key if isinstance(key, str) else ""


def legs_in_words(legs: Iterable[str]) -> str:
    return in_words([*map(quoted, legs)], most=MOST_NAMED)
