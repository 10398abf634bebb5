"""Coval's JSON as the readers parse it: runs, values, simulations and their mutations, and resources."""

import json
import math
from collections.abc import Callable
from typing import Any

import pytest

from coval_gate.base.secret import Secret
from coval_gate.base.transport import Server
from coval_gate.coval.model import (
    BASE,
    LARGEST_VALUE,
    SMALLEST_VALUE,
    Metric,
    Run,
    Simulation,
    Summary,
    Turn,
    normalize_status,
)
from coval_gate.coval.resources import Agent, MetricDefinition, MetricOutput, Persona, RunTemplate, newest
from coval_gate.coval.resources import TestCase as Case
from coval_gate.coval.results import (
    parse_one,
    read_launched,
    read_metrics,
    read_run,
    read_runs,
    read_simulations,
    read_value,
    with_unique_mutations,
    without_numbers,
)
from coval_gate.coval.transcripts import LONGEST_TURN, MOST_MESSAGES, read_transcript


def read_simulation(fields: dict[str, Any]) -> Simulation:
    return read_simulations([fields])[0]


def launched_run(fields: dict[str, Any]) -> Run:
    return read_launched([fields])[0]


REQUIRED: dict[Callable[[dict[str, Any]], Any], dict[str, Any]] = {
    launched_run: {"run_id": "r1"},
    read_run: {"run_id": "r1", "status": "COMPLETED"},
    read_simulation: {"simulation_id": "s1", "status": "COMPLETED"},
    Agent.read: {"id": "a1"},
    Persona.read: {"id": "p1"},
    Case.read: {"id": "c1"},
    MetricDefinition.read: {"id": "m1"},
    MetricOutput.read: {"metric_id": "m1", "status": "COMPLETED"},
}


def run(**fields: Any) -> Run:
    return read_run(REQUIRED[read_run] | fields)


@pytest.mark.parametrize(
    ("spelling", "status", "over", "known"),
    [
        ("PENDING", "PENDING", False, True),
        ("IN_PROGRESS", "IN PROGRESS", False, True),
        ("in-queue", "IN QUEUE", False, True),
        ("Canceled", "CANCELLED", True, True),
        ("DELETED", "DELETED", True, True),
        ("PAUSED", "PAUSED", False, False),
    ],
)
def test_status_is_over_or_known_however_it_is_spelt(spelling: str, status: str, over: bool, known: bool) -> None:
    assert normalize_status(spelling) == status
    assert (run(status=spelling).is_over, run(status=spelling).has_known_status) == (over, known)


@pytest.mark.parametrize(
    "response",
    [
        {"run": {"name": "runs/r1", "create_time": "2025-10-14T12:00:00Z"}},
        {"run": {"run_id": None, "id": "r1", "status": 7, "create_time": 7}},
        {"run_id": "r1"},
    ],
)
def test_launch_response_requires_run_id_only(response: dict[str, Any]) -> None:
    launched = parse_one(response, ("run",), read_launched)
    assert (launched.run_id, launched.status) == ("r1", "PENDING")


def counts(total: object, completed: object, failed: object, active: object = 0) -> dict[str, object]:
    """Return progress with the field names of the API."""
    names = ("total", "completed", "failed", "in_progress")
    return {f"{name}_test_cases": each for name, each in zip(names, (total, completed, failed, active), strict=True)}


@pytest.mark.parametrize(
    ("progress", "done"),
    [
        (counts(10, 7, None), 7),
        (None, None),
        ({"completed_test_cases": 7}, None),
    ],
)
def test_progress_counts_done_simulations(progress: object, done: int | None) -> None:
    progress_of = run(progress=progress).progress
    assert (progress_of and progress_of.done) == done


THRESHOLD, TARGET = "organization_threshold", "target_condition"
WRONG_RESULTS: list[Any] = [
    [],
    {"output_ids": [None]},
    {"metrics": []},
    {"metrics": {"m1": 5}},
    {"metrics": {"m1": {"values": {}}}},
    {"metrics": {"m1": {"values": ["odd"]}}},
    {"metrics": {"m1": {"values": [{"value": 3}]}}},
    {"metrics": {"m1": {"values": [{"simulation_output_id": 1, "value": 3}]}}},
]


