"""Variants of the API, where sources about Coval disagree."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterable
from dataclasses import Field, dataclass, fields, replace
from itertools import pairwise
from typing import Any, Literal, cast, get_args, get_type_hints


@dataclass(frozen=True)
class Quirks:
    """The defaults follow the official client. `describe_quirks` shows the text below each field."""

    status_spelling: Literal["documented", "underscore", "lower", "running"] = "documented"
    """IN PROGRESS, IN_PROGRESS, in progress, or RUNNING and IN_QUEUE."""
    canceled_spelling: Literal["CANCELLED", "CANCELED"] = "CANCELLED"
    """The spelling of this status."""
    unknown_status: str = ""
    """The status of a run during its first 15 s in progress."""
    error_status: str = "scenario"
    """error_status of a finished run: the scenario's, null, or this text (may be empty)."""
    metric_shape: Literal["values", "summary"] = "values"
    """The metrics of a run map an id to values, or a name to mean, min and max."""
    metrics_lag: float = 0.0
    """Seconds from the run's end until the last value is available."""
    metrics_trickle: float = 0.0
    """Seconds from the run's end until the last metric is listed; the first one is listed at once."""
    outputs_trickle: bool = False
    """The metric outputs of a simulation trickle in with the metrics of the run."""
    missing_values: float = 0.0
    """Share of values that never arrive: omitted, null or with a FAILED output."""
    duplicate_values: bool = False
    """The first value of every metric is listed twice."""
    failed_values: Literal["omitted", "null"] = "omitted"
    """How failed conversations appear in a run's values."""
    skipped_simulations: bool = False
    """Failed conversations have the status SKIPPED and no error message."""
    superseded_outputs: bool = False
    """Every metric also has an older output, which the legacy list includes."""
    null_progress: bool = False
    """A run shows no progress."""
    progress_counts: Literal["test-cases", "simulations"] = "test-cases"
    """What a run's progress counts."""
    output_ids: Literal["shown", "absent"] = "shown"
    """Whether the results of a run name its simulations."""
    launch_response: Literal["minimal", "full", "name-only", "id-field", "top-level"] = "minimal"
    """A launch returns a short run, a whole run, only its name, only its id as `id`, or run_id outside `run`."""
    page_token_end: Literal["null", "absent", "empty"] = "null"  # noqa: S105 - a page token
    """next_page_token of the last page."""
    simulations_api: Literal["both", "legacy-only", "canonical-forbidden"] = "both"
    """/conversations/simulated works, returns 404 or returns 403."""
    mutation_fields: Literal["both", "id-only", "name-only"] = "both"
    """The fields of its mutation that a simulation shows."""
    same_mutation_names: bool = False
    """All mutations have the same name."""
    simulations_trickle: float = 0.0
    """Seconds from the run's end until the last simulation is listed with its values, one after another."""
    trickle_by_case: bool = False
    """All simulations of a test case are listed at once."""
    agent_metrics: Literal["shown", "hidden", "forbidden"] = "shown"
    """The agent lists its metrics, does not list them, or cannot be read."""
    ignore_tag_filter: bool = False
    """A filter by tag has no effect."""
    blind_tag_filter: bool = False
    """A filter by tag finds nothing."""
    refuse_tag_filter: bool = False
    """A filter by tag is rejected."""
    lower_case_tags: bool = False
    """The tags of a run are in lower case."""
    transcript: Literal["documented", "seconds", "text", "chat", "absent"] = "documented"
    """Times as documented, offsets in seconds, a text that contains JSON, no times, or no transcript."""
    averages: Literal["shown", "absent", "refused"] = "shown"
    """A list of runs with include=metric_averages contains them, lacks them, or is rejected."""
    metric_versions: Literal["shown", "null"] = "shown"
    """Whether metric outputs contain the version of their metric."""
    update_times: Literal["shown", "null"] = "shown"
    """Whether test cases contain the time of their last change."""
    iteration_limit: int = 50
    """The largest iteration_count that a launch accepts."""
    not_found_after_launch: float = 0.0
    """Seconds during which a new run cannot be read."""
    list_lag: float = 0.0
    """Seconds during which a new run is not listed."""
    delete_running: Literal["cancelled", "deleted", "gone"] = "cancelled"
    """The status of an unfinished run after its DELETE; gone is a 404."""
    cancel_lag: float = 0.0
    """Seconds from the DELETE of an unfinished run until it ends."""
    cancelling_status: str = ""
    """The status during that time; empty: unchanged."""
    attach_limit: float = 300.0
    """Seconds until a simulation fails that waits for an agent's process."""
    offer_life: float = 60.0
    """Seconds until an offer to such a process expires."""
    run_identity: Literal["both", "tags", "metadata", "neither"] = "both"
    """Which of its tags and metadata a run shows on its own."""
    list_identity: Literal["both", "tags", "metadata", "neither"] = "both"
    """Which of them a run shows in a list."""


DEFAULT = Quirks()
_BOOLEANS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


def parse_quirks(settings: Iterable[str]) -> Quirks:
    """Parse settings such as "metrics-lag=30"; a name alone means true.

    Raises ValueError with the known names, or with a quirk's possible values.
    """
    return replace(DEFAULT, **dict(_setting(text) for text in settings))


def describe_quirks() -> dict[str, str]:
    """Return the meaning and default, by the name and possible values on the command line."""
    texts = _texts()
    return {f"{_option(field.name)}={_allowed(field.name)}": _meaning(field, texts) for field in fields(Quirks)}


def _meaning(field: Field[Any], texts: dict[str, str]) -> str:
    default = str(field.default).lower() if isinstance(field.default, bool) else field.default
    return f"{texts[field.name]} Default: {default}." if field.default else texts[field.name]


def _texts() -> dict[str, str]:
    """Python itself does not keep the text below a field."""
    statements = cast("ast.ClassDef", ast.parse(inspect.getsource(Quirks)).body[0]).body
    texts = {}
    for pair in pairwise(statements):
        match pair:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                texts[name] = text
    return texts


def _setting(text: str) -> tuple[str, Any]:
    option, equals, value = text.partition("=")
    names = {_option(field.name): field.name for field in fields(Quirks)}
    if option not in names:
        raise ValueError(f"unknown quirk '{option}'; must be one of {', '.join(names)}")
    name = names[option]
    try:
        return name, _parsed(name, value if equals else "true")
    except (KeyError, ValueError):
        raise ValueError(f"quirk {option} must be {_allowed(name)}; got '{value}'") from None


def _parsed(name: str, value: str) -> object:
    kind = _kinds()[name]
    if kind is bool:
        return _BOOLEANS[value.lower()]
    if kind in (int, float):
        number = kind(value)
        if not 0 <= number < float("inf"):
            raise ValueError(value)
        return number
    if kind is str:
        return value
    if value not in get_args(kind):
        raise ValueError(value)
    return value


def _allowed(name: str) -> str:
    kind = _kinds()[name]
    words = {bool: "true|false", int: "<whole number>", float: "<number>", str: "<text>"}
    return words.get(kind) or "|".join(get_args(kind))


def _kinds() -> dict[str, Any]:
    return get_type_hints(Quirks)


def _option(name: str) -> str:
    return name.replace("_", "-")
