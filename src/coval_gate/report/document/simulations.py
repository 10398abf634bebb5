"""Each conversation with its verdict, values and turns, the worst first."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Final, Literal
from urllib.parse import quote, urlsplit

from pydantic import PlainSerializer

from coval_gate.base.text import shortened, stopwatch, value_text
from coval_gate.coval.model import Turn, Value
from coval_gate.gate.checks import Check
from coval_gate.gate.findings import Findings, SimulationFinding
from coval_gate.gate.judgement import CaseStability
from coval_gate.gate.verdict import Verdict
from coval_gate.report import LONGEST_MENTION, MOST_CRITERIA
from coval_gate.report.document.base import ITSELF, CauseWord, MayGrow, Model, Stability, Text, VerdictWord, variant_key
from coval_gate.report.document.model import LegReport
from coval_gate.report.wording.checks import cause_text, here_text, stability, stability_text

TOKEN: Final = re.compile(r"\d+(?:[.,]\d+)*|[^\W\d_]+")
GROUPED: Final = re.compile(r"[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]+)?")
NUMERAL: Final = re.compile(rf"[0-9]+(?:[.,][0-9]+)?|{GROUPED.pattern}")
SCALES: Final = (1.0, 100.0, 1000.0)  # a share as a percentage, seconds as milliseconds
EXPLANATION_READ: Final = 300  # characters; a longer text explains more than a value
FILLERS: Final = frozenset(
    TOKEN.findall(
        "a an and as at be been by call conversation equal equals evaluated final for given got had has have in is it"
        " its measured metric ms of on output percent result returned s score scored second seconds simulation that the"
        " this to unit units value was were with"
    )
)


class MissFacts(Model):
    """A criterion that a simulation misses."""

    criterion: int | None
    """Its place in `criteria`, from 0; null if it is not among them."""
    text: Text
    """The criterion, cut if it is long; in place of pass_rate, the target."""
    metric_id: Text
    here: Text
    """The simulation's own value; empty where the criterion is not about a metric."""
    verdict: VerdictWord
    """Of the criterion for this simulation, which may miss what the run meets."""


class TurnFacts(Model):
    """What one of the two said."""

    role: Literal["persona", "agent"]
    text: Text
    at: Text
    """When it began, such as "0:05"; empty where unknown."""
    latency: float | None
    """How many seconds the agent took to answer; null where it does not answer, or the times are unknown."""


class SimulationFacts(Model):
    """One conversation."""

    id: Text
    run_id: Text
    status: Text
    variant: Text
    test_case_id: Text
    name: Text
    """The test case in words, if the API key may read them, with its id if several have the same words; otherwise an
    id."""
    iteration: int
    of: int
    """How many iterations its test case has."""
    place: int
    """Its place among all simulations of the step, from 0: those to look at first, the worst of them at the top."""
    stability: Stability | None
    """The stability of its test case, if that failed in any of several runs."""
    stability_text: Text
    """The same with figures, such as "flaky, failed 2 of 3"."""
    iterations_text: Text
    """The same for the iterations of its test case in one run, if any of them fails."""
    failed_alone: bool
    """Whether it failed in its own run, if several runs decided together."""
    verdict: VerdictWord
    """passed; failed: it violates a missed criterion; error: it did not complete; skipped: it fell short, but that is
    tolerated, or it is known."""
    known: Text | None
    """Why it decides nothing, or its value of a metric does not: a reason of `known_failures`; null for most."""
    cause: Annotated[CauseWord, MayGrow()] | None
    """Why it did not do well, the first that fits. flaky: most other conversations of its test case pass; new: that its
    test case broke since the baseline is more likely than chance. Null where it passed, or nothing shows the cause, as
    without a baseline. More words may follow."""
    passed_before: int | None
    """How many conversations of its test case in the baseline met what it misses, of several criteria the one that they
    met most often; null where that is unknown."""
    total_before: int | None
    """How many conversations that was out of."""
    cause_text: Text
    """The cause, and what the history of its test case shows, such as "new, passed 9 of 9 before"."""
    change: Literal["", "fails", "tolerated", "passes"]
    """How its test case changed since the baseline: it fails now, which a criterion may tolerate, or passes now."""
    trouble: Text
    """Why it did not complete; empty if it did."""
    misses: list[MissFacts]
    """The first criteria that it misses. An average blames no single simulation."""
    misses_left_out: int
    """How many more it misses."""
    error: Text
    url: Text
    values: dict[Text, float | Text | list[Text]]
    """By metric id."""
    explanations: dict[Text, Text]
    """By metric id, for the first simulations to look at."""
    telling: list[Text]
    """The ids of the metrics whose explanation contains more than the value."""
    seconds: float | None
    """How long the conversation was, where Coval reports it."""
    turns: Annotated[list[TurnFacts], PlainSerializer(lambda _: [])]
    """All, if `include_transcripts` is set. Empty in the JSON report: they may be personal data."""

    @property
    def title(self) -> str:
        """The name, with the iteration if there are several."""
        return f"{self.name} ({self.iteration} of {self.of})" if self.of > 1 else self.name

    @property
    def word(self) -> str:
        if self.is_known:
            return "known"
        return "tolerated" if self.verdict == "skipped" else self.verdict

    @property
    def is_known(self) -> bool:
        """Whether a known failure is all that may be wrong with it."""
        return bool(self.known) and self.verdict == "skipped" and not self.misses

    @property
    def fails(self) -> bool:
        return self.verdict in ("failed", "error")

    @property
    def is_to_look_at(self) -> bool:
        """Whether it did not do well, even if that is tolerated, unless it is known."""
        return self.verdict != "passed" and not self.is_known

    def with_cause(self, text: str) -> str:
        return f"{self.cause_text}: {text}" if self.cause_text else text

    def title_of(self, miss: MissFacts) -> str:
        """Return a missed criterion, with the mutation in brackets if the simulation is of one."""
        return miss.text if self.variant == ITSELF else f"{miss.text} [{self.variant}]"

    def why(self, metric_id: str) -> str:
        """Return the judge's explanation of a value; empty where it only repeats the value."""
        return self.explanations[metric_id] if metric_id in self.telling else ""