WRONG: list[tuple[Callable[[dict[str, Any]], object], str, Any]] = [
    *((read_run, "status", value) for value in (None, 7, "  ", ["COMPLETED"], "COMP\u200bLETED", "X" * 41)),
    *((launched_run, "run_id", value) for value in ("", "../x", "a b", 7, None, "x" * 65, "r1\n::error::")),
    (read_run, "progress", 5),
    *((read_run, "progress", counts(total, 1, 0)) for total in ("many", -1, True)),
    (read_run, "agent_id", 7),
    (read_run, "persona_id", "../x"),
    (read_run, "tags", "nightly"),
    (read_run, "tags", ["nightly", None]),
    (read_run, "metadata", []),
    (read_run, "metadata", {"customer": "x"}),
    *((read_run, "results", value) for value in WRONG_RESULTS),
    *((read_simulation, "simulation_id", id_) for id_ in (None, "", 5, "../x", "a b")),
    *((read_simulation, "status", status) for status in (None, 7)),
    (read_simulation, "test_case_id", 5),
    (read_simulation, "mutation_name", []),
    (read_simulation, "error_message", {}),
    *((Agent.read, "id", id_) for id_ in (None, 5, "../runs", "${{ x }}")),
    *((Agent.read, "metric_ids", ids) for ids in ("m1", ["m1", None])),
    (Case.read, "id", None),
    (Case.read, "description", 5),
    (MetricOutput.read, "metric_id", None),
    (MetricOutput.read, "status", 5),
    (MetricDefinition.read, "id", None),
    (MetricDefinition.read, "metric_type", 5),
    (MetricDefinition.read, TARGET, "gte"),
    (MetricDefinition.read, THRESHOLD, {"comparison_operator": ["gte"]}),
    *((MetricDefinition.read, TARGET, {"target_float": number}) for number in ("4", True, 10**400)),
    *((MetricDefinition.read, TARGET, {"target_values": texts}) for texts in ("YES", ["a", 1])),
]


def test_field_of_a_wrong_type_is_error(subtests: pytest.Subtests) -> None:
    for read, name, value in WRONG:
        with (
            subtests.test(f"{name}: {value}"),
            pytest.raises(ValueError, match=r"^[a-z_]+: (missing|not an? )") as caught,
        ):
            read(REQUIRED[read] | {name: value})
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) <= 200


@pytest.mark.parametrize(
    ("error_status", "is_clean"),
    [(None, True), ("", True), ("success", True), ("EXECUTION_FAILURE", False), ({"a": 1}, False), ("\u200b", False)],
)
def test_run_is_clean_without_error_status(error_status: object, is_clean: bool) -> None:
    assert run(error_status=error_status).is_clean is is_clean


@pytest.mark.parametrize("name", [b'"x\\ud83d"', b'"\xff"', b'"caf\xc3"', b"[" * 300 + b"]" * 300])
def test_malformed_display_name_is_ignored(name: bytes) -> None:
    body = b'\xef\xbb\xbf{"run": {"run_id": "r1", "status": "COMPLETED", "display_name": %b}}' % name
    server = Server(root="", credential=Secret(""), credential_header="")
    assert parse_one(server.content_of(body), ("run",), read_runs).status == "COMPLETED"


@pytest.mark.parametrize(
    ("total", "output_ids", "is_empty"),
    [(0, [], True), (0, ["s1"], False), (0, None, False), (None, [], False), (1, [], False)],
)
def test_run_is_empty_only_if_both_counts_are_zero(total: int | None, output_ids: Any, is_empty: bool) -> None:
    assert run(progress=counts(total, 0, 0), results={"output_ids": output_ids}).is_empty is is_empty
    assert not run(progress=counts(total, 0, 0)).is_empty
    assert not run(results={"output_ids": output_ids}).is_empty


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (1, 1.0),
        ("-1e3", -1000.0),
        ("  ", None),
        (None, None),
        (math.nan, None),
        ("nan", "nan"),
        ("1e999", None),
        (10**400, None),
        (LARGEST_VALUE, LARGEST_VALUE),
        (SMALLEST_VALUE, SMALLEST_VALUE),
        (-5e-324, 0.0),
        ("٣", "٣"),
        (True, "true"),
        (["a", " b "], frozenset({"a", "b"})),
        ([7, "1234567", 0.12345678], frozenset({"7", "1234567", "0.12345678"})),
        ({"a": 1}, None),
    ],
)
def test_value_is_number_text_or_set(raw: object, value: object) -> None:
    assert read_value(raw) == value


