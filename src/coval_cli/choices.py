"""Looks up in Coval what `init` writes: the agent, persona and test set, and thresholds from their last runs.

No look-up is required: what the API key may not read, or Coval does not show in time, stays unknown.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Final, NamedTuple

from coval_cli.proposals import Proposal, guess, propose, usable
from coval_cli.workflow import FIRST_WORKFLOW, PREVIEW_AGENT, Candidate, Choice, Starter
from coval_gate.base.errors import CovalError, InputError
from coval_gate.base.runtime import Runtime
from coval_gate.base.schedule import run
from coval_gate.base.text import folded, in_words, most_similar, one_line, plural, quoted
from coval_gate.coval.client import Client, connect
from coval_gate.coval.model import CLEAN, COMPLETED, RunFilter, RunResult
from coval_gate.coval.resources import METRIC, RUN_RESOURCES, MetricDefinition, Resource
from coval_gate.history.tags import part_of
from coval_gate.inputs.fields import IDENTIFIER
from coval_gate.inputs.inputs import KEY_VARIABLE, Inputs
from coval_gate.inputs.naming import flag_of

LONGEST_LOOK_UP: Final = 60.0  # s for all calls
MOST_CHOICES: Final = 100  # agents, personas or test sets; one page
MOST_DEFINITIONS: Final = 200  # metrics; two pages
MOST_LEGS: Final = 20  # in a new file
FAILED_SOME: Final = "EXECUTION_FAILURE"  # what Coval reports as soon as a single simulation failed

Ask = Callable[[str, Sequence[str]], str]


class InitOptions(NamedTuple):
    """`workflow`: a key of WORKFLOWS. `yes`: ask nothing. `system`: one of SYSTEM_WORDS.

    `agent`, `persona`, `test_set`: ids or names; several only for legs. `preview_agent`: only for a preview.
    """

    workflow: str = FIRST_WORKFLOW
    yes: bool = False
    system: str = ""
    agent: Sequence[str] = ()
    persona: Sequence[str] = ()
    test_set: Sequence[str] = ()
    preview_agent: str = ""
    path: str = ""


class LastRuns(NamedTuple):
    """Completed runs, newest first. `reason`: why there are none."""

    runs: tuple[RunResult, ...] = ()
    definitions: Mapping[str, MetricDefinition] = {}
    reason: str = ""


def look_up(
    runtime: Runtime,
    inputs: Inputs,
    options: InitOptions,
    starter: Starter,
    ask: Ask | None,
    log: Callable[[str], None],
) -> tuple[list[list[Choice]], list[Proposal]]:
    """Return the agents, personas and test sets, and the thresholds of each combination.

    Only legs have several of a kind. A preview also has its agent. Raises InputError for a name that Coval lacks.
    """
    wanted: dict[Resource[Candidate], Sequence[str]] = dict(
        zip(RUN_RESOURCES.values(), (options.agent, options.persona, options.test_set), strict=True)
    )
    if starter.preview:
        wanted[PREVIEW_AGENT] = [options.preview_agent] if options.preview_agent else []
    if inputs.api_key is None:
        log(f"{KEY_VARIABLE} is not set, so nothing is looked up in Coval.")
        unlisted = [_unlisted(kind, texts) for kind, texts in wanted.items()]
        return unlisted, [guess("there was no API key", starter.against)] * len(combinations(unlisted))
    until = runtime.clock.now() + LONGEST_LOOK_UP
    client = connect(inputs, runtime, log, ends=until)
    chosen: list[list[Choice]] = []
    proposals: list[Proposal] = []
    try:
        for kind, texts in wanted.items():
            listed = run(client.list(kind, until=until, go_on=_is_short), runtime.clock)
            if kind is PREVIEW_AGENT:
                listed = tuple(one for one in listed if one.id != chosen[0][0].id)
            chosen.append(_choose_all(kind, listed, texts, ask, several=starter.has_legs))
        for combination in combinations(chosen):
            last = run(_last_runs(client, combination, until), runtime.clock)
            proposals.append(_proposal(last, starter.against))
    except CovalError as error:
        log(f"{error.what} {error.advice}".strip())
        chosen += [_unlisted(kind, texts) for kind, texts in [*wanted.items()][len(chosen) :]]
        rest = len(combinations(chosen)) - len(proposals)
        proposals += [guess("Coval did not show the last runs", starter.against)] * rest
    finally:
        client.close()
    return chosen, proposals


def combinations(chosen: Sequence[Sequence[Choice]]) -> list[tuple[Choice, ...]]:
    """Return each agent with each persona and test set. Raises InputError if these are too many legs."""
    all_combinations = [*product(*chosen[: len(RUN_RESOURCES)])]
    if len(all_combinations) > MOST_LEGS:
        names = in_words([flag_of(kind.key) for kind in RUN_RESOURCES.values()])
        raise InputError([(names, f"make {len(all_combinations)} legs; init writes at most {MOST_LEGS}.")])
    return all_combinations


def _proposal(last: LastRuns, against: str) -> Proposal:
    if runs := usable(last.runs):
        return propose(runs, last.definitions, against)
    return guess(last.reason or "none of the last runs can be judged", against)


def _is_short(listed: Sequence[object]) -> bool:
    return len(listed) < MOST_CHOICES


def _unlisted(kind: Resource[Candidate], wanted: Sequence[str]) -> list[Choice]:
    """Names cannot be looked up; only ids can be written."""
    how = f"as {flag_of(kind.key)} says, not looked up"
    known = [Choice(kind, text, how=how) for text in dict.fromkeys(wanted) if IDENTIFIER.fullmatch(text)]
    return known if known and len(known) == len({*wanted}) else [Choice(kind)]


def _choose_all(
    kind: Resource[Candidate], listed: Sequence[Candidate], wanted: Sequence[str], ask: Ask | None, *, several: bool
) -> list[Choice]:
    """Return what each of `wanted` names. Without any, the user chooses one or, if there may be `several`, all.

    Raises InputError.
    """
    if not wanted and several and ask and 1 < len(listed) <= MOST_LEGS:
        every = f"all {len(listed)}, with a leg for each"
        answer = ask(f"Which {kind.noun}?", (*_named(listed), every))
        if answer == every:
            return [Choice(kind, one.id, one.name, "one of all") for one in listed]
        return [_chosen(kind, listed, answer)]
    choices = [_choose(kind, listed, text, ask) for text in wanted or [""]]
    return [*{choice.id: choice for choice in choices}.values()]


def _choose(kind: Resource[Candidate], listed: Sequence[Candidate], wanted: str, ask: Ask | None) -> Choice:
    """Return the resource that `wanted` names, by id or name, or the only one, or the one that the user chooses.

    Raises InputError if `wanted` names none.
    """
    by_id = [one for one in listed if one.id == wanted]
    candidates = by_id or [one for one in listed if not wanted or folded(one.name) == folded(wanted)]
    if not candidates and wanted:
        if len(listed) == MOST_CHOICES and IDENTIFIER.fullmatch(wanted):
            return Choice(kind, wanted, how=f"as {flag_of(kind.key)} says, not among the first {MOST_CHOICES}")
        similar = most_similar(wanted, [one.name for one in listed if one.name])
        hint = f"did you mean {quoted(similar)}?" if similar else f"Coval lists {plural(len(listed), kind.noun)} first."
        raise InputError([(flag_of(kind.key), f"names no {kind.noun} of Coval: {quoted(wanted)}; {hint}")])
    if not candidates:
        return Choice(kind)
    if len(candidates) == 1:
        (only,) = candidates
        other = "other one" if kind is PREVIEW_AGENT else "one"
        return Choice(kind, only.id, only.name, f"as {flag_of(kind.key)} says" if wanted else f"the only {other}")
    return _chosen(kind, candidates, ask(f"Which {kind.noun}?", tuple(_named(candidates))) if ask else "")


def _named(candidates: Sequence[Candidate]) -> dict[str, Candidate]:
    return {f"{one_line(one.name) or 'without a name'} ({one.id})": one for one in candidates}


def _chosen(kind: Resource[Candidate], candidates: Sequence[Candidate], answer: str) -> Choice:
    if one := _named(candidates).get(answer):
        return Choice(kind, one.id, one.name, "as chosen")
    return Choice(kind, candidates=tuple(candidates))


async def _last_runs(client: Client, choices: Sequence[Choice], until: float) -> LastRuns:
    """Return completed runs. Raises CovalError."""
    ids = {choice.kind.input: choice.id for choice in choices}
    if not all(ids.values()):
        return LastRuns(reason="not all ids are known")
    listed = await client.list_runs(RunFilter(**ids, status=COMPLETED), until=until)
    # Coval may have ignored the filter.
    completed = [one for one in listed if one.ids == ids and one.status == COMPLETED]
    results = []
    usable = [one for one in completed if one.error_status.upper() in CLEAN | {FAILED_SOME} and not part_of(one)]
    for one in usable[:5]:
        whole = one if one.metrics and one.metadata else await client.get_run(one.run_id, until=until)
        if part_of(whole):
            continue
        simulations = await client.list_simulations(one.run_id, until=until)
        results.append(RunResult(one.run_id, simulations, metrics=whole.metrics))
    if not results:
        return LastRuns(reason="Coval has no completed run of this agent, persona and test set")
    return LastRuns(tuple(results), await _definitions(client, results, until))


async def _definitions(client: Client, results: Sequence[RunResult], until: float) -> dict[str, MetricDefinition]:
    """Empty if the API key may not read them."""
    needed = {metric.id for result in results for metric in result.metrics}

    def go_on(listed: Sequence[MetricDefinition]) -> bool:
        return not needed <= {definition.id for definition in listed} and len(listed) < MOST_DEFINITIONS

    try:
        definitions = await client.list(METRIC, until=until, go_on=go_on, once=True)
    except CovalError:
        return {}
    return {definition.id: definition for definition in definitions if definition.id in needed}
