"""Variants of the API for points on which sources about Coval disagree."""

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

Number = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@dataclass(frozen=True, config=ConfigDict(use_attribute_docstrings=True))
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
    metrics_lag: Number = 0.0
    """Seconds from the run's end until the last value is available."""
    metrics_trickle: Number = 0.0
    """Seconds from the run's end until the last metric is listed; the first one is listed at once."""
    outputs_trickle: bool = False
    """The metric outputs of a simulation trickle in with the metrics of the run."""
    missing_values: Number = 0.0
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
    simulations_trickle: Number = 0.0
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
    metric_versions: Literal["shown", "null"] = "shown"
    """Whether metric outputs contain the version of their metric."""
    update_times: Literal["shown", "null"] = "shown"
    """Whether test cases contain the time of their last change."""
    not_found_after_launch: Number = 0.0
    """Seconds during which a new run cannot be read."""
    list_lag: Number = 0.0
    """Seconds during which a new run is not listed."""
    delete_running: Literal["cancelled", "deleted", "gone"] = "cancelled"
    """The status of an unfinished run after its DELETE; gone is a 404."""
    cancel_lag: Number = 0.0
    """Seconds from the DELETE of an unfinished run until it ends."""
    cancelling_status: str = ""
    """The status during that time; empty: unchanged."""
    attach_limit: Number = 300.0
    """Seconds until a simulation fails that waits for an agent's process."""
    offer_life: Number = 60.0
    """Seconds until an offer to such a process expires."""
    run_identity: Literal["both", "tags", "metadata", "neither"] = "both"
    """Which of its tags and metadata a run shows on its own."""
    list_identity: Literal["both", "tags", "metadata", "neither"] = "both"
    """Which of them a run shows in a list."""


DEFAULT = Quirks()
_FIELDS: dict[str, dict[str, Any]] = TypeAdapter(Quirks).json_schema()["properties"]
_WORDS = {"boolean": "true|false", "number": "<number>", "string": "<text>"}


def parse_quirks(settings: Iterable[str]) -> Quirks:
    """Parse settings such as "metrics-lag=30"; a name alone means true.

    Raises ValueError with the known names, or with a quirk's possible values.
    """
    names = {_option(name): name for name in _FIELDS}
    values: dict[str, Any] = {}
    for option, equals, value in (setting.partition("=") for setting in settings):
        if option not in names:
            raise ValueError(f"unknown quirk '{option}'; must be one of {', '.join(names)}")
        values[names[option]] = value if equals else "true"
    try:
        return Quirks(**values)
    except ValidationError as error:
        wrong = str(error.errors()[0]["loc"][0])
        raise ValueError(f"quirk {_option(wrong)} must be {_allowed(wrong)}; got '{values[wrong]}'") from None


def describe_quirks() -> dict[str, str]:
    """Return the meaning and default, by the name and possible values on the command line."""
    return {f"{_option(name)}={_allowed(name)}": _meaning(field) for name, field in _FIELDS.items()}


def _meaning(field: dict[str, Any]) -> str:
    text, default = field["description"], field["default"]
    shown = str(default).lower() if isinstance(default, bool) else default
    return f"{text} Default: {shown}." if default else text


def _allowed(name: str) -> str:
    field = _FIELDS[name]
    return "|".join(field["enum"]) if "enum" in field else _WORDS[field["type"]]


def _option(name: str) -> str:
    return name.replace("_", "-")
