"""Legs, what a step evaluates, and trials: what is known of one run of a leg, and what the step still owes it.

Signals and the post step do the duties of a trial, whatever its phase. The post step learns of them if this process
cannot do them: whatever changes them is saved at once. The state that it reads is a JSON list for each trial.
"""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import product
from typing import TYPE_CHECKING, Any, ClassVar, Final

from coval_gate.base.errors import GateError, RunnerError
from coval_gate.base.schedule import BackgroundCall
from coval_gate.coval.client import Launch
from coval_gate.coval.model import Details, LaunchRequest, Run, RunProgress, RunResult
from coval_gate.gate.criteria import KnownCheck
from coval_gate.gate.findings import Findings
from coval_gate.gate.judgement import Judgement
from coval_gate.gate.verdict import Cancellation, Outcome
from coval_gate.history.tags import Tags
from coval_gate.inputs.checks import acts_as
from coval_gate.inputs.inputs import LABELS, LAUNCH_IDS, LAUNCHING_MODES, WHAT, Inputs, LegInputs, effective

if TYPE_CHECKING:
    from coval_gate.features.comparisons.standing import Standing
    from coval_gate.features.known_failures.entries import KnownFailure

MOST_NAMED: Final = 5  # entries of a list in a message
NO_TAGS: Final = Tags("")  # of a run that was launched elsewhere
LEGS: Final = "legs"  # the name of the state
MODE_STATE: Final = "mode"  # likewise, of the main step's mode


class Phase(StrEnum):
    PLANNED = "planned"
    LAUNCHED = "launched"  # or about to be
    FOLLOWED = "followed"  # a poll has shown it
    OVER = "over"  # it needs no cancelling: it ended, was never launched, or is left to others


class Duty(StrEnum):
    """What is still to be done about a run."""

    CANCEL = "cancel"
    CANCEL_OTHERS = "cancel others"  # a launch that was given up for lost may have begun a second run
    MARK = "mark"  # the run is no baseline, and does not have the mark yet


MAY_OWE: Final = {
    Phase.PLANNED: frozenset[Duty](),
    Phase.LAUNCHED: frozenset({Duty.CANCEL, Duty.CANCEL_OTHERS}),
    Phase.FOLLOWED: frozenset(Duty),
    Phase.OVER: frozenset({Duty.CANCEL_OTHERS, Duty.MARK}),
}


@dataclass(eq=False)
class Trial:
    """What is known of one run so far. Times are on the clock."""

    leg: str = ""
    number: int = 0  # 0 for the leg's first run, 1 for its first repetition or second slice, and so on
    is_slice: bool = False
    request: LaunchRequest | None = None  # what to launch; None for a run that was launched elsewhere
    ids: Mapping[str, str] = field(default_factory=dict)  # of the request
    tags: Tags = NO_TAGS
    save: Callable[[], None] = lambda: None  # hands phase and duties to the post step; may raise RunnerError
    launches: list[Launch] = field(default_factory=list)  # the attempts at it, whose responses may still come
    phase: Phase = Phase.PLANNED
    duties: frozenset[Duty] = frozenset()
    run_id: str = ""
    known_since: float = 0.0  # when the id became known
    resumed: bool = False  # an earlier attempt launched the run
    kept_from: int | None = None  # the number of the attempt that launched it, if it is judged again
    run: Run | None = None  # as the last poll showed it
    over_since: float | None = None  # when a poll first showed that it is over
    most_failed: RunProgress | None = None  # of all polls, the progress with the most failed simulations
    judgement: Judgement | None = None  # about this run alone
    attached: bool | None = (
        None  # whether a job answered it; None if Coval itself reaches the agent, as far as is known
    )
    agent_type: str = ""  # empty: unknown
    is_given_up: bool = False  # the step ends the run whatever its verdict
    ended: Cancellation | None = None  # what became of a run that the step stopped waiting for
    slot: int | None = None  # the number of its place in the saved state, if it has one

    @property
    def repeats(self) -> bool:
        """Whether it repeats the leg's first run, so that the step has a verdict without it."""
        return self.number > 0 and not self.is_slice

    @property
    def is_given(self) -> bool:
        """Whether the run was launched elsewhere."""
        return not self.tags.key

    @property
    def open_calls(self) -> tuple[BackgroundCall[Any], ...]:
        """What to wait for while responses to launches may still come."""
        return tuple(call for launch in self.launches if (call := launch.open_call))

    @property
    def sent_tags(self) -> tuple[str, ...]:
        return () if self.resumed else self.tags.to_send

    @property
    def is_active(self) -> bool:
        """Whether the run goes on, as far as is known."""
        return self.phase in (Phase.LAUNCHED, Phase.FOLLOWED)

    @property
    def is_over(self) -> bool:
        return self.run is not None and self.run.is_over

    def identify(self, run_id: str, *, at: float) -> None:
        """`at`: when the id became known, on the clock."""
        self.run_id = run_id
        self.known_since = at

    def forget(self) -> None:
        """Forget a run that another one replaces."""
        self.run_id, self.resumed, self.kept_from, self.run = "", False, None, None
        self.over_since = self.most_failed = None
        self.phase, self.duties = Phase.LAUNCHED, self.duties & MAY_OWE[Phase.LAUNCHED]

    def see(self, run: Run, *, at: float) -> None:
        """Record what a poll showed `at` that time on the clock."""
        self.run = run
        self.over_since = (at if self.over_since is None else self.over_since) if run.is_over else None
        progresses = filter(None, (self.most_failed, run.progress))
        self.most_failed = max(progresses, key=lambda progress: progress.failed or 0, default=None)
        if self.phase is Phase.LAUNCHED:
            self.phase = Phase.FOLLOWED

    def guard(self, *, cancel: bool) -> None:
        """Begin to guard the run. `cancel`: the post step must cancel it. Raises RunnerError."""
        self._enter(Phase.FOLLOWED if self.run else Phase.LAUNCHED)
        self.duties = self.duties | {Duty.CANCEL} if cancel else self.duties - {Duty.CANCEL}
        self.save()

    def release(self) -> None:
        """Stop guarding: the run needs no cancelling. If this is not saved, the post step checks the run itself."""
        self._enter(Phase.OVER)
        with suppress(RunnerError):
            self.save()

    def owe(self, duty: Duty) -> None:
        """Raises RunnerError."""
        if duty not in MAY_OWE[self.phase]:
            raise ValueError(f"a run that is {self.phase} owes no duty to {duty}")
        if duty not in self.duties:
            self.duties |= {duty}
            self.save()

    def settle(self, duty: Duty) -> None:
        """Note that a duty is done. If this is not saved, the post step finds nothing to do."""
        if duty in self.duties:
            self.duties -= {duty}
            with suppress(RunnerError):
                self.save()

    def _enter(self, phase: Phase) -> None:
        self.phase, self.duties = phase, self.duties & MAY_OWE[phase]


