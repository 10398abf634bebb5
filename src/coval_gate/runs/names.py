"""Suggests the id where a user wrote a name in its place, once Coval has rejected the launch."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from coval_gate.base.errors import CovalError, Rejected
from coval_gate.base.schedule import together
from coval_gate.base.text import folded, in_words, plural, quoted
from coval_gate.base.times import preparing
from coval_gate.inputs.inputs import LAUNCH_IDS, declared

if TYPE_CHECKING:
    from collections.abc import Mapping

    from coval_gate.base.schedule import Procedure
    from coval_gate.runs.legs import Session

STATUSES: Final = (HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY)  # of a wrong id
NAMES: Final = ("agent_id", "persona_id", "test_set_id", "metric_ids", "mutation_ids")
MOST_LISTED: Final = 500  # resources of a kind
MOST_SHOWN: Final = 3  # ids of one name

Names = dict[str, list[str]]  # ids by folded name


def with_ids_of_names(session: Session, error: Rejected) -> Procedure[Rejected]:
    """Add advice about ids of an unusual length, which are probably names. Without any, return the same error."""
    doubtful = _doubtful(session)
    if error.status not in STATUSES or not error.by_coval or not doubtful:
        return error
    until = preparing(session.clock.now(), session.deadline)
    names = yield from together((_names(session, name, until) for name in doubtful), session.clock)
    lines = [
        f"{name} takes ids, not names; {in_words([_meant(name, text, listed) for text in texts])}."
        for (name, texts), result in zip(doubtful.items(), names, strict=True)
        for listed in [result if isinstance(result, dict) else {}]
    ]
    advice = "\n".join([*lines, *filter(None, [error.advice])])
    return type(error)(error.status, error.title, error.what, by_coval=error.by_coval, advice=advice)


def _doubtful(session: Session) -> dict[str, list[str]]:
    """Return the ids of an unusual length, by input."""
    usual = _usual_lengths()
    values = {name: getattr(session.inputs, name) for name in usual}
    ids = {name: [value] if isinstance(value, str) else [*value] for name, value in values.items()}
    unusual = {name: [id_ for id_ in ids[name] if id_ and len(id_) != usual[name]] for name in ids}
    return {name: texts for name, texts in unusual.items() if texts}


def _usual_lengths() -> dict[str, int | None]:
    return {declaration.name: declaration.usual_length for declaration in declared() if declaration.name in NAMES}


def _names(session: Session, name: str, until: float) -> Procedure[Names]:
    """Return the names of what an input takes; none if the key may not read them."""
    client, names = session.client, Names()
    try:
        if name == "metric_ids":
            for metric in (yield from client.list_metrics(until=until, go_on=lambda _: True)):
                names.setdefault(folded(metric.name), []).append(metric.id)
        elif name in LAUNCH_IDS:
            for listed in (yield from client.list_named(name, until=until, most=MOST_LISTED)):
                names.setdefault(folded(listed.name), []).append(listed.id)
    except CovalError:
        return {}
    return names


def _meant(name: str, text: str, names: Mapping[str, list[str]]) -> str:
    """Return which id a name has, as a clause."""
    if ids := names.get(folded(text)):
        return f"{quoted(text)} is {in_words(ids, 'or', MOST_SHOWN)}"
    return f"{quoted(text)} has {plural(len(text), 'character')} in place of the usual {_usual_lengths()[name]}"
