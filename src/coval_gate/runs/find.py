"""Finds a run by what it was launched with, also where Coval's filter for tags does not work.

Sources disagree on whether it does, so the newest runs of the same agent, persona and test set are searched as well,
and every listed run is checked here.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from coval_gate.errors import CovalError, LaunchUncertain, Rejected, Unavailable
from coval_gate.waiting import Wait

if TYPE_CHECKING:
    from collections.abc import Mapping

    from coval_gate.clock import Clock
    from coval_gate.coval.client import Client
    from coval_gate.model.run import Run
    from coval_gate.runs.leg import Leg
    from coval_gate.waiting import Procedure

LAUNCHED_WITH: Final = ("agent_id", "persona_id", "test_set_id")
SKEW: Final = 120.0  # s by which Coval's clock may be behind ours
LATE: Final = 1.5  # s for the response to a launch that was under way when the search begins
FOREIGN: Final = 10.0  # s after which responses that are not in Coval's form will not do
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 10.0  # s between two searches

Unknown = Literal["unknown"]
UNKNOWN: Final[Unknown] = "unknown"  # whether a launch had an effect


class Found(NamedTuple):
    """The runs with a tag, newest first; `bare` ones show neither tags nor metadata, so they could be such a run."""

    runs: tuple[Run, ...]
    bare: tuple[Run, ...] = ()


def runs_with(
    client: Client, tag: str, body: Mapping[str, Any], *, until: float, since: float = float("inf")
) -> Procedure[Found]:
    """Return the runs with a tag, which were launched with the ids in `body`, and bare ones created since that time.

    `since`: seconds since the epoch. Raises Rejected if Coval refuses both ways to ask, Unavailable if there is no
    response by `until`.
    """
    same = " AND ".join(f'{name}="{body[name]}"' for name in LAUNCHED_WITH if body.get(name))
    filters = [f'tag="{tag}"', *([same] if same else [])]
    refused: list[Rejected] = []
    bare: tuple[Run, ...] = ()
    for each in filters:
        try:
            runs = yield from client.list_runs(each, until=until)
        except Rejected as error:
            refused.append(error)
            continue
        if found := tuple(run for run in runs if has_tag(run, tag)):
            return Found(found)
        bare = tuple(run for run in runs if _is_bare(run, body, since))
    if len(refused) == len(filters):
        raise refused[0]
    return Found((), bare)


def find_launched(
    client: Client,
    leg: Leg,
    *,
    clock: Clock,
    until: float,
    settling: float = float("inf"),
    since: float = float("inf"),
) -> Procedure[Run | None]:
    """Find the run of a launch whose response was lost; return None if it surely had no effect.

    A launch had none if Coval does not list its run for `settling` seconds after the connection was closed, unless a
    bare run created `since` then may be its run. Raises LaunchUncertain if the question cannot be settled `until` then.
    """
    began = last_open = clock.now()
    within = min(LATE, max(0.0, until - began))
    pause = FIRST_PAUSE
    while True:
        late = yield from _late_response(leg, within)
        if not isinstance(late, str):
            return late
        within, open_calls = 0.0, leg.open_calls
        patient = clock.now() < min(until, began + FOREIGN)
        found = yield from _search(client, leg, until=until, since=since, patient=patient)
        now = clock.now()
        last_open = now if open_calls else last_open
        settled = last_open + settling
        if found.runs:
            return found.runs[0]
        if now >= min(settled, until):  # the response may have come during the search
            late = yield from _late_response(leg, 0.0)
            if not isinstance(late, str):
                return late
            if now < settled:
                raise LaunchUncertain("Launch uncertain", "Coval does not list the run that may have been launched.")
            if not found.bare:
                return None
            ids = " or ".join(run.run_id for run in found.bare)
            raise LaunchUncertain("Launch uncertain", f"The launch may have begun the run {ids}.")
        yield Wait(min(pause, settled - now, until - now), open_calls)
        pause = min(LONGEST_PAUSE, pause * 2)


def has_tag(run: Run, tag: str) -> bool:
    """Tell whether a run has a tag; some responses show tags only in the metadata that the launch gave."""
    return tag in run.tags or tag in run.metadata.values()


def _late_response(leg: Leg, within: float) -> Procedure[Run | Unknown | None]:
    """Return the run in a response that came late, or None if all launches surely had no effect.

    `within`: seconds to wait for the response to the latest launch.
    """
    unknown = not leg.launches
    for launch in reversed(leg.launches):
        try:
            return (yield from launch.late_response(within))
        except Unavailable as error:
            unknown = unknown or error.arrived
        except Rejected as error:
            unknown = unknown or not error.by_coval
        except CovalError:
            pass  # it was not sent
        within = 0.0
    return UNKNOWN if unknown else None


def _search(client: Client, leg: Leg, *, until: float, since: float, patient: bool) -> Procedure[Found]:
    """Return the runs with the leg's key, and bare ones. Raises LaunchUncertain if Coval does not say.

    `patient`: a response that is not in Coval's form shows no run, but is no reason to give up.
    """
    try:
        return (yield from runs_with(client, _key(leg), leg.body, until=until, since=since))
    except CovalError as error:
        rejection = error if isinstance(error, Rejected) else None
        if patient and rejection and not rejection.by_coval:
            return Found(())
        what = f"Could not check whether the launch began a run: {error.what}"
        uncertain = LaunchUncertain("Launch uncertain", what, advice=error.advice, link=error.link, rejection=rejection)
        raise uncertain from None


def _key(leg: Leg) -> str:
    return leg.tags.key if leg.tags else ""


def _is_bare(run: Run, body: Mapping[str, Any], since: float) -> bool:
    """Tell whether a run that shows neither tags nor metadata may be the one launched with `body` since then."""
    if run.tags or run.metadata or any(getattr(run, name) != body.get(name) for name in LAUNCHED_WITH):
        return False
    try:
        return datetime.fromisoformat(run.create_time).timestamp() >= since - SKEW
    except (ValueError, OverflowError):
        return False
