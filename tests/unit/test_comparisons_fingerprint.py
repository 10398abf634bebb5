"""A fingerprint shows what changed between two launches, and survives in a run's metadata."""

from typing import Any

import pytest

from coval_gate.coval.resources import Persona
from coval_gate.coval.resources import TestCase as Case
from coval_gate.features.comparisons.comparable import (
    FINGERPRINT,
    MOST_COMPARED_CASES,
    PART_LIMIT,
    Fingerprint,
    changed_cases,
    changed_options,
    changed_persona,
    fingerprint_of,
    read_fingerprint,
)

BODY: dict[str, Any] = {"agent_id": "a1", "persona_id": "p1", "test_set_id": "t1"}
PERSONA: dict[str, Any] = {"id": "p1", "name": "Ann", "persona_prompt": "Be kind.", "update_time": "1"}
EMPTY: list[Any] = [None, "", [], {}]  # as good as absent


def case(number: int, **fields: Any) -> Case:
    return Case.read({"id": f"case{number}", "input_str": f"Question {number}", **fields})


def cases(count: int, **fields: Any) -> list[Case]:
    return [case(number, **fields) for number in range(count)]


def ids(count: int) -> list[str]:
    return [case.id for case in cases(count)]


def fingerprint(count: int = 3, persona: dict[str, Any] = PERSONA, **body: Any) -> Fingerprint:
    return fingerprint_of(BODY | body, cases(count), Persona.read(persona))


@pytest.mark.parametrize("count", [0, 1, 3, MOST_COMPARED_CASES, MOST_COMPARED_CASES + 1, 1000])
def test_fingerprint_survives_metadata_in_small_texts(count: int) -> None:
    written = fingerprint(count, config_overrides={"a": {"b": 1}})
    metadata = written.as_metadata()
    assert read_fingerprint(metadata | {"other": 1}) == written
    assert next(iter(metadata)) == FINGERPRINT
    assert all(len(part) <= PART_LIMIT for part in metadata.values())
    assert sum(map(len, metadata.values())) <= 2100


def test_fingerprint_stays_as_earlier_versions_wrote_it() -> None:
    (text,) = fingerprint(2).as_metadata().values()
    assert text == "1.4b43746d.9ef3b286.74234e98.74234e98.74234e98.74234e98..Vc2ZA3Z9iQzmfC1q"


@pytest.mark.parametrize(
    ("fields", "is_noticed"),
    [
        ({"input_str": "Another question"}, True),
        ({"input_type": "SCRIPT"}, True),
        ({"expected_behaviors": ["greets"]}, True),
        ({"script_turns": ["Hello"]}, True),
        ({"metric_input": {"a": 1}}, True),
        *(({name: "other"}, False) for name in ("description", "user_notes", "name", "tags", "update_time")),
        *(({"script_turns": empty}, False) for empty in EMPTY),
    ],
)
def test_changed_content_of_test_case_is_noticed_and_its_looks_are_not(
    fields: dict[str, Any], is_noticed: bool
) -> None:
    changed = fingerprint_of(BODY, [case(2), case(1, **fields), case(0)], Persona.read(PERSONA))
    assert changed_cases(fingerprint(), changed, ids(3)) == frozenset(["case1"] * is_noticed)
    assert (changed == fingerprint()) is not is_noticed, "it depends on no order"


def test_test_case_that_one_fingerprint_lacks_counts_as_changed() -> None:
    assert changed_cases(fingerprint(4), fingerprint(3), ids(4)) == frozenset({"case3"})
    assert changed_cases(fingerprint(3), fingerprint(4), ids(4)) == frozenset({"case3"})


def test_many_test_cases_are_compared_as_a_whole() -> None:
    many = fingerprint(MOST_COMPARED_CASES + 1)
    assert changed_cases(many, fingerprint(MOST_COMPARED_CASES + 1), ids(5)) == frozenset()
    assert changed_cases(many, fingerprint(MOST_COMPARED_CASES + 2), ids(5)) is None
    assert changed_cases(many, fingerprint(3), ids(3)) is None


def test_without_both_fingerprints_nothing_is_known() -> None:
    complete, empty = fingerprint(), fingerprint_of(BODY)
    for now, then in (
        (complete, Fingerprint()),
        (Fingerprint(), complete),
        (complete, empty),
        (empty, complete),
        (empty, empty),
    ):
        assert changed_cases(now, then, ids(3)) is None
        assert changed_persona(now, then) is None
        assert changed_options(now, then) == ()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"persona_prompt": "Be rude."}, True),
        ({"language_code": "es"}, True),
        ({"metadata": {"a": 1}}, True),
        ({"name": "Bob"}, False),
        ({"update_time": "2"}, False),
    ],
)
def test_changed_behaviour_of_persona_is_noticed(change: dict[str, Any], expected: bool) -> None:
    assert changed_persona(fingerprint(), fingerprint(persona=PERSONA | change)) is expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, ()),
        ({"options": {"iteration_count": 5, "concurrency": 3}}, ()),
        ({"config_overrides": {"timeout": 9}}, ("config_overrides",)),
        ({"options": {"sub_sample_size": 5, "sub_sample_seed": 1}}, ("sub_sample_size", "sub_sample_seed")),
    ],
)
def test_changed_options_are_named(body: dict[str, Any], expected: tuple[str, ...]) -> None:
    assert changed_options(fingerprint(), fingerprint(**body)) == expected


@pytest.mark.parametrize("damaged", [None, 7, "", "1.x"])
def test_damaged_fingerprint_is_empty(damaged: object) -> None:
    metadata: dict[str, Any] = fingerprint(60).as_metadata()
    assert len(metadata) > 1
    for name in metadata:
        assert read_fingerprint(metadata | {name: damaged}) == Fingerprint()
        assert read_fingerprint({key: part for key, part in metadata.items() if key != name}) == Fingerprint()
        assert read_fingerprint(metadata | {name: f"{metadata[name][:-1]}~"}) == Fingerprint()


def test_other_version_is_empty() -> None:
    metadata = fingerprint().as_metadata()
    assert read_fingerprint(metadata | {FINGERPRINT: "2" + metadata[FINGERPRINT][1:]}) == Fingerprint()