def state_name(slot: int) -> str:
    """Each run has a state of its own: else each change would save those of all others again."""
    return f"{LEGS}_{slot}" if slot else LEGS


def write_state(trial: Trial) -> str:
    state = {
        "leg": trial.leg,
        "key": trial.tags.key,
        "run_id": trial.run_id,
        "ids": dict(trial.ids),
        "phase": trial.phase,
        "duties": sorted(trial.duties),
    }
    return json.dumps([state] if trial.duties else [])


def read_state(text: str, *, now: float) -> tuple[Trial, ...]:
    """Return nothing if it cannot be read. The trials' ids become known `now`."""
    trials: list[Trial] = []
    try:
        for entry in json.loads(text):
            leg, key, run_id, ids = entry["leg"], entry["key"], entry["run_id"], entry["ids"]
            if not all(isinstance(part, str) for part in (leg, key, run_id, *ids.values())):
                return ()
            phase, duties = Phase(entry["phase"]), frozenset(map(Duty, entry["duties"]))
            tags = Tags(key)
            trials.append(Trial(leg, ids=ids, tags=tags, phase=phase, duties=duties, run_id=run_id, known_since=now))
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError):
        return ()
    return tuple(trials)


@dataclass(eq=False)
class Leg:
    """An agent, a persona and a test set with their criteria, and what its trials show.

    `result` and `judgement` are about all trials together.
    """

    inputs: Inputs
    name: str = ""  # distinguishes the legs of a step, but people read its title; empty if there is only one
    key: str = ""  # its name in the file, or all of its ids; metadata of its runs contain it
    beginning: str = ""  # of the title, before the names of the ids in `differing`
    differing: Mapping[str, str] = field(default_factory=dict)  # ids by their inputs
    is_listed: bool = False  # the configuration file lists it
    base: "Base | None" = None  # the leg of the agent that this one is compared with, which others may share
    trials: list[Trial] = field(default_factory=list)
    result: RunResult | None = None
    judgement: Judgement | None = None
    error: Judgement | None = None  # of a leg that ended in an error, perhaps after its runs were judged
    findings: Findings | None = None
    details: Details | None = None  # what is known of the simulations beyond their values
    standing: "Standing | None" = None  # what the first run is to later ones, if the step changed that
    planned: int | None = None  # simulations of each of its runs, or of all its slices at the most; None if unknown
    slices: tuple[tuple[str, ...], ...] = ()  # with `spend: until clear`, the test cases of each
    taken_over: Sequence[Run | None] = ()  # runs of earlier attempts in place of those with the same numbers
    known: "tuple[KnownFailure, ...]" = ()  # those that have an effect
    known_checks: tuple[KnownCheck, ...] = ()  # what only its run can show of them
    is_done: bool = False
    is_ending: bool = False  # runs that it gave up are being cancelled

    is_base: ClassVar = False

    @property
    def outcome(self) -> Judgement | None:
        """The judgement that counts for the step."""
        return self.error or self.judgement

    @property
    def left(self) -> list[int]:
        """The numbers of the first run, or of the slices, for which no run was taken over."""
        taken = [number for number, run in enumerate(self.taken_over) if run]
        return [number for number in range(len(self.slices) or 1) if number not in taken]

    @property
    def is_kept(self) -> bool:
        """Whether earlier attempts completed all that it may launch."""
        most = len(self.slices) or 1 + self.inputs.repeat_on_failure
        return [run is not None and run.is_over for run in self.taken_over] == [True] * most

    @property
    def to_launch(self) -> int | None:
        """How many simulations the step launches for the leg now, or at the most; None if unknown."""
        return None if self.planned is None else sum(self.size_of(number) or 0 for number in self.left)

    def size_of(self, number: int) -> int | None:
        """Return how many simulations the run of the trial with that number has, if that is known."""
        if not self.slices or self.planned is None:
            return self.planned
        return self.planned * len(self.slices[number]) // sum(map(len, self.slices))

    def conclude(self, judgement: Judgement) -> None:
        """Replace the judgement that counts for the step."""
        if self.error:
            self.error = judgement
        else:
            self.judgement = judgement

    def take(self, trials: Sequence[Trial]) -> None:
        self.trials = [*trials]
        for number, trial in enumerate(trials):
            trial.leg, trial.number = self.name, number

    @property
    def first(self) -> Trial:
        """Raises IndexError before the launch."""
        return self.trials[0]


