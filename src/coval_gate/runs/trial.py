"""A trial: the record of one run that a step launches, waits for or cancels.

The post step reads from it what to do if this process is killed, so every change of that is saved at once.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from coval_gate.errors import RunnerError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from coval_gate.config.inputs import Problem
    from coval_gate.coval.client import Launch
    from coval_gate.coval.launch import LaunchRequest
    from coval_gate.judge.judgement import Judgement
    from coval_gate.model.outcomes import Cancellation
    from coval_gate.model.run import Run
    from coval_gate.runs.tags import Tags
    from coval_gate.waiting import BackgroundCall


class TrialState(NamedTuple):
    """What the post step knows of a trial.

    `leg`: the name of its leg. `ids`: what it evaluates. `cancel`: the post step must cancel the run.
    `launched_again`: it must cancel other runs with the trial's key. `failed`: it must mark the run as failed.
    """

    leg: str
    key: str
    run_id: str
    ids: Mapping[str, str]
    cancel: bool
    launched_again: bool = False
    failed: bool = False


@dataclass(slots=True, kw_only=True)
class Trial:
    """What is known of one run so far.

    `leg` is the name of its leg. `repetition`: 0 for the leg's first run, 1 for its first repetition, and so on.
    `request` is what to launch, with its tags; None for a run that was launched elsewhere. `ids` name the agent,
    persona and test set in it. `launches` are the attempts at it, whose responses may still come. `launched_again`: one
    of them was given up for lost, so a second run may turn up. `resumed`: an earlier attempt launched the run.
    `known_since`, on the clock, is when `run_id` became known; `run` is what the last poll of the run showed, and
    `over_since` when a poll first showed that the run is over, None if it is not. `differences`: what that poll showed
    to differ from the inputs. `judgement` is about this run alone.

    `is_active`: from just before the launch until the run needs no cancelling. `post_cancels`: the post step must
    cancel it. `owes_mark`: the gate failed the run, which does not have the mark yet. `ended`: what became of a run
    that the step stopped waiting for. `save` hands all of it to the post step, and may raise RunnerError.
    """

    leg: str = ""
    repetition: int = 0
    request: LaunchRequest | None = None
    ids: Mapping[str, str] = field(default_factory=dict)
    tags: Tags | None = None
    launches: list[Launch] = field(default_factory=list)
    launched_again: bool = False
    run_id: str = ""
    known_since: float = 0.0
    resumed: bool = False
    run: Run | None = None
    over_since: float | None = None
    differences: tuple[Problem, ...] = ()
    judgement: Judgement | None = None
    is_active: bool = False
    is_cancelling: bool = False
    post_cancels: bool = False
    owes_mark: bool = False
    ended: Cancellation | None = None
    save: Callable[[], None] = lambda: None

    @property
    def key(self) -> str:
        """The tag that only this run has; empty for a run that was launched elsewhere."""
        return self.tags.key if self.tags else ""

    @property
    def open_calls(self) -> tuple[BackgroundCall[Any], ...]:
        """What to wait for while responses to launches may still come."""
        return tuple(call for launch in self.launches if (call := launch.open_call))

    @property
    def sent_tags(self) -> tuple[str, ...]:
        """The tags that this step launched the run with."""
        return () if self.resumed or self.tags is None else tuple(self.tags)

    @property
    def is_over(self) -> bool:
        """Whether the run has ended, as far as is known."""
        return self.run is not None and self.run.is_over

    @property
    def needs_post_step(self) -> bool:
        """Whether the post step has something to do."""
        return self.post_cancels or self.launched_again or self.owes_mark

    @property
    def state(self) -> TrialState:
        """What the post step needs."""
        return TrialState(
            self.leg, self.key, self.run_id, self.ids, self.post_cancels, self.launched_again, self.owes_mark
        )

    def identify(self, run_id: str, *, at: float) -> None:
        """Record the run's id, which became known `at` that time on the clock."""
        self.run_id = run_id
        self.known_since = at

    def forget(self) -> None:
        """Forget a run that another one replaces."""
        self.run_id, self.resumed, self.run, self.over_since = "", False, None, None

    def see(self, run: Run, *, at: float) -> None:
        """Record what a poll showed `at` that time on the clock."""
        self.run = run
        self.over_since = (at if self.over_since is None else self.over_since) if run.is_over else None

    def arm(self, *, cancel: bool) -> None:
        """Begin to guard the run; `cancel` says whether the post step must cancel it. Raises RunnerError."""
        self.is_active, self.post_cancels = True, cancel
        self.save()

    def release(self) -> None:
        """Stop guarding: the run needs no cancelling. If this is not saved, the post step checks the run itself."""
        self.is_active = self.post_cancels = False
        self._try_to_save()

    def expect_another(self) -> None:
        """Note that the run is launched again: a second one may turn up. Raises RunnerError."""
        self.launched_again = True
        self.save()

    def expect_no_other(self) -> None:
        """Note that no second run will turn up. If this is not saved, the post step checks."""
        self.launched_again = False
        self._try_to_save()

    def owe_mark(self, *, owed: bool) -> None:
        """Note whether the run still needs the mark of a failed run. The post step adds a mark that is owed."""
        if owed != self.owes_mark:
            self.owes_mark = owed
            self._try_to_save()

    def _try_to_save(self) -> None:
        with suppress(RunnerError):
            self.save()