def values(*pairs: tuple[str, Any], **fields: Any) -> dict[str, Any]:
    """Return a metric in a run, with the values of simulations."""
    return fields | {"values": [{"simulation_output_id": id_, "value": value} for id_, value in pairs]}


@pytest.mark.parametrize(
    ("entries", "metrics"),
    [
        (
            {"m1": values(("s1", 0.9), ("s2", None), ("s3", "1.1"), ("s3", 1.1), metric_name="Latency")},
            [Metric("m1", "Latency", {"s1": 0.9, "s3": 1.1})],
        ),
        ({"m1": values(("s1", "YES"), ("s1", "NO"))}, [Metric("m1", "m1", {})]),
        (  # two entries of one metric are one, and two values of a simulation none
            {
                "m1": values(("s1", 1.0), ("s2", 2.0), metric_id="m1"),
                "Latency": values(("s2", 3.0), ("s3", 4.0), metric_id="m1"),
            },
            [Metric("m1", "m1", {"s1": 1.0, "s3": 4.0})],
        ),
        (
            {"up": {"mean": 0.95, "min": "0.85", "max": None}, "none": {}},
            [
                Metric("up", "up", summary=Summary(mean=0.95, min=0.85), is_identified=False),
                Metric("none", "none", is_identified=False),
            ],
        ),
        ({"Latency": {"metric_id": "m1", "mean": 0.9}}, [Metric("m1", "Latency", summary=Summary(mean=0.9))]),
    ],
)
def test_metrics_have_values_or_a_summary(entries: dict[str, Any], metrics: list[Metric]) -> None:
    assert read_metrics(entries) == run(results={"metrics": entries}).metrics == tuple(metrics)


def test_simulation_is_read_without_phone_number() -> None:
    fields = {
        "simulation_id": "s1",
        "status": "in_progress",
        "test_case_id": "t1",
        "mutation_id": "u1",
        "mutation_name": "Faster model",
        "destination": {"type": "phone", "value": "+15550100"},
        "error_message": "No\nanswer at +14155550123",
    }
    assert read_simulation(fields) == Simulation(
        "s1", "IN PROGRESS", "t1", mutation="Faster model", mutation_id="u1", error="No answer at +…"
    )
    assert read_simulation({"id": "s1", "status": "PAUSED"}) == Simulation("s1", "PAUSED", mutation=BASE)


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("Could not dial +14155550123.", "Could not dial +…."),
        ("No answer at +49 (30) 123-456 today", "No answer at +… today"),
        ("At 2026-01-01 10:00 it took +5 s", "At 2026-01-01 10:00 it took +5 s"),
    ],
)
def test_phone_numbers_in_text_are_redacted(text: str, redacted: str) -> None:
    assert without_numbers(text) == redacted


def listed(*rows: tuple[str | None, str | None]) -> tuple[Simulation, ...]:
    """Return simulations whose rows have these ids and names of mutations."""
    fields = [REQUIRED[read_simulation] | {"mutation_id": id_, "mutation_name": name} for id_, name in rows]
    return with_unique_mutations([*map(read_simulation, fields)])


@pytest.mark.parametrize(
    ("rows", "variants"),
    [
        ([(None, None), ("u1", "Fast")], [("", ""), ("Fast", "u1")]),
        ([("u1", "Fast"), ("u2", "Fast"), ("u1", "Fast")],
         [("Fast [u1]", "u1"), ("Fast [u2]", "u2"), ("Fast [u1]", "u1")]),
        ([("u1", "Fast"), ("u2", "Calm")], [("Fast", "u1"), ("Calm", "u2")]),
        ([("u1", "Fast"), ("u1", "Faster")], [("Fast", "u1"), ("Fast", "u1")]),
        ([("u1", None), ("u2", None)], [("u1", "u1"), ("u2", "u2")]),
        ([("u1", " "), ("u2", "")], [("u1", "u1"), ("u2", "u2")]),
        ([("u1", None), ("u1", "Fast")], [("Fast", "u1"), ("Fast", "u1")]),
        ([(None, "Fast"), (None, "Calm")], [("Fast", ""), ("Calm", "")]),
        ([("u1", "X"), ("u2", "X"), ("u3", "X [u1]")],
         [("X [u1] [u1]", "u1"), ("X [u2]", "u2"), ("X [u1] [u3]", "u3")]),
    ],
)  # fmt: skip
def test_mutations_are_distinguished_by_their_ids(
    rows: list[tuple[str | None, str | None]], variants: list[tuple[str, str]]
) -> None:
    assert [(simulation.mutation, simulation.mutation_id) for simulation in listed(*rows)] == variants