def places_of(legs: Sequence[LegReport]) -> list[list[int]]:
    """Return the place of each simulation of each leg among all; within a cause, the legs take turns."""
    rows = [
        (row.order[:2], own, nth) for nth, leg in enumerate(legs) for own, row in enumerate(leg.findings.simulations)
    ]
    places = [[0] * len(leg.findings.simulations) for leg in legs]
    for place, (_, own, leg) in enumerate(sorted(rows)):
        places[leg][own] = place
    return places


def simulations_of(leg: LegReport, places: Sequence[int], case_name: Callable[[str], str]) -> list[SimulationFacts]:
    """Return the simulations that have a place."""
    made = _Simulations(leg, case_name)
    return [made.facts(row, place) for row, place in zip(leg.findings.simulations, places, strict=False)]


class _Simulations:
    """What the facts of all simulations of a leg share."""

    def __init__(self, leg: LegReport, case_name: Callable[[str], str]) -> None:
        self._leg = leg
        metrics = leg.result.metrics if leg.result else ()
        self._values = {metric.id: {**metric.left_out, **metric.values} for metric in metrics}
        self._names = {metric.id: metric.name for metric in metrics}
        self._case_name = case_name
        # Simulations have pages only below the organization's own address.
        has_pages = urlsplit(leg.dashboard_url).path
        self._run_urls = {"": leg.run_url} | {run.id: run.url for run in leg.runs} if has_pages else {}
        self._changes = _changes(leg.findings)
        shown = leg.findings.checks.by_gravity[:MOST_CRITERIA]
        self._failed = Counter(row.simulation.conversation for row in leg.findings.simulations if row.fails)
        self._criteria = {_key(check): place for place, check in enumerate(shown)}

    def facts(self, row: SimulationFinding, place: int) -> SimulationFacts:
        leg, simulation, id_ = self._leg, row.simulation, row.simulation.id
        found = ((metric_id, values.get(id_)) for metric_id, values in self._values.items())
        values = {metric_id: value for metric_id, value in found if value is not None}
        explanations = leg.details.texts.get(simulation.id, {})
        turns = leg.details.transcripts.get(simulation.id, ())
        run_url, failed = self._run_urls.get(simulation.run_id, ""), self._failed[simulation.conversation]
        iterations = CaseStability(simulation.test_case_id, simulation.mutation, failed, total=row.of)
        return SimulationFacts(
            id=simulation.id,
            run_id=simulation.run_id or leg.run_id,
            status=simulation.status,
            variant=variant_key(simulation.mutation),
            test_case_id=simulation.test_case_id,
            name=self._case_name(simulation.test_case_id) or simulation.id,
            iteration=row.iteration,
            of=row.of,
            place=place,
            stability=stability(row.stability) if row.stability else None,
            stability_text=stability_text(row.stability) if row.stability else "",
            iterations_text=stability_text(iterations) if row.of > 1 and iterations.failed else "",
            failed_alone=row.failed_alone,
            verdict=row.verdict.value,
            known=row.known or None,
            cause=row.cause.value if row.cause else None,
            passed_before=row.before.hits if row.before else None,
            total_before=row.before.size if row.before else None,
            cause_text=cause_text(row, leg.findings.reference),
            change=self._changes.get(simulation.conversation, ""),
            trouble="" if simulation.completed else simulation.error or f"did not complete: {simulation.status}",
            misses=[
                MissFacts(
                    criterion=self._criteria.get(_key(miss.check)),
                    text=shortened(miss.check.criterion.text, LONGEST_MENTION),
                    metric_id=miss.check.metric,
                    here=here_text(miss),
                    verdict=(Verdict.FAILED if miss.check.passed else miss.check.verdict).value,
                )
                for miss in row.misses
            ],
            misses_left_out=row.more_misses,
            error=simulation.error,
            url=f"{run_url}/results/{quote(simulation.id, safe='')}" if run_url else "",
            values={id_: sorted(value) if isinstance(value, frozenset) else value for id_, value in values.items()},
            explanations=dict(explanations),
            telling=[
                id_
                for id_, text in explanations.items()
                if id_ not in self._names or says_more(text, self._names[id_], values.get(id_))
            ],
            seconds=turns[-1].end if turns else None,
            turns=[*_turns(turns)],
        )


