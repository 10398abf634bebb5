"""The file of a suite: its legs, the line of every mistake in it, and that any text is either legs or mistakes."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from coval_gate.base.errors import InputError
from coval_gate.config.checks import check_inputs, warnings_about
from coval_gate.config.inputs import Inputs, LegInputs, parse_inputs
from coval_gate.config.suite import LARGEST, MOST_MISTAKES, Suite, allowed_inputs, read_suite
from hostile import NAMED
from selection import some_of
from support import IDS, KEY, other_value

SUITE = """\
defaults:
  agent_id: agent00000000000000009
  iteration_count: 2
  thresholds: |
    Compliance: count(NO) == 0
legs:
  booking, calm caller:
    persona_id: 01234567
    thresholds: |
      # what callers come for

      Resolved: rate(YES) >= 95%
  refunds:
    test_set_id: yes
    iteration_count: 3
    metric_ids: [a1, 02]
    config_overrides: {"timeout": {"seconds": 300}}
"""
LONG = "x" * 201


def step(**inputs: str) -> Inputs:
    """Return the inputs of a step with a suite."""
    given = IDS | {"api_key": KEY, "suite_path": "suite.yml"} | inputs
    parsed, problems = parse_inputs({f"INPUT_{name.upper()}": value for name, value in given.items()})
    assert problems == []
    return parsed


def read(text: str, *, is_json: bool = False, **inputs: str) -> Suite:
    return read_suite(text.encode(), step(**inputs), is_json=is_json)


def legs(text: str, *, is_json: bool = False, **inputs: str) -> dict[str, LegInputs]:
    """Return the legs of a suite without mistakes, by name."""
    suite = read(text, is_json=is_json, **inputs)
    assert suite.problems == ()
    return {leg.name: leg for leg in suite.legs}


def mistakes(text: str, **given: Any) -> list[str]:
    """Return the first line of each problem."""
    problems = read(text, **given).problems
    assert {problem.name for problem in problems} <= {"suite_path"}
    return [problem.what.split("\n")[0].removeprefix(", ") for problem in problems]


def contradictions(text: str, **inputs: str) -> tuple[str, ...]:
    """Return what the step says of the inputs of its legs together."""
    given = step(**inputs)
    suite = read_suite(text.encode(), given)
    assert suite.problems == ()
    with pytest.raises(InputError) as caught:
        check_inputs(given, [], {}, "", suite.legs)
    return caught.value.problems


def test_leg_wins_over_defaults_and_these_over_the_step() -> None:
    found = legs(SUITE, iteration_count="9", concurrency="4")
    assert list(found) == ["booking, calm caller", "refunds"]
    calm, refunds = (leg.inputs for leg in found.values())
    assert (calm.agent_id, calm.persona_id) == (("agent00000000000000009",), ("01234567",))
    assert (calm.test_set_id, refunds.test_set_id) == ((IDS["test_set_id"],), ("yes",))
    assert (calm.iteration_count, refunds.iteration_count) == (2, 3)
    assert (calm.concurrency, refunds.concurrency) == (4, 4)
    assert refunds.metric_ids == ("a1", "02")
    assert refunds.config_overrides == {"timeout": {"seconds": 300}}


def test_thresholds_add_up_and_know_their_lines() -> None:
    calm, refunds = legs(SUITE, thresholds="\nLatency: avg < 2").values()
    assert [(entry.text, entry.place) for entry in calm.inputs.thresholds] == [
        ("Latency: avg < 2", "thresholds, line 1"),
        ("Compliance: count(NO) == 0", "suite_path, line 5"),
        ("Resolved: rate(YES) >= 95%", "suite_path, line 12"),
    ]
    assert SUITE.splitlines()[11].strip() == "Resolved: rate(YES) >= 95%"
    assert len(refunds.inputs.thresholds) == 2


def test_legs_know_their_lines() -> None:
    calm, refunds = legs(SUITE).values()
    assert (calm.line, refunds.line) == (7, 13)
    assert (refunds.places["test_set_id"], refunds.places["agent_id"]) == ((14, "legs.refunds"), (2, "defaults"))


def test_json_takes_the_same_road() -> None:
    document: dict[str, Any] = {
        "defaults": {"persona_id": "p1"},
        "legs": {
            "a \U0001f4de": {"iteration_count": 3, "use_metric_targets": True, "tags": ["x, y", "z"]},
            "b": {"thresholds": ["Latency: avg < 2", "Resolved: rate(YES) >= 95%"], "metadata": {"n": [1, None]}},
        },
    }
    for text in (json.dumps(document), json.dumps(document, indent="\t"), "\ufeff" + json.dumps(document, indent=1)):
        found = legs(text, is_json=True)
        first, second = (leg.inputs for leg in found.values())
        assert list(found) == list(document["legs"])
        assert (first.iteration_count, first.use_metric_targets, first.tags) == (3, True, ("x, y", "z"))
        assert [entry.text for entry in second.thresholds] == ["Latency: avg < 2", "Resolved: rate(YES) >= 95%"]
        assert second.metadata == {"n": [1, None]}


def test_quoted_empty_value_is_the_default_of_the_input() -> None:
    found = legs(
        'legs:\n  a:\n    iteration_count: ""\n    tags: []\n    mutation_id: ""', iteration_count="4", tags="x"
    )
    assert (found["a"].inputs.iteration_count, found["a"].inputs.tags) == (1, ())


@pytest.mark.parametrize("name", allowed_inputs())
def test_every_input_of_a_leg_is_parsed_as_in_the_step(name: str) -> None:
    declaration = allowed_inputs()[name]
    value = other_value(declaration) if declaration.field.name != "id or list of ids" else "id1"
    (leg,) = legs(f"legs:\n  a:\n    {name}: {json.dumps(value)}").values()
    wanted = getattr(step(**{name: value}), name)
    actual = getattr(leg.inputs, name)
    if name == "thresholds":
        wanted, actual = [entry.text for entry in wanted], [entry.text for entry in actual]
    assert actual == wanted != declaration.default_value


LEG = "legs:\n  a:\n    "
MISTAKES: dict[str, str] = {
    "": "line 1: the file must be a mapping with legs, and perhaps defaults.",
    "# nothing": "line 1: the file must be a mapping with legs, and perhaps defaults.",
    "\n- legs": "line 2: the file must be a mapping with legs, and perhaps defaults.",
    "defaults: {agent_id: a}": "line 1: legs is missing: it has the inputs of each leg below the leg's name.",
    "legs:": "line 1: legs must be a mapping from the name of each leg to its inputs.",
    "legs: {}": "line 1: legs is empty; name at least one leg.",
    "legs: [a]": "line 1: legs must be a mapping from the name of each leg to its inputs.",
    "legs:\n  a: {}\nleggs: {}": "line 3: leggs is not a part of a suite; did you mean legs?",
    "legs:\n  a: {}\nversion: 1": "line 3: version is not a part of a suite; there are defaults and legs.",
    "legs:\n  a: {}\nagent_id: x": "line 3: agent_id stands beside legs; write it below defaults, or in a leg.",
    "legs:\n  a:\n  b: {}": "line 2: legs.a must be a mapping from inputs to values.",
    "legs:\n  a: text": "line 2: legs.a must be a mapping from inputs to values.",
    "defaults: 3\nlegs:\n  a: {}": "line 1: defaults must be a mapping from inputs to values.",
    "legs:\n  a: {}\n  a: {tags: x}": "line 3: legs.a stands in line 2, too; keep one of the two.",
    'legs:\n  a  b: {}\n  "a b ": {tags: x}': 'line 3: legs: the name "a b" stands in line 2, too; choose another one.',
    "legs:\n  '  ': {}": "line 2: legs has a leg with an empty name.",
    f"legs:\n  {LONG}: {{}}": f'line 2: legs: the name "{LONG[:59]}…" must have at most 200 characters.',
    'legs:\n  "a\\nb": {}': 'line 2: legs: the name "a b" must be one line of printable characters.',
    'legs:\n  "a\\e[31m": {}': 'line 2: legs: the name "a[31m" must be one line of printable characters.',
    "legs:\n  base: {}": 'line 2: legs: the name "base" is kept for the base agent; choose another one.',
    "legs:\n  ? [a, b]\n  : {}": "line 2: legs has a key that is not a text.",
    f"{LEG}persona_idd: x": "line 3: legs.a.persona_idd is not an input of a leg; did you mean persona_id?",
    f"{LEG}iterations: 3": "line 3: legs.a.iterations is not an input of a leg; did you mean iteration_count?",
    f"{LEG}colour: red": "line 3: legs.a.colour is not an input of a leg.",
    f"{LEG}<<: x": "line 3: legs.a.<< is not an input of a leg.",
    f"{LEG}tags: x\n    tags: y": "line 4: legs.a.tags stands in line 3, too; keep one of the two.",
    f"{LEG}tags:": 'line 3: legs.a.tags has no value; write one, or "" for none.',
    f"{LEG}persona_id: a, b": "line 3: legs.a.persona_id must be one id; got 2. Name another leg for each.",
    f"{LEG}persona_id: [a]": "line 3: legs.a.persona_id must be one id; name another leg for each.",
    f"{LEG}persona_id: {{a: b}}": "line 3: legs.a.persona_id must be a value, not a mapping.",
    f"{LEG}iteration_count: [3]": "line 3: legs.a.iteration_count must be one value, not a list.",
    f"{LEG}iteration_count: three": (
        'line 3: legs.a.iteration_count must be a whole number of at least 1; got "three".'
    ),
    f"{LEG}tags: [[x]]": "line 3: legs.a.tags must be a list of texts.",
    f"{LEG}metadata:\n      a: b": (
        'line 3: legs.a.metadata must be JSON: in braces, with its texts in double quotes, such as {"key": "text"}.'
    ),
    f"{LEG}thresholds:\n      - Latency: avg < 1": (
        "line 4: legs.a.thresholds must be text, one threshold per line below `thresholds: |`."
    ),
    f"{LEG}thresholds: |\n      # x\n\n      Latency: avg < 1\n      Latency avg < 1": (
        "line 7: legs.a.thresholds: put a colon after the metric."
    ),
    f"{LEG}tags: &x y": "line 3: &x is an anchor; write the values out, or put what all legs share into defaults.",
    f"{LEG}tags: *x": "line 3: *x is an alias; write the values out, or put what all legs share into defaults.",
    f"{LEG}tags: !!str y": (
        "line 3: tag:yaml.org,2002:str is a tag; remove it, because values are text anyway."
    ),
    "legs:\n  a: {}\n---\nlegs: {}": "line 3: a second document begins here; a suite is one.",
    "legs:\n  a: {}\n\tb: {}": (
        "line 3: the file is not valid YAML: found character '\\t' that cannot start any token; indent with spaces."
    ),
    "legs:\n  a: {": "line 2: the file is not valid YAML: expected the node content, but found '<stream end>'.",
    "legs:\n  a: \x00": "line 2: the file has a character that YAML does not allow; remove it.",
    'legs:\n  a:\n    tags: "\\UFFFFFFFF"': "line 3: the file is not valid YAML near this line.",
    f'{LEG}tags: "\\ud83d"': "line 3: half of an escaped character is missing; write the character itself.",
    f"{LEG}tags: {'[' * 120}": "line 3: the file is nested more than 100 levels deep.",
    f"{LEG}tags: {KEY}": "line 3: the file holds the API key, which must be set in api_key only.",
    f"{LEG}tags: coval_sk_prod_of_another": (
        "line 3: the file holds an API key of Coval, which must be set in api_key only."
    ),
    "legs:\n  a: {tags: x}\n  b: {tags: y}": (
        "line 3: legs.b is the same as legs.a in line 2: ids, options and thresholds; remove one."
    ),
    "defaults: {promote: stable}\nlegs:\n  a: {}\n  b: {iteration_count: 2}": (
        "line 4: legs.b has the same agent, persona and test set as legs.a in line 3, so promote cannot be stable in "
        "both; give each its own tag."
    ),
}  # fmt: skip


@pytest.mark.parametrize("text", MISTAKES, ids=MISTAKES.values())
def test_mistake_has_its_line(text: str) -> None:
    found = mistakes(text)
    if text.endswith("*x"):  # nothing has the anchor
        assert found[0] == MISTAKES[text]
    else:
        assert found == [MISTAKES[text]]


@pytest.mark.parametrize("name", sorted({"api_key", "mode", "max_wait_time", "json_path", "suite_path", "accept"}))
def test_input_of_the_whole_step_is_refused_with_what_may_stand_there(name: str) -> None:
    (problem,) = read(f"{LEG}{name}: x").problems
    first, others = problem.what.split("\n")
    assert first == f", line 3: legs.a.{name} is about the whole step, so a suite cannot set it; set it in the step."
    assert others.startswith("A leg may have: agent_id, persona_id, ")
    assert f" {name}," not in others


def test_all_mistakes_are_told_together() -> None:
    text = "defaults:\n  iteration_count: x\nlegs:\n  a:\n    tag: x\n    agent_id: &a b\n  b:\n    persona_id: 'a b'\n"
    assert [what.split(":")[0] for what in mistakes(text)] == ["line 2", "line 5", "line 6", "line 8"]


def test_very_many_mistakes_are_counted() -> None:
    found = mistakes("legs:\n" + "".join(f"  leg {number}: text\n" for number in range(80)))
    assert len(found) == MOST_MISTAKES + 1
    assert found[-1] == "has 30 more mistakes."


def test_a_step_has_at_most_a_hundred_legs() -> None:
    many = "legs:\n" + "".join(f"  leg {number}: {{tags: x, sub_sample_size: {number}}}\n" for number in range(102))
    assert mistakes(many) == ["line 102: legs has more than 100 legs, the most that a step launches."]


def test_file_that_is_not_utf_8_is_refused() -> None:
    (problem,) = read_suite(b"legs:\n  a:\n    tags: \xe4", step()).problems
    assert problem.what == ", line 3: the file is not in UTF-8; save it in this encoding."


def test_json_has_the_rules_of_json() -> None:
    (found,) = mistakes('{\n"legs": {"a": {},}}', is_json=True)
    assert found.startswith("line 2: the file is not valid JSON: ")
    assert mistakes("[" * 100_000, is_json=True) == ["line 1: the file is nested more than 100 levels deep."]


def test_legs_of_other_options_are_no_twins() -> None:
    legs("legs:\n  a: {}\n  b: {iteration_count: 2}\n  c: {thresholds: total >= 1}")


def test_input_of_the_gate_must_have_an_effect() -> None:
    text = "legs:\n  a: {repeat_on_failure: 1}"
    assert mistakes(text) == []
    for mode in ("launch", "wait"):
        assert mistakes(text, mode=mode, run_id="r1" if mode == "wait" else "") == [
            f"line 2: legs.a.repeat_on_failure has no effect in mode {mode}; use mode run, or remove it."
        ]


def test_launch_leaves_judging_to_a_step_with_the_same_file() -> None:
    text = "legs:\n  a: {thresholds: total >= 1, confidence: 90%}\n  b: {iteration_count: 2, baseline: branch:main}"
    launched = legs(text, mode="launch")
    assert [leg.later is not None for leg in launched.values()] == [True, False]
    assert (launched["a"].inputs.thresholds, launched["a"].inputs.confidence) == ((), None)
    assert launched["b"].inputs.baseline is not None
    waited = legs(text, mode="wait", run_id="r1")
    assert (len(waited["a"].inputs.thresholds), waited["a"].inputs.confidence) == (1, 0.9)
    assert waited["b"].inputs.iteration_count == 1, "what was launched is not looked at again"


def test_contradiction_names_the_leg_and_its_line() -> None:
    text = """\
    defaults:
      test_case_ids: a
    legs:
      a: {}
      b:
        sub_sample_size: 3
      c:
        mutation_id: m
        thresholds: |
          Latency: avg <= base * 1.1
          pass_rate > 100%
      d:
        thresholds: "Latency: avg <= base"
    """
    assert contradictions(text) == (
        "suite_path, line 6: legs.b: sub_sample_size cannot be combined with test_case_ids; set one of the two.",
        "suite_path, line 11: no run can meet pass_rate > 100%.",
        "suite_path, line 13: Latency: avg <= base compares mutations with the agent itself, but there are no "
        "mutations; set mutation_ids, name another agent in base_agent_id, or compare with baseline.",
    )


def test_value_that_was_refused_contradicts_nothing() -> None:
    given_step = step(persona_id="")
    suite = read_suite(b"legs:\n  a: {persona_id: *x}\n  b: {persona_id: p1}\n  c: *y", given_step)
    assert ([leg.name for leg in suite.legs], len(suite.problems)) == (["b"], 2)


def test_launch_refuses_thresholds_that_the_later_step_cannot_judge() -> None:
    text = (
        "legs:\n  a:\n    base_agent_id: a2\n    thresholds: pass_rate > 100%\n  b: {thresholds: Latency: avg <= base}"
    )
    assert contradictions(text.replace("Latency: avg <= base", "'Latency: avg <= base'"), mode="launch") == (
        "suite_path, line 4: no run can meet pass_rate > 100%.",
    )


def test_contradiction_of_the_defaults_is_told_once() -> None:
    assert contradictions("defaults:\n  sub_sample_seed: 3\nlegs:\n  a: {}\n  b: {concurrency: 2}") == (
        "suite_path, line 2: defaults: sub_sample_seed requires a sub_sample_size above 0.",
    )


def test_what_all_legs_lack_is_missing_in_the_step() -> None:
    two = "legs:\n  a: {test_set_id: a}\n  b: {test_set_id: b}"
    missing = "persona_id is required in mode run: give --persona-id, or set persona_id in the configuration file."
    assert contradictions(two, persona_id="") == (missing,)
    assert contradictions(two, persona_id="p1, p2") == (
        "persona_id has 2 ids, but a leg of a suite has one; name it in the leg, or in its defaults.",
    )
    some = "legs:\n  a: {persona_id: a}\n  b: {iteration_count: 2}"
    assert contradictions(some, persona_id="") == (f"suite_path, line 3: legs.b: {missing}",)


def test_threshold_of_the_step_can_contradict_one_leg() -> None:
    text = "legs:\n  a: {baseline: branch:main}\n  b: {iteration_count: 2}"
    assert contradictions(text, thresholds="Latency: avg <= baseline") == (
        "suite_path, line 3: legs.b: baseline is required for Latency: avg <= baseline (thresholds, line 1), such as "
        "branch:main.",
    )


def test_likely_mistake_names_its_legs() -> None:
    given_step = step(persona_id="persona000000000000001")
    text = "legs:\n  a: {iteration_count: 99}\n  b: {iteration_count: 99, persona_id: short}\n  c: {}"
    found = warnings_about(given_step, {}, read_suite(text.encode(), given_step).legs)
    assert "test_set_id" not in "".join(found)
    assert found == [
        'In the suite\'s "a" and "b": iteration_count is 99; Coval may reject more than 50.',
        'In the suite\'s "b": persona_id "short" has 5 characters; such an id usually has 22.',
    ]


WORDS = ("legs", "defaults", "tags", "persona_id", "thresholds", "a", "x: y", "0", "~", "<<")
SIGNS = (": ", ":\n", "\n", "\n  ", "\n    ", "- ", "? ", "&a ", "*a", "!!x ", "!<a> ", "|\n", ">-\n", *"'\"{}[],#")
RARE = ("---\n", "...", "%YAML 9.9\n", "%TAG ! x\n", "\\u", "\\UFFFFFFFF", *"\t\r\x85\u2028\ufeff\x00")
PIECES = st.sampled_from([*WORDS, *SIGNS, *RARE])


@given(st.one_of(st.lists(PIECES, max_size=40).map("".join), st.text(max_size=80)), st.booleans())
@example("legs:\n  a: {tags: '" + "x" * 5000, False)
@example("%YAML " + "1" * 5000 + ".1\n--- a", False)
@example('{"legs": {"a": {"iteration_count": ' + "1" * 5000 + "}}}", True)
def test_any_text_is_legs_or_mistakes(text: str, is_json: bool) -> None:
    suite = read(text, is_json=is_json)
    assert suite.legs or suite.problems
    lines = text.count("\n") + text.count("\r") + text.count("\x85") + text.count("\u2028") + text.count("\u2029") + 1
    for problem in suite.problems:
        line = problem.what.removeprefix(", line ").partition(":")[0]
        assert 1 <= int(line) <= lines or problem.what.startswith("has ")


@given(st.binary(max_size=60))
def test_any_bytes_are_legs_or_mistakes(contents: bytes) -> None:
    assert any(read_suite(contents, step()))


@pytest.mark.parametrize("text", NAMED.values(), ids=NAMED)
def test_hostile_text_is_a_name_or_a_mistake(text: str) -> None:
    suite = read(json.dumps({"legs": {text: {"tags": [text[:50]]}}}), is_json=True)
    assert all(leg.name.isprintable() for leg in suite.legs)
    assert all("\n" not in problem.what.split("\n")[0] and "\x1b" not in problem.what for problem in suite.problems)


LAUGHS = "".join(f"a{number}: &a{number} [{', '.join([f'*a{number - 1}'] * 9)}]\n" for number in range(1, 30))
LARGE = {
    "aliases": "a0: &a0 [x]\n" + LAUGHS,
    "brackets": "[" * LARGEST,
    "braces": "{a: " * (LARGEST // 4),
    "list": "- " * (LARGEST // 2),
    "keys": "? " * (LARGEST // 2),
    "entries": "legs: [" + "a," * (LARGEST // 2 - 8),
    "lines": "legs:\n  a: |\n" + "\n" * (LARGEST - 20),
    "legs": "legs:\n" + "".join(f"  leg {number}: {{}}\n" for number in range(15_000)),
    "names": "legs:\n  a:\n" + "".join(f"    persona_id{number}: x\n" for number in range(10_000)),
    "twins": "legs:\n" + "".join(f"  leg {number}: {{tags: a}}\n" for number in range(10_000)),
    "thresholds": "legs:\n  a:\n    thresholds: |\n" + "      Latency: p95 =< 3\n" * 10_000,
}


@pytest.mark.parametrize("name", some_of(LARGE, "aliases", "brackets"))
def test_large_file_takes_bounded_time(name: str) -> None:
    text = LARGE[name]
    assert len(text) <= LARGEST
    began = time.process_time()
    suite = read(text)
    assert suite.problems
    assert time.process_time() - began < 20
