"""Reads the file that `suite_path` names, and gives runs that were launched elsewhere the criteria in it.

Without the file, such runs may bring thresholds of their own; this module also says what is wrong with them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from coval_gate.base.errors import InputError
from coval_gate.base.text import in_words, quoted
from coval_gate.config.checks import doubtful_thresholds, threshold_warnings, without_effect_on_thresholds
from coval_gate.config.inputs import SUITE, Problem
from coval_gate.config.parsing import KEY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from coval_gate.ci.host import Host
    from coval_gate.config.inputs import Inputs, LegInputs
    from coval_gate.flow.progress import Progress
    from coval_gate.model.run import Run
    from coval_gate.runs.legs import Leg, Session

MOST_NAMED: Final = 5  # legs in an error


def read_file(host: Host, inputs: Inputs) -> tuple[Sequence[LegInputs], Sequence[Problem]]:
    """Return the legs in the file without mistakes, and a problem for each mistake."""
    from coval_gate.config.suite import LARGEST, read_suite  # a step without a file needs none of it

    try:
        contents = host.workspace.read(inputs.suite_path, LARGEST)
    except ValueError as problem:
        return (), (Problem(SUITE, str(problem)),)
    for key in KEY.findall(contents.decode("utf-8", "replace")):
        if host.redact(key) == key:  # the problems may quote it
            host.mask(key)
    return read_suite(contents, inputs, is_json=inputs.suite_path.lower().endswith(".json"))


def judge_by(suite: Sequence[LegInputs], legs: Sequence[Leg]) -> None:
    """Give the legs of runs that were launched elsewhere the inputs of the suite's legs of the same names."""
    by_name = {given.name: given for given in suite}
    for leg in legs:
        if given := by_name.get(leg.name):
            leg.inputs = given.inputs._replace(run_id=leg.inputs.run_id)
        else:
            leg.is_stray = True


def refuse_stray(suite: Sequence[LegInputs], leg: Leg) -> None:
    """Leave a run alone that is no leg of the suite. Raises InputError."""
    if not leg.is_stray:
        return
    run_id = leg.first.run_id
    leg.first.release()
    names = in_words([quoted(given.name) for given in suite], most=MOST_NAMED)
    if leg.name in ("", run_id):
        what = f"cannot be used: Coval does not show which leg run {run_id} is. Its legs are {names}."
    else:
        what = (
            f"has no leg {quoted(leg.name)}, with which run {run_id} was launched; its legs are {names}. Give the step "
            "the file that the runs were launched with."
        )
    raise InputError([Problem(SUITE, what)])


def warn_of_thresholds_left_behind(progress: Progress) -> None:
    """Warn in mode launch of thresholds that the runs cannot carry, so that a later step needs the file."""
    from coval_gate.runs.handover import LONGEST, MOST

    left = [
        quoted(given.name)
        for given, leg in zip(progress.suite, progress.legs, strict=True)
        if given.later and not (given.gates or leg.handed_over)
    ]
    if left:
        progress.warn(
            f"The thresholds of {in_words(left, most=MOST_NAMED)} do not fit into a run's metadata, which take {MOST} "
            f"with up to {LONGEST} characters each. The step that judges these runs needs {SUITE}."
        )


def warn_of_earlier_thresholds(session: Session, leg: Leg, run: Run) -> None:
    """Warn if the run of an earlier attempt brings other thresholds than the file has by now."""
    from coval_gate.runs.handover import has_others

    if has_others(run, leg.handed_over):
        session.warn(
            f"Run {run.run_id} was launched with other thresholds than {quoted(leg.suite)} has for it now. To judge it "
            f"by those of the file, set {SUITE} in the later step."
        )


def warn_of_given_thresholds(progress: Progress) -> None:
    """Warn of what looks like a mistake now that the runs have shown which thresholds they bring."""
    polled = [leg for leg in progress.legs if leg.trials and leg.first.run]
    warned = set(threshold_warnings(progress.inputs))
    unused = [set(without_effect_on_thresholds(leg.inputs)) for leg in polled]
    doubts = [warning for leg in polled for warning in doubtful_thresholds(leg.inputs)]
    everywhere = sorted(set.intersection(*unused)) if unused else []
    for warning in dict.fromkeys((*everywhere, *doubts)):
        if warning not in warned:
            progress.warn(warning)
