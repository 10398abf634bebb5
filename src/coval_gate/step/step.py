"""The record of a step, which the main and the post step share: its context, its inputs, and its legs.

Everything is written down at once: a step may be killed at any time.
"""

import json
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import count, takewhile
from typing import TYPE_CHECKING, Final

from coval_gate.base.runtime import Runtime
from coval_gate.base.schedule import Event
from coval_gate.base.text import one_line
from coval_gate.base.times import Times
from coval_gate.ci import detect_host
from coval_gate.ci.host import BUG, GATE_NAME, Context
from coval_gate.coval.client import Client, Session, Shown, connect
from coval_gate.coval.model import LaunchRequest, Run
from coval_gate.coval.resources import RunTemplate
from coval_gate.gate.criteria import Criteria
from coval_gate.gate.judgement import Judgement
from coval_gate.gate.verdict import Limit
from coval_gate.history.tags import Tags, attempt_of, is_identified
from coval_gate.inputs.inputs import (
    FILE,
    LAUNCHING_MODES,
    NO_FILE,
    UNTIL_CLEAR,
    Inputs,
    InvalidInput,
    SelectedLegs,
    key_in,
    parse_inputs,
)
from coval_gate.step.leg import MODE_STATE, NO_TAGS, Base, Leg, Trial, read_state, state_name, titles_of, write_state
from coval_gate.step.publish import Publisher

if TYPE_CHECKING:
    from coval_gate.features.legs.file import ConfigFile
    from coval_gate.features.nights.document import HistoryDocument

LONGEST_SHOWN_NAME: Final = 60  # characters of an agent's, a persona's or a test set's name


