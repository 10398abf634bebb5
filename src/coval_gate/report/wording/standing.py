"""What became of a run's place among baselines, and how to accept it, in English."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from coval_gate.base.text import in_words, one_line, plural
from coval_gate.gate.references import ACCEPT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from coval_gate.gate.compared import Standing
    from coval_gate.gate.judgement import Judgement

    Mark = Callable[[str], str]

MOST_NAMED: Final = 3  # runs


def standing_text(standing: Standing, *, code: Mark = str) -> str:
    if standing.accepted:
        tag = f" Runs that were not accepted with it lost the tag {code(standing.tag)}." if standing.tag else ""
        return f"Accepted: later runs are compared with this one.{tag}"
    return f"It has the tag {code(standing.tag)} now, as {standing.runs:,} of {plural(standing.wanted, 'run')}."


def not_accepted_text(run_id: str) -> str:
    return f"Run {one_line(run_id)} was not accepted: it did not complete, or lacks data. Accept another run."


def not_taken_text(run_id: str, tag: str, why: str, advice: str) -> str:
    return "\n".join(filter(None, (f"Run {one_line(run_id)} could not take the tag {tag}: {why}", advice)))


def fix_or_accept(judgement: Judgement) -> str:
    own = judgement.baseline.acceptable if judgement.baseline else ""
    if not own:
        return f"Fix the agent. If the change is wanted, {ACCEPT} on its branch."
    base = judgement.base.runs if judgement.base else ()
    run_ids = judgement.of_legs.run_ids if judgement.of_legs else (own, *(other.run.run_id for other in base))
    return (
        "Fix the agent, or accept the change: start the workflow by hand with mode: wait, "
        f"run_id: {', '.join(map(one_line, run_ids))} and accept: true. "
        f"Later runs are then compared with {'these' if judgement.of_legs else 'this one'}."
    )


def not_marked_text(run_ids: Sequence[str], why: str, advice: str) -> str:
    text = f"Later runs may be compared with {_runs(run_ids)}, which could not be marked as failed: {why}"
    return "\n".join(filter(None, (text, advice)))


def unjudged_text(run_id: str) -> str:
    return (
        f"Run {run_id} continues in Coval, but this step does not judge it. Once it completes, a baseline given by "
        "branch may use it, even if the agent got worse.\nSet cancel_on_timeout: true, or raise max_wait_time."
    )


def _runs(run_ids: Sequence[str]) -> str:
    return f"run{'s' if len(run_ids) > 1 else ''} {in_words(run_ids, most=MOST_NAMED)}"
