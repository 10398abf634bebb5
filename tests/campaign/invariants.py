"""The invariants that must hold after every schedule: one function for each promise, which yields its violations.

They know nothing of the implementation: they check the requests that Coval received, its runs, and the files written.
"""

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from campaign import of_reports, of_runs, of_tags, of_verdicts
from campaign.simulate import History

INVARIANTS: Final[tuple[Callable[[History], Iterator[str]], ...]] = (
    of_runs.one_launch_per_trial,
    of_runs.run_belongs_to_step,
    of_runs.rerun_resumes,
    of_runs.no_repetition_in_vain,
    of_runs.look_ups_are_patient,
    of_runs.doomed_step_costs_nothing,
    of_runs.few_runs_are_under_way,
    of_runs.no_orphaned_run,
    of_runs.left_repetitions_are_ended,
    of_runs.second_runs_are_ended,
    of_runs.superseded_runs_are_cancelled,
    of_runs.hopeless_run_is_given_up,
    of_runs.only_own_runs_are_cancelled,
    of_runs.no_cancel_without_reason,
    of_runs.finished_runs_are_kept,
    of_verdicts.green_rests_on_good_runs,
    of_verdicts.green_rests_on_everything,
    of_verdicts.no_verdict_on_the_agent_without_the_tag,
    of_verdicts.verdict_matches_run,
    of_verdicts.legs_are_told,
    of_verdicts.legs_agree_with_outputs,
    of_verdicts.newest_run_is_judged,
    of_verdicts.baseline_counts,
    of_verdicts.counts_add_up,
    of_verdicts.reason_matches_verdict,
    of_verdicts.late_values_are_waited_for,
    of_verdicts.certain_ends_come_soon,
    of_verdicts.last_poll_at_deadline,
    of_verdicts.hanging_poll_is_not_the_last,
    of_verdicts.time_limits_are_kept,
    of_tags.failed_run_is_marked,
    of_tags.tag_is_taken_by_rule,
    of_tags.only_acceptance_takes_tag_away,
    of_tags.accepted_run_stands_alone,
    of_tags.step_without_acceptance_is_red,
    of_tags.only_own_runs_are_marked,
    of_tags.other_tags_are_kept,
    of_reports.outputs_are_complete,
    of_reports.annotations_tell_once,
    of_reports.api_key_does_not_leak,
    of_reports.status_is_final,
    of_reports.check_run_is_final,
    of_reports.check_runs_are_completed,
    of_reports.one_check_run_per_launch,
    of_reports.post_step_is_quiet,
)


class Violation(NamedTuple):
    """A violated invariant, and how it was violated."""

    invariant: str
    problem: str

    def __str__(self) -> str:
        return f"{self.invariant}: {self.problem}"


def violations(history: History) -> list[Violation]:
    """Return all violations of a schedule."""
    return [Violation(invariant.__name__, problem) for invariant in INVARIANTS for problem in invariant(history)]
