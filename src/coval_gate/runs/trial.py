"""A trial: the record of one run that a step launches, waits for or cancels.

The post step reads from it what to do if this process is killed, so every change of that is saved at once. The state is
a JSON list with an entry for each trial.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from coval_gate.errors import RunnerError
from coval_gate.runs.tags import Tags
from coval_gate.text import json_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from coval_gate.config.inputs import Problem
    from coval_gate.coval.client import Launch
    from coval_gate.coval.launch import LaunchRequest
    from coval_gate.judge.judgement import Judgement
    from coval_gate.model.outcomes import Cancellation
    from coval_gate.model.run import Run
    from coval_gate.waiting import BackgroundCall

LEGS: Final = "legs"  # the name of the state


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

    def __init__(
        self,
        *,
        leg: str = "",
        repetition: int = 0,
        request: LaunchRequest | None = None,
        ids: Mapping[str, str] | None = None,
        tags: Tags | None = None,
        run_id: str = "",
        save: Callable[[], None] = lambda: None,
    ) -> None:
        self.leg = leg
        self.repetition = repetition
        self.request = request
        self.ids = ids or (request.ids if request else {})
        self.tags = tags
        self.launches: list[Launch] = []
        self.launched_again = False
        self.run_id = run_id
        self.known_since = 0.0
        self.resumed = False
        self.run: Run | None = None
        self.over_since: float | None = None
        self.differences: tuple[Problem, ...] = ()
        self.judgement: Judgement | None = None
        self.is_active = False
        self.is_cancelling = False
        self.post_cancels = False
        self.owes_mark = False
        self.ended: Cancellation | None = None
        self.save = save

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
        return () if self.resumed or self.tags is None else self.tags.to_send

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


def write_state(trials: Iterable[Trial]) -> str:
    """Return the state of all trials as JSON."""
    return json.dumps([trial.state._asdict() for trial in trials])


def read_state(text: str, *, now: float) -> tuple[Trial, ...]:
    """Return the trials as the main step saved them; none where it saved none, or the state cannot be read.

    Their ids become known `now`.
    """
    entries = json_in(text)
    states = [_trial_state(entry) for entry in entries] if isinstance(entries, list) else []
    return () if None in states else tuple(_restored(state, now) for state in states if state)


def _trial_state(entry: object) -> TrialState | None:
    try:
        state = TrialState(**entry) if isinstance(entry, dict) else None
    except TypeError:
        return None
    if state is None or not isinstance(state.ids, dict):
        return None
    texts = (state.leg, state.key, state.run_id, *state.ids.values())
    return state if all(isinstance(text, str) for text in texts) else None


def _restored(state: TrialState, now: float) -> Trial:
    trial = Trial(leg=state.leg, ids=state.ids, tags=Tags(state.key))
    trial.launched_again, trial.post_cancels, trial.owes_mark = state.launched_again, state.cancel, state.failed
    trial.identify(state.run_id, at=now)
    return trial