@dataclass(eq=False)
class Base(Leg):
    """The leg of an agent that others are compared with. Its run is compared with no other, and never a baseline."""

    outcomes: list[Outcome | GateError] = field(default_factory=list)  # of its trials, or what went wrong
    wanted: int = 1  # how many trials it is to have

    is_base: ClassVar = True


def legs_of(parts: Sequence[LegInputs]) -> list[Leg]:
    """Plan each combination of agents, personas and test sets, the last changing fastest.

    A leg's name is the one in the file, and the ids that differ. Legs whose bases run the same share one. Where runs
    are given, ids may be missing; a plan without them has no legs.
    """
    legs: list[Leg] = []
    bases: list[tuple[list[object], Base]] = []
    # What distinguishes the run of a base, and whether it can be used, from those of others.
    names = [declaration.name for declaration in effective() if declaration.group == WHAT]
    what_runs = [name for name in (*names, "max_failed_simulations") if name not in LABELS]
    for given in parts:
        several = [name for name in LAUNCH_IDS if len(getattr(given.inputs, name)) > 1]
        missing = () if acts_as(given.inputs) in LAUNCHING_MODES else ("",)
        for ids in product(*(getattr(given.inputs, name) or missing for name in LAUNCH_IDS)):
            base = None
            differing = {input_: id_ for input_, id_ in zip(LAUNCH_IDS, ids, strict=True) if input_ in several}
            if base_agent_id := given.inputs.base_agent_id:
                base_ids = (base_agent_id, *ids[1:])
                others = {input_: id_ for input_, id_ in differing.items() if input_ != "agent_id"}
                name = _joined(given.name, *others.values())
                own = Base(
                    _with_ids(given.inputs, base_ids)._replace(base_agent_id="", baseline=None, accept=False),
                    _joined("base", name),
                    _joined("base", name if given.name else _joined(*base_ids)),
                    beginning=_joined("base", given.name),
                    differing={"agent_id": base_agent_id, **others},
                )
                runs = [getattr(own.inputs, name) for name in what_runs]
                base = next((base for same, base in bases if same == runs), own)
                bases.append((runs, base))
            name = _joined(given.name, *differing.values())
            key = name if given.name else _joined(*ids)
            own_inputs, is_listed = _with_ids(given.inputs, ids), bool(given.name)
            legs.append(Leg(own_inputs, name, key, given.name, differing, is_listed, base))
    return legs


def titles_of(legs: Sequence[Leg], names: Mapping[tuple[str, str], str]) -> dict[str, str]:
    """Return the titles of legs by their names. `names`: of ids, by input and id; empty where unknown.

    The ids of two agents, personas or test sets with the same name stay beside it.
    """
    namesakes = Counter((input_, name) for (input_, _), name in names.items())
    titles = {}
    for leg in legs:
        parts = [leg.beginning]
        for input_, id_ in leg.differing.items():
            name = names[input_, id_]
            parts.append(f"{name} ({id_})" if name and namesakes[input_, name] > 1 else name or id_)
        titles[leg.name] = _joined(*parts) or leg.name
    repeated = Counter(titles.values())
    return {name: title if repeated[title] == 1 else name for name, title in titles.items()}


def _joined(*parts: str) -> str:
    return " · ".join(filter(None, parts))


def _with_ids(inputs: Inputs, ids: tuple[str, ...]) -> Inputs:
    agent_id, persona_id, test_set_id = ((id_,) if id_ else () for id_ in ids)
    return inputs._replace(agent_id=agent_id, persona_id=persona_id, test_set_id=test_set_id)


def for_each_case(inputs: Inputs) -> int:
    """Return how many simulations each test case has: those of the agent and of its mutations."""
    return inputs.iteration_count * (1 + len(set(inputs.mutation_ids)))
