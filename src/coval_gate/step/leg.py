"""Legs, what a step evaluates, and trials: what is known of one run of a leg, and what the step still owes it.

Signals and the post step do the duties of a trial, whatever its phase. The post step learns of them if this process
cannot do them: whatever changes them is saved at once. The state that it reads is a JSON list for each trial.
"""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from enum import StrEnum
from itertools import product
from types import MappingProxyType
from typing import Any, Final

from coval_gate.base.errors import GateError, RunnerError
from coval_gate.base.schedule import BackgroundCall
from coval_gate.coval.client import Launch
from coval_gate.coval.model import Details, LaunchRequest, Run, RunProgress, RunResult, TrendRun
from coval_gate.gate.findings import Findings
from coval_gate.gate.judgement import Judgement
from coval_gate.gate.verdict import Cancellation, Outcome
from coval_gate.history.standing import Standing
from coval_gate.history.tags import Tags
from coval_gate.inputs.checks import acts_as
from coval_gate.inputs.inputs import LABELS, LAUNCH_IDS, LAUNCHING_MODES, WHAT, Inputs, LegInputs, effective

NO_TAGS: Final = Tags("")  # of a run that was launched elsewhere
LEGS: Final = "legs"  # the name of the state
MODE: Final = "mode"  # likewise, of the main step's mode


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


class Trial:
    """What is known of one run so far.

    `number`: 0 for the leg's first run, 1 for its first repetition or second slice, and so on. `request`: what to
    launch, with its tags; None for a run that was launched elsewhere. `launches`: the attempts at it, whose responses
    may still come. `resumed`: an earlier attempt launched the run. `known_since`, on the clock: when `run_id` became
    known. `run`: as the last poll showed it. `over_since`, on the clock: when a poll first showed that it is over.
    `most_failed`: of all polls, the progress with the most failed simulations. `judgement` is about this run alone.
    `attached`: whether a job answered its simulations; None if Coval itself reaches the agent, as far as is known.
    `is_given_up`: the step ends the run whatever its verdict. `ended`: what became of a run that the step stopped
    waiting for. `slot`: the number of its place in the saved state, if it has one. `save` hands phase and duties to the
    post step, and may raise RunnerError.
    """

    def __init__(
        self,
        *,
        leg: str = "",
        number: int = 0,
        is_slice: bool = False,
        request: LaunchRequest | None = None,
        ids: Mapping[str, str] | None = None,
        tags: Tags = NO_TAGS,
        save: Callable[[], None] = lambda: None,
    ) -> None:
        self.leg = leg
        self.number = number
        self.is_slice: Final = is_slice
        self.request = request
        self.ids: Final = ids or (request.ids if request else {})
        self.tags: Final = tags
        self.launches: list[Launch] = []
        self.phase = Phase.PLANNED
        self.duties = frozenset[Duty]()
        self.run_id = ""
        self.known_since = 0.0
        self.resumed = False
        self.run: Run | None = None
        self.over_since: float | None = None
        self.most_failed: RunProgress | None = None
        self.judgement: Judgement | None = None
        self.attached: bool | None = None
        self.agent_type = ""  # empty: unknown
        self.is_given_up = False
        self.ended: Cancellation | None = None
        self.slot: int | None = None
        self.save: Final = save

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
        self.run_id, self.resumed, self.run = "", False, None
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
    try:
        return tuple(_restored(entry, now) for entry in json.loads(text))
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError):
        return ()


def _restored(entry: Any, now: float) -> Trial:
    leg, key, run_id, ids = entry["leg"], entry["key"], entry["run_id"], entry["ids"]
    if not all(isinstance(text, str) for text in (leg, key, run_id, *ids.values())):
        raise TypeError("these are texts")
    trial = Trial(leg=leg, ids=ids, tags=Tags(key))
    trial.phase, trial.duties = Phase(entry["phase"]), frozenset(map(Duty, entry["duties"]))
    trial.identify(run_id, at=now)
    return trial


