"""Who answered the simulations of a run, in English: what was tested, what went wrong, and what to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from coval_gate.base.text import plural, shortened
from coval_gate.judge.problems import NotAttached
from coval_gate.model.attachment import OPEN

if TYPE_CHECKING:
    from collections.abc import Iterator

    from coval_gate.judge.problems import SetUpProblem
    from coval_gate.model.attachment import Answering, Attachment

THIS_COMMIT: Final = "this commit (attached)"
LONGEST_WHY: Final = 200  # characters
HOW: Final = {
    "crashed": "a process crashed",
    "lost": "a relay failed while the conversation went on",
    "refused": "Coval offered no relay that worked",
    "missed": "a conversation was over before a process could attach",
    "attached": "coval-gate attach ended while a conversation went on",
    "waiting": "coval-gate attach ended before it could attach",
}
GONE: Final = "the process of coval-gate attach is gone"
ATTACH: Final = (
    "Run `coval-gate attach` between the step that launches and this one, in the same job and workspace, with the same "
    "run_id, and give this step `if: always()`; examples/own-build.yml shows such a workflow."
)
LOGS: Final = (
    "Look at the log of the `coval-gate attach` step, and at those of its processes in .coval-gate/logs; to keep them, "
    "upload that directory as an artifact."
)


def subject_text(agent: str, base: str, answering: Answering | None, *, changed: str = "") -> str:
    """Return what a run tested. `agent`, `base`: what to call them. `changed`: what the run changed in the agent.

    It names this commit only if a job answered every simulation: otherwise something else may have.
    """
    if answering is None:
        what = f"agent {agent} {changed}" if changed else f"agent {agent}{'' if base else ' as deployed'}"
    elif answering.is_whole:
        what = THIS_COMMIT
    elif answering.answered:
        what = f"agent {agent} (attached to {answering.answered:,} of {plural(answering.total, 'simulation')})"
    else:
        what = f"agent {agent} (not attached)"
    return f"{what} beside {base}" if base else what


def set_up_text(problem: SetUpProblem) -> str:
    """Return the problem in a few words."""
    if isinstance(problem, NotAttached):
        return "no job attached"
    answering = problem.answering
    return f"{answering.answered:,} of {plural(answering.total, 'simulation')} answered"


def set_up_reason(problem: SetUpProblem) -> str:
    """Return the problem as a sentence, without a full stop."""
    if isinstance(problem, NotAttached):
        return (
            "Nothing shows that a job answered the simulations: the agent is of the type SDK_WEBSOCKET, but there is "
            "neither a record of coval-gate attach in the workspace nor its tag on the run"
        )
    answering = problem.answering
    left = max(0, answering.total - answering.answered)
    verb = "was" if left == 1 else "were"
    what = f"{left:,} of {plural(answering.total, 'simulation')} {verb} not answered by this job"
    if not left:
        what = "No simulation was answered by this job"
    why = "; ".join(_why(answering))
    return f"{what}: {why}" if why else what


def _why(answering: Answering) -> Iterator[str]:
    """Yield why simulations were not answered, as clauses: how one of them ended, and how the whole did."""
    ended = bool(answering.problem or answering.is_gone)
    worst = answering.worst
    if worst and not (ended and worst.outcome in OPEN):
        yield _how(worst, answering.crashed)
    if answering.problem:
        yield f"coval-gate attach ended early: {shortened(answering.problem, LONGEST_WHY).rstrip('.')}"
    elif answering.is_gone:
        yield GONE


def _how(one: Attachment, crashed: int) -> str:
    """Return how a simulation ended that was not answered, as a clause."""
    how, error = HOW[one.outcome], shortened(one.error, LONGEST_WHY)
    details = [f"log: {shortened(one.log, LONGEST_WHY)}"] if one.log else []
    if one.outcome == "crashed":
        how = f"{crashed:,} processes crashed" if crashed > 1 else how
        error = f"{', one of them' if crashed > 1 else ''} with {error}" if error else ""
    elif error:
        details, error = [error.rstrip("."), *details], ""
    shown = "; ".join(details)
    return f"{how}{error}{f' ({shown})' if shown else ''}"


def set_up_advice(problem: SetUpProblem) -> str:
    """Return what to do about the problem."""
    return ATTACH if isinstance(problem, NotAttached) else LOGS


def warnings(answering: Answering) -> Iterator[str]:
    """Yield a sentence on each oddity of simulations that were answered; they are judged like any other."""
    if count := answering.ended_early:
        yield (
            f"The handler returned before the conversation ended in {plural(count, 'simulation')}. Coval judges such a "
            "conversation like any other."
        )
    if count := answering.quiet:
        yield (
            f"The agent sent no audio for a while in {plural(count, 'simulation')}. Coval judges such a conversation "
            "like any other."
        )