def _key(check: Check) -> tuple[int, str, str]:
    """Return what identifies a check in a judgement; the check of a miss may be a copy."""
    return id(check.criterion), check.variant, check.metric


def _changes(findings: Findings) -> dict[tuple[str, str], str]:
    """Return by variant and test case the gravest change of any check. One that passes tolerates its flips."""
    changes: dict[tuple[str, str], str] = {}
    checks = [check for check in findings.checks.checks if check.reference in ("baseline", "base_agent")]
    for check in sorted(checks, key=lambda check: not check.passed):
        if compared := check.comparison:
            for case in compared.newly_passing:
                changes.setdefault((check.variant, case), "passes")
            fails = "tolerated" if check.passed else "fails"
            changes |= {(check.variant, case): fails for case in compared.newly_failing}
    return changes


def _turns(turns: Sequence[Turn]) -> Iterator[TurnFacts]:
    before: Turn | None = None
    for turn in turns:
        start, latency = turn.start, None
        if (
            before
            and before.role == "persona"
            and turn.role == "agent"
            and before.end is not None
            and start is not None
        ):
            latency = max(0.0, start - before.end)
        at = "" if start is None else stopwatch(start)
        yield TurnFacts(role=turn.role, text=turn.text, at=at, latency=latency)
        before = turn


def says_more(text: str, name: str, value: Value | None) -> bool:
    """Return whether an explanation contains more than that the metric `name` has this value, in whatever rounding."""
    if len(text) > EXPLANATION_READ or value is None:
        return bool(text)
    words = TOKEN.findall(text.casefold())
    value_words = {*TOKEN.findall(value_text(value).casefold())} if not isinstance(value, float) else set()
    fillers = FILLERS.union(TOKEN.findall(name.casefold()))
    values = [word for word in words if word in value_words or _is_number(word, value)]
    rest = [word for word in words if word not in fillers and word not in values]
    return bool(rest) or bool(text and not values)


def _is_number(word: str, value: Value) -> bool:
    """Return whether a word is the value, rounded or cut off after any of its digits."""
    if not isinstance(value, float) or not NUMERAL.fullmatch(word):
        return False
    plain = word.replace(",", "") if GROUPED.fullmatch(word) else word.replace(",", ".")
    step = 10.0 ** -len(plain.partition(".")[2])  # of its last digit
    return any(abs(float(plain) - abs(value) * scale) < step for scale in SCALES)


def case_names(labels: Mapping[str, str]) -> Callable[[str], str]:
    """Return a function that names a test case: its label if it has one, with the id if several share the label."""
    shared = {label for label, count in Counter(labels.values()).items() if count > 1}

    def name(case: str) -> str:
        label = labels.get(case, "")
        return f"{label} [{case}]" if label in shared else label or case

    return name