class Leg:
    """An agent, a persona and a test set with their criteria, and what its trials show.

    `name` distinguishes the legs of a step, but people read its title; it is empty if there is only one. `beginning`:
    of the title, before the names of the ids in `differing`, by their inputs. `key`: its name in the file, or all of
    its ids; metadata of its runs contain it. `result` and `judgement` are about all trials together. `error`: the
    judgement of a leg that ended in an error, perhaps after its runs were judged. `leftovers`: repetitions of earlier
    attempts that nothing needs, by their ids. `details`: what is known of the simulations beyond their values. `trend`:
    the last runs before the first one. `standing`: what the first run is to later ones, if the step changed that.
    `planned`: how many simulations each of its runs has, or all of its slices at the most, if that is known. `slices`:
    with `spend: until clear`, the test cases of each. `taken_over`: runs of the first slices, of an earlier attempt.
    `is_listed`: the configuration file lists it. `base`: the leg of the agent that this one is compared with, which
    others may share.
    """

    is_base = False

    def __init__(
        self,
        inputs: Inputs,
        name: str = "",
        key: str = "",
        *,
        beginning: str = "",
        differing: Mapping[str, str] = MappingProxyType({}),
        is_listed: bool = False,
        base: "Base | None" = None,
    ) -> None:
        self.inputs = inputs
        self.name: Final = name
        self.key: Final = key or name
        self.beginning: Final = beginning
        self.differing: Final = differing
        self.is_listed: Final = is_listed
        self.base: Final = base
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
        self.slices: tuple[tuple[str, ...], ...] = ()
        self.taken_over: Sequence[Run | None] = ()
        self.is_done = False
        self.is_ending = False  # runs that it gave up are being cancelled

    @property
    def outcome(self) -> Judgement | None:
        """The judgement that counts for the step."""
        return self.error or self.judgement

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


class Base(Leg):
    """The leg of an agent that others are compared with. Its run is compared with no other, and never a baseline.

    `name`: empty if the step has only one. `outcomes` are those of its trials, or what went wrong. `wanted`: how many
    trials it is to have.
    """

    is_base = True

    def __init__(self, inputs: Inputs, name: str, key: str, beginning: str, differing: Mapping[str, str]) -> None:
        inputs = inputs._replace(base_agent_id="", baseline=None, accept=False)
        name, key, beginning = (_named("base", text) for text in (name, key, beginning))
        super().__init__(inputs, name, key, beginning=beginning, differing=differing)
        self.outcomes: list[Outcome | GateError] = []
        self.wanted = 1


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
                name = _named(given.name, *others.values())
                key = name if given.name else _named(*base_ids)
                named = {"agent_id": base_agent_id, **others}
                own = Base(_with_ids(given.inputs, base_ids), name, key, given.name, named)
                runs = [getattr(own.inputs, name) for name in what_runs]
                base = next((base for same, base in bases if same == runs), own)
                bases.append((runs, base))
            name = _named(given.name, *differing.values())
            key = name if given.name else _named(*ids)
            own_inputs, is_listed = _with_ids(given.inputs, ids), bool(given.name)
            leg = Leg(own_inputs, name, key, beginning=given.name, differing=differing, is_listed=is_listed, base=base)
            legs.append(leg)
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
        titles[leg.name] = _named(*parts) or leg.name
    repeated = Counter(titles.values())
    return {name: title if repeated[title] == 1 else name for name, title in titles.items()}


def _named(*parts: str) -> str:
    return " · ".join(filter(None, parts))


def _with_ids(inputs: Inputs, ids: tuple[str, ...]) -> Inputs:
    agent_id, persona_id, test_set_id = ((id_,) if id_ else () for id_ in ids)
    return inputs._replace(agent_id=agent_id, persona_id=persona_id, test_set_id=test_set_id)


def for_each_case(inputs: Inputs) -> int:
    """Return how many simulations each test case has: those of the agent and of its mutations."""
    return inputs.iteration_count * (1 + len(set(inputs.mutation_ids)))