@pytest.mark.parametrize(
    ("kind", "categories", "texts"),
    [
        ("METRIC_LLM_BINARY", None, ("YES", "NO", "UNKNOWN")),
        ("METRIC_AUDIO_LLM_BINARY", ["a"], ("YES", "NO", "UNKNOWN")),
        ("METRIC_CATEGORICAL", ["calm", " upset ", "calm"], ("calm", "upset")),
        ("METRIC_AGENT_JUDGE_CATEGORICAL", [], ()),
        (None, ["calm"], ()),
    ],
)
def test_texts_of_definition(kind: Any, categories: Any, texts: tuple[str, ...]) -> None:
    assert MetricDefinition.read({"id": "m1", "metric_type": kind, "categories": categories}).texts == texts


def test_small_values_of_delays_and_errors_are_better() -> None:
    kinds: dict[Any, bool] = {"METRIC_LLM_TTFB": True, "METRIC_TRACE_STT_WER": True, "METRIC_PYTHON": False}
    assert {kind: MetricDefinition.read({"id": "m1", "metric_type": kind}).wants_less for kind in kinds} == kinds


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        ({"agent_ids": ["a1", "a2"], "metadata": {"team": "voice"}}, (("a1", "a2"), {"team": "voice"})),
        ({"agent_id": "a1", "metadata": {"customer": {"team": "voice"}, "tags": []}}, (("a1",), {"team": "voice"})),
        ({"agent_id": "", "agent_ids": None, "metadata": {"customer": None}}, ((), {})),
    ],
)
def test_template_is_read_as_the_sdk_and_as_the_documentation_have_it(fields: Any, shown: object) -> None:
    template = RunTemplate.read({"id": "t1"} | fields)
    assert (template.agent_ids, template.customer) == shown
    for name in ("agent_ids", "agent_id", "metadata"):
        with pytest.raises(ValueError, match=r"not an? "):
            RunTemplate.read({"id": "t1", name: 7})


def test_resource_has_any_name() -> None:
    assert Agent.read({"id": "a1", "display_name": "Front\ndesk"}) == Agent(id="a1", name="Front desk")
    assert Agent.read({"id": "a1", "name": "Front desk"}) == Agent(id="a1", name="Front desk")


@pytest.mark.parametrize(
    ("fields", "label"),
    [
        ({"description": "A caller\nasks", "input_str": "Hello"}, "A caller asks"),
        ({"description": "", "input_str": "Call +1 415 555 0123 now"}, "Call +… now"),
        ({"input_str": "x" * 101}, "x" * 99 + "…"),
    ],
)
def test_label_of_test_case_is_short_and_has_no_phone_number(fields: dict[str, Any], label: str) -> None:
    assert Case.read({"id": "c1"} | fields).label == label


def test_test_case_that_was_never_updated_is_as_old_as_itself() -> None:
    times = {"create_time": "2026-01-01T00:00:00Z", "update_time": None}
    assert Case.read({"id": "c1"} | times).update_time == "2026-01-01T00:00:00Z"
    assert Case.read({"id": "c1"} | times | {"update_time": "2026-02-01T00:00:00Z"}).update_time[5:7] == "02"


def test_newest_output_of_each_metric_counts_without_phone_number() -> None:
    def output(id_: str, metric: str, **fields: Any) -> MetricOutput:
        return MetricOutput.read({"metric_output_id": id_, "metric_id": metric, "status": "in_progress"} | fields)

    entries = [output("o3", "m1", value="NO"), output("o1", "m1", value="YES"), output("o2", "m2", value=[None])]
    assert {entry.metric_id: entry.value for entry in newest(entries)} == {"m1": "NO", "m2": None}
    fields = {"explanation": "It dialled +14155550123.", "metric_version_ulid": None}
    read = output("o1", "m1", **fields)
    assert (read.id, read.status, read.value, read.explanation, read.version) == (
        *("o1", "IN PROGRESS", None),
        *("It dialled +….", ""),
    )