class Step:
    def __init__(self, runtime: Runtime, read: "ConfigFile | None" = None) -> None:
        self.runtime = runtime
        self.read = read  # the configuration file, once it was read
        self.file = NO_FILE
        self.clock = runtime.clock
        self.host = detect_host(runtime)
        self.publisher = Publisher(self.host, runtime)
        self.began = self.clock.now()
        self.began_at = moment_text(self.clock.time())
        self.context = Context()
        self.inputs, _ = parse_inputs({})
        self.wrong: dict[str, str] = {}  # texts of inputs that are not valid
        self.legs: list[Leg] = []
        self.selected: SelectedLegs | None = None  # by only_legs; None if it is empty
        self.left_out: frozenset[str] = frozenset()  # the keys of the other legs
        self.together: Leg | None = None  # all legs in one comparison, which has no trials
        self.unplaced = Leg(self.inputs)  # for given runs whose legs Coval has not shown
        self.template: RunTemplate | None = None
        self.history: HistoryDocument | None = None  # what mode history found
        self.shown = Shown()
        self.launching = 0  # legs whose launch is under way
        self.is_announced = False  # on the commit's pages
        self.attempts = dict[str, int]()  # the known numbers of those that launched its earlier runs, or given ones
        self.leftovers = dict[str, Trial]()  # of earlier attempts, by id: they go on, and no trial has taken them over
        self.unidentified: Sequence[Run] = ()  # unfinished, and possibly of an earlier attempt
        self.changed = Event()  # a leg was launched or is done, a base has an outcome or is wanted again
        self.unknown_statuses: set[str] = set()  # of which the step has warned
        self.unread_agents: set[str] = set()  # likewise
        self._named: dict[tuple[str, str], str | None] = {}  # the names behind the titles
        self._titles: dict[str, str] = {}  # of legs, by their names
        self._saved: dict[str, str] = {}  # by the name of the state
        self._interrupted: Times | None = None  # the times of a step that received a signal

    def read_file(self) -> list[InvalidInput]:
        """Add the file's inputs to the step's own. Return why it cannot be read."""
        environ = self.runtime.environ
        path = environ.get(f"INPUT_{FILE.upper()}", "").strip()
        if self.read or not path:
            return []
        from coval_gate.features.legs.file import beside_file, read_file
        from coval_gate.features.legs.nodes import LARGEST_FILE

        try:
            place, contents = self.host.workspace.read(path, LARGEST_FILE)
            read = read_file(contents, place, key_in(environ))
        except ValueError as problem:
            return [InvalidInput(FILE, str(problem))]
        environ, self.read = beside_file(environ, read, defaults_count=False)
        self.runtime = self.runtime._replace(environ={**environ, f"INPUT_{FILE.upper()}": place})
        return []

    @property
    def bases(self) -> list[Base]:
        """In the order of the legs that are compared with them."""
        return list({id(leg.base): leg.base for leg in self.legs if leg.base}.values())

    @property
    def all_legs(self) -> list[Leg]:
        """The tested legs, and then the bases."""
        return [*self.legs, *self.bases]

    @property
    def judged(self) -> list[Leg]:
        """The tested legs and, once they are compared together, all of them."""
        return [*self.legs, *([self.together] if self.together else [])]

    @property
    def trials(self) -> list[Trial]:
        return [trial for leg in (*self.all_legs, self.unplaced) for trial in leg.trials]

    @property
    def is_counted_first(self) -> bool:
        """Whether the simulations are counted before the launch."""
        draws = any(leg.inputs.spend == UNTIL_CLEAR for leg in self.legs)
        return self.inputs.max_simulations is not None or len(self.all_legs) > 1 or draws

    @property
    def planned_simulations(self) -> int | None:
        """How many simulations the step means to launch, without repetitions, or at the most; None if unknown."""
        sizes = [leg.to_launch for leg in self.all_legs] if self.inputs.mode in (*LAUNCHING_MODES, "plan") else []
        return sum(filter(None, sizes)) if sizes and None not in sizes else None

    @property
    def is_re_run(self) -> bool:
        """Whether an earlier attempt may have launched runs."""
        return is_identified(self.context) and self.context.run_attempt not in ("0", "1")

    @property
    def attempt(self) -> int | None:
        """The number of the attempt that launches, or launched the newest of the given runs; None for the first."""
        number = max(self.attempts.values(), default=0)
        if self.inputs.mode in LAUNCHING_MODES:
            number = int(self.context.later_attempt or number + 1)
        return number if number > 1 else None

    def kept_from(self, trial: Trial) -> int | None:
        """Return the number of the attempt that launched a run which a later one kept; None for any other run."""
        given_from = self.attempts.get(attempt_of(trial.run), 0) if trial.is_given and trial.run else 0
        return given_from if 0 < given_from < (self.attempt or 0) else trial.kept_from

    @property
    def deadline(self) -> float:
        """When the step must be done, on the clock."""
        return self.began + self.inputs.max_wait_time

    @property
    def times(self) -> Times:
        return self._interrupted or Times.for_step(self.began, self.inputs.max_wait_time)

    @property
    def is_hurried(self) -> bool:
        """Whether the step received a signal."""
        return self._interrupted is not None or self.publisher.is_interrupted

    def hurry(self) -> None:
        self._interrupted = Times.for_interrupted(self.clock.now())

    def session(self, times: Times | None = None) -> "StepRun":
        """Connections are its own. `times`: the post step's. Raises ValueError without an API key."""
        times = times or self.times
        ends, hurried = times.coval_ends, self.is_hurried
        client = connect(self.inputs, self.runtime, self.host.quote, hurried=hurried, ends=ends, shown=self.shown)
        return StepRun(self, client, self.inputs, self.deadline, times)

    def title_of(self, leg: Leg) -> str:
        """Return what people read in place of a leg's name: names instead of ids, as far as Coval has shown them."""
        ids = dict.fromkeys(pair for one in self.all_legs for pair in one.differing.items())
        shown = {pair: self.shown.name_of(*pair) for pair in ids}
        if shown != self._named:
            self._named = shown
            self._titles = titles_of(self.all_legs, {pair: self.name_of(*pair) for pair in ids})
        return self._titles.get(leg.name, leg.name)

    def name_of(self, input_: str, id_: str) -> str:
        """Return what Coval calls an agent, a persona or a test set; empty if no response has shown it."""
        return one_line(self.host.redact(self.shown.name_of(input_, id_) or ""), LONGEST_SHOWN_NAME)

    def ended_leg(self, judgement: Judgement) -> bool:
        """Return whether a judgement is a leg's, and not about the step as a whole."""
        return any(leg.outcome is judgement for leg in self.judged)

    def judgement_of(self, leg: Leg, judgement: Judgement) -> Judgement:
        """Return the leg's own judgement, unless the step's `judgement` is about the step as a whole."""
        return leg.outcome if leg.outcome and self.ended_leg(judgement) else judgement

    def begin_trial(
        self, leg: Leg, *, request: LaunchRequest | None = None, tags: Tags = NO_TAGS, number: int = 0
    ) -> Trial:
        """The trial is saved as soon as it is guarded."""
        trial = Trial(leg.name, number, bool(leg.slices), request, request.ids if request else {}, tags, self.save)
        leg.trials.append(trial)
        return trial

    def guard_leftovers(self, runs: Mapping[str, Leg]) -> None:
        """Guard runs of earlier attempts, by id, until a trial takes them over or they end. Raises RunnerError."""
        for run_id, leg in runs.items():
            trial = self.leftovers.setdefault(run_id, Trial(leg=leg.name, save=self.save, run_id=run_id))
            trial.guard(cancel=self.inputs.cancel_on_interrupt)

    def want(self, base: Base, number: int) -> None:
        """Ask for the base's run with that number."""
        if number >= base.wanted:
            base.wanted = number + 1
            self.changed.happen()

    def save(self) -> None:
        """Save what changed of what the post step needs. Raises RunnerError.

        The first run of each leg has the place of its leg: the post step must know which leg is the first.
        """
        trials = [*self.trials, *self.leftovers.values()]
        for place, leg in enumerate(self.all_legs):
            if leg.trials and leg.first.slot is None and leg.first.duties:
                leg.first.slot = place
        for trial in trials:
            if trial.slot is None and trial.duties:
                trial.slot = max(len(self.all_legs), *(other.slot + 1 for other in trials if other.slot is not None), 0)
        slots = 1 + max((trial.slot for trial in trials if trial.slot is not None), default=0)
        state = dict.fromkeys(map(state_name, range(slots)), "[]") | {MODE_STATE: self.inputs.mode}
        state |= {state_name(trial.slot): write_state(trial) for trial in trials if trial.slot is not None}
        changed = {name: text for name, text in state.items() if self._saved.get(name) != text}
        if changed:
            self.host.save_state(changed)
            self._saved |= changed

    def restore(self) -> bool:
        """Read what an earlier process saved. Return whether it saved anything."""
        texts = list(takewhile(bool, (self.host.read_state(state_name(slot)) for slot in count())))
        legs: dict[str, Leg] = {}
        for slot, text in enumerate(texts):
            for trial in read_state(text, now=self.clock.now()):
                trial.slot = slot
                legs.setdefault(trial.leg, Leg(self.inputs, trial.leg)).trials.append(trial)
        self.legs = list(legs.values())
        return bool(texts)

    def record_id(self, run_id: str) -> None:
        """Write the ids of all runs, this one included, to the outputs. Raises RunnerError."""
        first = [leg.trials[0].run_id if leg.trials else "" for leg in self.all_legs]
        again = [trial.run_id for leg in self.all_legs for trial in leg.trials[1:]]
        again += [trial.run_id for trial in self.unplaced.trials]
        ids = [id_ for id_ in first + again if id_] or [run_id]
        own = ids[0] if len(first) == 1 else first[0]
        self.host.set_outputs({"run_id": own, "run_url": self.run_url(own), "run_ids": json.dumps(ids)})
        self.save()
        self.changed.happen()

    def run_url(self, run_id: str) -> str:
        """Return an empty text for no run."""
        return f"{self.inputs.dashboard_url}/runs/{run_id}" if run_id else ""

    def warn(self, message: str) -> None:
        self.host.annotate("warning", GATE_NAME, message)

    def report_bug(self) -> None:
        self.host.fold(BUG, traceback.format_exc().splitlines())


