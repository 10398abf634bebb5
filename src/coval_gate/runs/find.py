"""Finds runs by what they were launched with, also where Coval's filter for tags does not work.

Whether it does is disputed, so the newest runs of the same agent, persona and test set are looked through as well, and
whatever an answer lists is checked here.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from coval_gate.errors import Rejected

if TYPE_CHECKING:
    from collections.abc import Mapping

    from coval_gate.coval.client import Client
    from coval_gate.model.run import Run

WHAT: Final = ("agent_id", "persona_id", "test_set_id")
SKEW: Final = 120.0  # s by which Coval's clock may be behind ours


class Found(NamedTuple):
    """The runs with a tag, newest first; `bare` show nothing of who launched them, so that they could be such a run."""

    runs: tuple[Run, ...]
    bare: tuple[Run, ...] = ()


def runs_with(client: Client, tag: str, body: Mapping[str, Any], *, until: float, since: float = float("inf")) -> Found:
    """The runs with a tag, which were launched with the ids in `body`; bare ones since that time (the epoch's seconds).

    Raises Rejected if Coval refuses both ways to ask, Unavailable if it does not answer until then.
    """
    same = " AND ".join(f'{name}="{body[name]}"' for name in WHAT if body.get(name))
    refused: list[Rejected] = []
    bare: tuple[Run, ...] = ()
    wanted = [f'tag="{tag}"', *([same] if same else [])]
    for each in wanted:
        try:
            runs = client.list_runs(each, until=until)
        except Rejected as error:
            refused.append(error)
            continue
        if found := tuple(run for run in runs if tag in run.tags or tag in run.metadata.values()):
            return Found(found)
        bare = tuple(run for run in runs if _is_bare(run, body, since))
    if len(refused) == len(wanted):
        raise refused[0]
    return Found((), bare)


def _is_bare(run: Run, body: Mapping[str, Any], since: float) -> bool:
    """Whether a run that shows neither tags nor metadata may be the one that was launched with `body` since then."""
    if run.tags or run.metadata or any(getattr(run, name) != body.get(name) for name in WHAT):
        return False
    try:
        return datetime.fromisoformat(run.create_time).timestamp() >= since - SKEW
    except (ValueError, OverflowError):
        return False