# Transcripts: every documented format is read, and an unreadable one is empty


def spoken(role: str, text: str, **times: Any) -> dict[str, Any]:
    return {"role": role, "content": text, **times}


def times_of(*messages: dict[str, Any]) -> list[tuple[float | None, float | None]]:
    return [(turn.start, turn.end) for turn in read_transcript(list(messages))]


DOCUMENTED = [
    spoken("assistant", "Hello?", start_timestamp="1767225600.000", end_timestamp="1767225600.800", start_offset=0),
    spoken("user", "Hi.", start_timestamp="1767225601.200", end_timestamp="1767225602.000", start_offset=1200),
]
FLOATS = [
    spoken("agent", "Hello?", start_time=0.0, end_time=0.8, start_offset=5, end_offset=4),
    spoken("persona", "Hi.", start_time=1.2, end_time=2.0),
]


def offsets(unit: int | float) -> list[dict[str, Any]]:
    return [
        spoken("assistant", "Hello?", start_offset=0 * unit, end_offset=800 * unit),
        spoken("user", "Hi.", start_offset=1200 * unit, end_offset=2000 * unit),
    ]


@pytest.mark.parametrize(
    "raw", [DOCUMENTED, FLOATS, offsets(1), offsets(0.001), json.dumps(DOCUMENTED), json.dumps(offsets(0.001))]
)
def test_transcript_is_read_in_every_shape(raw: object) -> None:
    assert read_transcript(raw) == (
        Turn(role="agent", text="Hello?", start=0.0, end=0.8),
        Turn(role="persona", text="Hi.", start=1.2, end=2.0),
    )


@pytest.mark.parametrize(
    "message",
    [
        spoken("TOOL", "x"),
        spoken("assistant", "look_up(12)", is_tool_call=True),
        {"role": "assistant", "content": None},
        spoken("assistant", "  \u200b\x07 "),
        spoken("assistant", {"audio_url": "https://bucket.example/call.wav?signature=s"}),  # type: ignore[arg-type]
        "Hi.",
        7,
    ],
)
def test_what_was_not_spoken_is_left_out(message: object) -> None:
    assert [turn.text for turn in read_transcript([spoken("user", "Hi."), message, spoken("user", "Bye.")])] == [
        "Hi.",
        "Bye.",
    ]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("Call +1 (555) 010-0123 now", "Call +… now"),
        ("two\nlines\tand \x1b[31mred\u202e", "two lines and red"),
        ({"text": "in an object"}, "in an object"),
        ("x" * (LONGEST_TURN + 1), "x" * (LONGEST_TURN - 1) + "…"),
    ],
)
def test_text_is_one_short_line_without_phone_numbers(content: Any, text: str) -> None:
    assert [turn.text for turn in read_transcript([spoken("assistant", content)])] == [text]


@pytest.mark.parametrize("raw", [None, "", "Hello?", "{}", "[", "[" * 100_000, {}, {"messages": []}, 7, True, [], [[]]])
def test_unreadable_transcript_is_empty(raw: object) -> None:
    assert read_transcript(raw) == ()


def test_long_transcript_is_cut() -> None:
    assert len(read_transcript([spoken("user", "Hi.")] * (MOST_MESSAGES + 1))) == MOST_MESSAGES


@pytest.mark.parametrize(
    "messages",
    [
        [spoken("user", "a", start_offset=0, end_offset=0), spoken("user", "b", start_offset=0, end_offset=0)],  # unset
        [spoken("user", "a", start_time="soon", end_time=[1])],
        [spoken("user", "a", start_offset=1e300, end_offset=float("nan"))],
    ],
)
def test_what_is_no_time_is_left_out(messages: list[dict[str, Any]]) -> None:
    assert times_of(*messages) == [(None, None)] * len(messages)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"start_time": 1.0, "end_time": 4.0}, {"start_time": 3.0, "end_time": 5.0}),  # one interrupts the other
        ({}, {}),  # a chat
        ({"start_offset": 0, "end_offset": 2}, {"start_offset": 600, "end_offset": 900}),  # whole seconds
    ],
)
def test_each_turn_has_its_own_times(first: dict[str, Any], second: dict[str, Any]) -> None:
    wanted = [(*times.values(),) or (None, None) for times in (first, second)]
    assert times_of(spoken("user", "a", **first), spoken("agent", "b", **second)) == wanted
