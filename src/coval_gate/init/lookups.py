"""Looks up in Coval what the first workflow needs: agents, personas and test sets by name, and the last runs.

Nothing here is required: `init` writes a workflow without what the API key may not read, or Coval does not say in time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from coval_gate.base.errors import CovalError, InputError
from coval_gate.base.records import NamedTuple
from coval_gate.base.schedule import Procedure
from coval_gate.base.text import folded, most_similar, one_line, plural, quoted
from coval_gate.coval.client import Client
from coval_gate.coval.model import CLEAN, COMPLETED, RunFilter, RunResult
from coval_gate.coval.resources import METRIC, Agent, Kind, MetricDefinition, Persona, TestSet
from coval_gate.inputs.fields import IDENTIFIER
from coval_gate.inputs.flags import flag_of

Named = Agent | Persona | TestSet
Ask = Callable[[str, Sequence[str]], str]

MOST_LISTED: Final = 100  # agents, personas or test sets; one page
MOST_RUNS: Final = 5
MOST_DEFINITIONS: Final = 200  # metrics; two pages
FAILED_SOME: Final = "EXECUTION_FAILURE"  # what Coval reports as soon as a single simulation failed


class Choice(NamedTuple):
    """The agent, persona or test set. Without an `id`, there may be `candidates`."""

    kind: Kind[Named]
    id: str = ""
    name: str = ""
    how: str = ""
    candidates: tuple[Named, ...] = ()

    @property
    def variable(self) -> str:
        return f"COVAL_{self.kind.input.upper()}"


class LastRuns(NamedTuple):
    """Completed runs, newest first. `reason`: why there are none."""

    runs: tuple[RunResult, ...] = ()
    definitions: Mapping[str, MetricDefinition] = {}
    reason: str = ""


def list_resources(client: Client, kind: Kind[Named], until: float) -> Procedure[tuple[Named, ...]]:
    """Raises CovalError."""
    return client.list(kind, until=until, go_on=lambda listed: len(listed) < MOST_LISTED)


def unlisted(kind: Kind[Named], wanted: str) -> Choice:
    if IDENTIFIER.fullmatch(wanted):
        return Choice(kind, wanted, how=f"as {flag_of(kind.key)} says, not looked up")
    return Choice(kind)


def choose(kind: Kind[Named], listed: Sequence[Named], wanted: str, ask: Ask | None) -> Choice:
    """Return the resource that `wanted` names, by id or name, or the only one, or the one that a person chooses.

    Raises InputError if there is none that `wanted` could mean.
    """
    by_id = [one for one in listed if one.id == wanted]
    candidates = by_id or [one for one in listed if not wanted or folded(one.name) == folded(wanted)]
    if not candidates and wanted:
        if len(listed) == MOST_LISTED and IDENTIFIER.fullmatch(wanted):
            return Choice(kind, wanted, how=f"as {flag_of(kind.key)} says, not among the first {MOST_LISTED}")
        raise InputError([(flag_of(kind.key), _nothing_text(kind, listed, wanted))])
    if not candidates:
        return Choice(kind)
    if len(candidates) == 1:
        (only,) = candidates
        return Choice(kind, only.id, only.name, f"as {flag_of(kind.key)} says" if wanted else "the only one")
    if ask:
        shown = {f"{one_line(one.name) or 'without a name'} ({one.id})": one for one in candidates}
        chosen = shown.get(ask(f"Which {kind.noun}?", tuple(shown)))
        if chosen:
            return Choice(kind, chosen.id, chosen.name, "as chosen")
    return Choice(kind, candidates=tuple(candidates))


def last_runs(client: Client, choices: Sequence[Choice], until: float) -> Procedure[LastRuns]:
    """Return completed runs. Raises CovalError."""
    ids = {choice.kind.input: choice.id for choice in choices}
    if not all(ids.values()):
        return LastRuns(reason="not all ids are known")
    listed = yield from client.list_runs(RunFilter(**ids, status=COMPLETED), until=until)
    results = []
    # Coval may have ignored the filter.
    completed = [run for run in listed if run.ids == ids and run.status == COMPLETED]
    for run in [run for run in completed if run.error_status.upper() in CLEAN | {FAILED_SOME}][:MOST_RUNS]:
        whole = run if run.metrics else (yield from client.get_run(run.run_id, until=until))
        simulations = yield from client.list_simulations(run.run_id, until=until)
        results.append(RunResult(run.run_id, simulations, metrics=whole.metrics))
    if not results:
        return LastRuns(reason="Coval has no completed run of this agent, persona and test set")
    return LastRuns(tuple(results), (yield from _definitions(client, results, until)))


def _nothing_text(kind: Kind[Named], listed: Sequence[Named], wanted: str) -> str:
    similar = most_similar(wanted, [one.name for one in listed if one.name])
    hint = f"did you mean {quoted(similar)}?" if similar else f"Coval lists {plural(len(listed), kind.noun)} first."
    return f"names no {kind.noun} of Coval: {quoted(wanted)}; {hint}"


def _definitions(client: Client, results: Sequence[RunResult], until: float) -> Procedure[dict[str, MetricDefinition]]:
    """Empty if the API key may not read them."""
    needed = {metric.id for result in results for metric in result.metrics}

    def go_on(listed: Sequence[MetricDefinition]) -> bool:
        return not needed <= {definition.id for definition in listed} and len(listed) < MOST_DEFINITIONS

    try:
        definitions = yield from client.list(METRIC, until=until, go_on=go_on, once=True)
    except CovalError:
        return {}
    return {definition.id: definition for definition in definitions if definition.id in needed}
