"""Legs: what a step evaluates. A leg has trials, the records of runs; a session is what all work on them shares.

The post step learns from a trial what it must do if this process cannot: whatever changes that is saved at once. The
state that it reads is a JSON list with an entry for each trial.
"""

from __future__ import annotations

import json
import traceback
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

from coval_gate.base.errors import RunnerError
from coval_gate.base.records import NamedTuple
from coval_gate.base.text import json_in, one_line, stopwatch
from coval_gate.ci.host import BUG, NAME
from coval_gate.inputs.inputs import ids_of
from coval_gate.runs.tags import Tags

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from random import Random

    from coval_gate.base.clock import Clock
    from coval_gate.base.errors import GateError
    from coval_gate.base.schedule import BackgroundCall
    from coval_gate.base.times import Times
    from coval_gate.ci.host import Host
    from coval_gate.coval.client import Client, Launch
    from coval_gate.coval.launch import LaunchRequest
    from coval_gate.coval.model import Details, Run, RunProgress, RunResult, TrendRun
    from coval_gate.gate.findings import Findings
    from coval_gate.gate.judgement import Judgement
    from coval_gate.gate.outcome import Cancellation, Outcome
    from coval_gate.history.model import Standing
    from coval_gate.inputs.inputs import Inputs

LEGS: Final = "legs"  # the name of the state
MODE: Final = "mode"  # likewise, of the main step's mode
LONGEST_NAME: Final = 60  # characters of a leg's name before its lines


class TrialState(NamedTuple):
    """`leg`: its name. `launched_again`: the post step must cancel other runs with the key."""

    leg: str
    key: str
    run_id: str
    ids: Mapping[str, str]
    cancel: bool
    launched_again: bool = False
    failed: bool = False


class Trial:
    """What is known of one run so far.

    `repetition`: 0 for the leg's first run, 1 for its first repetition, and so on. `request`: what to launch, with its
    tags; None for a run that was launched elsewhere. `launches`: the attempts at it, whose responses may still come.
    `launched_again`: one of them was given up for lost, so a second run may turn up. `resumed`: an earlier attempt
    launched the run. `known_since`, on the clock: when `run_id` became known. `over_since`: when a poll first showed
    that the run is over. `judgement` is about this run alone. `attached`: whether a job answered its simulations; None
    if Coval itself reaches the agent, as far as is known. `is_active`: from just before the launch until the run needs
    no cancelling. `slot`: the number of its place in the saved state, if it has one. `is_hopeless`: the step gave it
    up, because its simulations fail. `owes_mark`: the run is no baseline, and does not have the mark yet. `ended`: what
    became of a run that the step stopped waiting for. `save` hands all of it to the post step, and may raise
    RunnerError.
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
        self.is_base = False
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
        self.most_failed: RunProgress | None = None  # of all polls, the progress with the most failed simulations
        self.judgement: Judgement | None = None
        self.attached: bool | None = None
        self.agent_type = ""  # empty: unknown
        self.is_active = False
        self.slot: int | None = None
        self.is_cancelling = False
        self.is_hopeless = False
        self.post_cancels = False
        self.owes_mark = False
        self.ended: Cancellation | None = None
        self.save = save

    @property
    def key(self) -> str:
        """The tag that only this run has; empty for a run that was launched elsewhere."""
        return self.tags.key if self.tags else ""

    @property
    def is_given(self) -> bool:
        """Whether the run was launched elsewhere."""
        return self.tags is None

    @property
    def open_calls(self) -> tuple[BackgroundCall[Any], ...]:
        """What to wait for while responses to launches may still come."""
        return tuple(call for launch in self.launches if (call := launch.open_call))

    @property
    def sent_tags(self) -> tuple[str, ...]:
        return () if self.resumed or self.tags is None else self.tags.to_send

    @property
    def is_over(self) -> bool:
        return self.run is not None and self.run.is_over

    @property
    def needs_post_step(self) -> bool:
        return self.post_cancels or self.launched_again or self.owes_mark

    @property
    def state(self) -> TrialState:
        return TrialState(
            self.leg, self.key, self.run_id, self.ids, self.post_cancels, self.launched_again, self.owes_mark
        )

    def identify(self, run_id: str, *, at: float) -> None:
        """`at`: when the id became known, on the clock."""
        self.run_id = run_id
        self.known_since = at

    def forget(self) -> None:
        """Forget a run that another one replaces."""
        self.run_id, self.resumed, self.run, self.over_since, self.most_failed = "", False, None, None, None

    def see(self, run: Run, *, at: float) -> None:
        """Record what a poll showed `at` that time on the clock."""
        self.run = run
        self.over_since = (at if self.over_since is None else self.over_since) if run.is_over else None
        self.most_failed = max(filter(None, (self.most_failed, run.progress)), key=_failed, default=None)

    def arm(self, *, cancel: bool) -> None:
        """Begin to guard the run. `cancel`: the post step must cancel it. Raises RunnerError."""
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
        """If this is not saved, the post step checks whether a second run turned up."""
        self.launched_again = False
        self._try_to_save()

    def owe_mark(self, *, owed: bool) -> None:
        """The post step adds the mark of a run that is no baseline, if it is still owed."""
        if owed != self.owes_mark:
            self.owes_mark = owed
            self._try_to_save()

    def _try_to_save(self) -> None:
        with suppress(RunnerError):
            self.save()


def _failed(progress: RunProgress) -> int:
    return progress.failed or 0


def state_name(slot: int) -> str:
    """Each run has a state of its own: else each change would save those of all others again."""
    return f"{LEGS}_{slot}" if slot else LEGS


def write_state(trial: Trial) -> str:
    return json.dumps([trial.state._asdict()] if trial.needs_post_step else [])


def read_state(text: str, *, now: float) -> tuple[Trial, ...]:
    """Return nothing if it cannot be read. The trials' ids become known `now`."""
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
            trial.leg, trial.is_base, trial.repetition = self.name, self.is_base, number

    @property
    def first(self) -> Trial:
        """Raises IndexError before the launch."""
        return self.trials[0]