def moment_text(seconds: float) -> str:
    """Return a time since the epoch as ISO 8601, UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


class StepRun(Session):
    """What a procedure of the step gets."""

    def __init__(self, step: Step, client: Client, inputs: Inputs, deadline: float, times: Times) -> None:
        super().__init__(client, step.host, step.clock, step.runtime.randomness, inputs, deadline, times)
        self.step = step

    @property
    def overall_limit(self) -> Limit:
        return Limit("max_wait_time", self.inputs.max_wait_time)

    def of(self, leg: Leg) -> "LegRun":
        """Of several legs, the lines in the log carry the leg's title."""
        run = LegRun(self, leg)
        several = leg.name and len(self.step.all_legs) > 1
        return run.labelled(leg.name, partial(self.step.title_of, leg)) if several else run


class LegRun(StepRun):
    """What a procedure of a leg gets."""

    def __init__(self, run: StepRun, leg: Leg) -> None:
        super().__init__(run.step, run.client, leg.inputs, run.deadline, run.times)
        self.leg = leg

    @property
    def criteria(self) -> Criteria:
        leg, step = self.leg, self.step
        criteria = Criteria.from_inputs(leg.inputs, legs=len(step.legs))
        return replace(criteria, known=leg.known, known_checks=leg.known_checks)