def ids_shown(leg: Leg, trial: Trial) -> dict[str, str]:
    """Return the ids of agent, persona and test set that a run of a leg has; those that the step asks for elsewhere."""
    return {name: getattr(trial.run, name, "") or id_ for name, id_ in ids_of(leg.inputs).items()}


class Session(NamedTuple):
    """Calls and waiting end at the `deadline` of the step, or of a part of it.

    `count_polled`: how many runs are polled side by side. `label` begins each line of a leg if there are several.
    """

    client: Client
    host: Host
    clock: Clock
    randomness: Random
    inputs: Inputs
    deadline: float
    times: Times
    count_polled: Callable[[], int] = lambda: 1
    label: str = ""

    def of_leg(self, leg: Leg, *, legs: int, count_polled: Callable[[], int]) -> Session:
        """Of several `legs`, the lines carry the leg's name."""
        session = self._replace(inputs=leg.inputs, count_polled=count_polled)
        if legs == 1 or not leg.name:
            return session
        session = session._replace(label=f"[{one_line(leg.name, LONGEST_NAME)}] ")
        return session._replace(client=self.client.logging_to(session.log))

    def log(self, *lines: str) -> None:
        """Lines may contain foreign text."""
        self.host.quote(*(f"{self.label}{line}" for line in lines))

    def show_progress(self, seconds: float, line: str, *, is_news: bool, is_over: bool) -> None:
        """In a log, show only news."""
        if not self.host.progress(self.label, seconds, line, is_over=is_over) and is_news:
            self.log(f"{stopwatch(seconds):>7}  {line}")

    def warn(self, message: str) -> None:
        self.host.annotate("warning", NAME, f"{self.label}{message}")

    @contextmanager
    def group(self, title: str) -> Iterator[None]:
        """With several legs, the lines mix and cannot be folded."""
        if self.label:
            self.log(title)
            yield
            return
        with self.host.group(title):
            yield

    def report_bug(self) -> None:
        """Log the exception that is being handled."""
        self.host.fold(f"{self.label}{BUG}", traceback.format_exc().splitlines())
