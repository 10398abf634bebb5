"""The configuration file: inputs, legs, the line of every mistake, and that any text is either inputs or mistakes."""

import json
from datetime import date
from typing import Any, NamedTuple

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from coval_gate.base.errors import InputError
from coval_gate.features.legs.file import (
    MOST_MISTAKES,
    REFUSED,
    beside_file,
    inputs_of_leg,
    inputs_of_step,
    read_file,
    with_file,
)
from coval_gate.inputs.checks import check_inputs, warnings_about
from coval_gate.inputs.inputs import FromFile, Inputs, parse_inputs
from support import IDS, KEY, other_value

PATH = "coval-gate.yml"
TODAY = date(2026, 12, 1)
TEXT = """\
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
LEG = "legs:\n  a:\n    "


class Read(NamedTuple):
    """The inputs of a step, what it has from its file, and the mistakes in the file."""

    inputs: Inputs
    file: FromFile
    mistakes: list[str]

    @property
    def legs(self) -> dict[str, Inputs]:
        """The inputs of the legs, by name."""
        assert self.mistakes == []
        return {leg.name: leg.inputs for leg in self.file.legs}

    @property
    def contradictions(self) -> tuple[str, ...]:
        """What is wrong with the inputs together."""
        assert self.mistakes == []
        with pytest.raises(InputError) as caught:
            check_inputs(self.inputs, [], {}, "", self.file)
        return caught.value.problems


def read(text: str | bytes, path: str = PATH, *, defaults_count: Any = True, **inputs: str) -> Read:
    """Read a file beside the inputs of a step."""
    environ = {f"INPUT_{name.upper()}": value for name, value in ({"api_key": KEY} | inputs).items()}
    contents = text if isinstance(text, bytes) else text.encode()
    environ, file = beside_file(environ, read_file(contents, path, KEY), defaults_count=defaults_count)
    parsed, problems = parse_inputs(environ)
    assert problems == []
    parsed, from_file, twins = with_file(parsed, file, TODAY)
    found = [*file.problems, *twins]
    assert {problem.name for problem in found} <= {path}
    return Read(parsed, from_file, [problem.what.removeprefix(", ") for problem in found])


def mistakes(text: str | bytes, path: str = PATH) -> list[str]:
    """Return the first line of each mistake."""
    return [mistake.split("\n")[0] for mistake in read(text, path).mistakes]


def test_leg_wins_over_the_step_and_that_over_the_file() -> None:
    found = read(TEXT, **IDS, concurrency="4")
    assert (found.inputs.agent_id, found.inputs.iteration_count) == ((IDS["agent_id"],), 2)
    calm, refunds = found.legs.values()
    assert list(found.legs) == ["booking, calm caller", "refunds"]
    assert (calm.agent_id, calm.persona_id) == ((IDS["agent_id"],), ("01234567",))
    assert (calm.test_set_id, refunds.test_set_id) == ((IDS["test_set_id"],), ("yes",))
    assert (calm.iteration_count, refunds.iteration_count, refunds.concurrency) == (2, 3, 4)
    assert (refunds.metric_ids, refunds.config_overrides) == (("a1", "02"), {"timeout": {"seconds": 300}})


def test_thresholds_add_up_and_everything_knows_its_line() -> None:
    found = read(TEXT, thresholds="\nLatency: avg < 2")
    calm, refunds = found.file.legs
    assert [(entry.text, entry.place) for entry in calm.inputs.thresholds] == [
        ("Latency: avg < 2", "thresholds, line 1"),
        ("Compliance: count(NO) == 0", "coval-gate.yml, line 4"),
        ("Resolved: rate(YES) >= 95%", "coval-gate.yml, line 11"),
    ]
    assert found.inputs.thresholds == refunds.inputs.thresholds == calm.inputs.thresholds[:2]
    assert (calm.line, refunds.line) == (6, 12)
    assert (refunds.places["test_set_id"], refunds.places["agent_id"]) == ((13, "legs.refunds"), (1, ""))


def test_runner_hands_defaults_over() -> None:
    """A step cannot distinguish a default from a value that a user wrote; a command can."""
    given = {"iteration_count": "4", "resume": "true"}
    text = "iteration_count: 2\nresume: false"
    for defaults_count in (True, False):
        inputs = read(text, defaults_count=defaults_count, **given).inputs
        assert (inputs.iteration_count, inputs.resume) == (4, defaults_count)


@pytest.mark.parametrize("mode", ["launch", "wait"])
def test_spend_is_an_error_in_a_mode_that_cannot_stop_early_wherever_it_stands(mode: str) -> None:
    leg_spends = "confidence: 95%\nlegs:\n  a: {agent_id: one}\n  b: {agent_id: two, spend: until clear}"
    for text in (leg_spends, "confidence: 95%\nspend: until clear"):
        given = IDS | {"agent_id": ""} | ({"run_id": "r1"} if mode == "wait" else {})
        problems = read(text, mode=mode, **given).contradictions
        assert any(f"spend cannot be until clear in mode {mode}" in problem for problem in problems), problems


def test_what_has_no_effect_in_the_mode_is_for_other_steps() -> None:
    text = "supersede: true\nrun_max_age: 3h\nthresholds: total >= 1\nlegs: {a: {concurrency: 2}}"
    cancel = read(text, mode="cancel")
    for inputs in (cancel.inputs, cancel.legs["a"]):
        assert (inputs.supersede, inputs.thresholds, inputs.concurrency) == (False, (), 1)
        assert str(inputs.run_max_age) == "24h"
    wait = read(text, mode="wait").inputs
    assert (str(wait.run_max_age), wait.supersede, len(wait.thresholds)) == ("3h", True, 1)


def test_json_is_read_alike() -> None:
    document: dict[str, Any] = {
        "persona_id": ["p1", "p2"],
        "legs": {
            "a \U0001f4de": {"iteration_count": 3, "use_metric_targets": True, "tags": ["x, y", "z"]},
            "b": {"thresholds": ["Latency: avg < 2", "Resolved: rate(YES) >= 95%"], "metadata": {"n": [1, None]}},
        },
    }
    legs = read(f"\ufeff{json.dumps(document, indent=1)}", "evals/gate.json").legs
    first, second = legs.values()
    assert list(legs) == list(document["legs"])
    assert (first.persona_id, first.iteration_count, first.use_metric_targets) == (("p1", "p2"), 3, True)
    assert first.tags == ("x, y", "z")
    assert [entry.text for entry in second.thresholds] == ["Latency: avg < 2", "Resolved: rate(YES) >= 95%"]
    assert second.metadata == {"n": [1, None]}


def test_leg_may_unset_an_input_or_use_an_input_of_the_older_action() -> None:
    own = 'iteration_count: ""\n    tags: []\n    mutation_id: m1\n'
    own += "    fail_on_metric_id: Resolved\n    fail_on_metric_value: NO"
    leg = read(f"tags: x\n{LEG}{own}", iteration_count="4", mutation_ids="m2").legs["a"]
    assert (leg.iteration_count, leg.tags, leg.mutation_ids) == (1, (), ("m1",))
    assert [entry.text for entry in leg.thresholds] == ["Resolved: count(NO) == 0"]


@pytest.mark.parametrize("name", [name for name in inputs_of_step() if name in Inputs._fields])
def test_every_input_is_parsed_as_in_the_step(name: str) -> None:
    value = other_value(inputs_of_step()[name])
    mode = inputs_of_step()[name].modes[0]
    step_inputs, line = read("{}", mode=mode, **{name: value}).inputs, f"{name}: {json.dumps(value)}"
    files = [
        read(line, mode=mode).inputs,
        *([read(LEG + line, mode=mode).legs["a"]] if name in inputs_of_leg() else []),
    ]
    for inputs in files:
        wanted, actual = getattr(step_inputs, name), getattr(inputs, name)
        if name == "thresholds":
            wanted, actual = [entry.text for entry in wanted], [entry.text for entry in actual]
        assert actual == wanted != inputs_of_step()[name].default_value


# Those that newcomers make first are in `mistakes.py`.
MISTAKES: dict[str, str] = {
    "": "line 1: the file must be a mapping from inputs to values, such as `agent_id: …`.",
    "legs:": "line 1: legs must be a mapping from the name of each leg to its inputs.",
    "legs: {}": "line 1: legs is empty; name at least one leg.",
    "leggs: {a: {}}": "line 1: leggs is not an input; did you mean legs?",
    "tags: x\ntags: y": "line 2: tags is also in line 1; keep one of the two.",
    "legs:\n  a:\n  b: {}": "line 2: legs.a must be a mapping from inputs to values.",
    "legs:\n  a: {}\n  a: {tags: x}": "line 3: legs.a is also in line 2; keep one of the two.",
    'legs:\n  a  b: {}\n  "a b ": {tags: x}': "line 3: legs.a b is also in line 2; keep one of the two.",
    'legs:\n  "a\\e[31m": {}': 'line 2: legs: the name "a" must be a text of printable characters.',
    "legs:\n  base: {}": 'line 2: legs: the name "base" is reserved for the base agent; choose another one.',
    "legs:\n  all legs together: {}": (
        'line 2: legs: the name "all legs together" is reserved for the comparison of all legs; choose another one.'
    ),
    "legs:\n  ? [a, b]\n  : {}": "line 2: legs has a key that is not a text.",
    f"{LEG}persona_idd: x": "line 3: legs.a.persona_idd is not an input; did you mean persona_id?",
    f"{LEG}tags:": 'line 3: legs.a.tags has no value; write one, or "" for none.',
    f"{LEG}persona_id: {{a: b}}": "line 3: legs.a.persona_id must be a value, not a mapping.",
    f"{LEG}metadata:\n      a: b": (
        'line 3: legs.a.metadata must be JSON: in braces, with its texts in double quotes, such as {"key": "text"}.'
    ),
    f"{LEG}thresholds:\n      - Latency: avg < 1": (
        "line 4: legs.a.thresholds must be text, one threshold per line below `thresholds: |`."
    ),
    f"{LEG}thresholds: |\n      # x\n\n      Latency: avg < 1\n      Latency avg < 1": (
        "line 7: legs.a.thresholds: put a colon after the metric."
    ),
    "tags: !!str y": "line 1: tag:yaml.org,2002:str is a tag; remove it, because values are text anyway.",
    "tags: a\n---\ntags: b": "line 2: the file is not valid YAML: but found another document.",
    "legs:\n  a: \x00": "line 2: the file has a character that YAML does not allow; remove it.",
    'legs:\n  a:\n    tags: "\\UFFFFFFFF"': "line 3: the file is not valid YAML near this line.",
    f'{LEG}tags: "\\ud83d"': "line 3: half of an escaped character is missing; write the character itself.",
    f"{LEG}tags: {'[' * 120}": "line 3: the file is nested more than 100 levels deep.",
    f"{LEG}tags: {KEY}": "line 3: the file contains the API key, which must be set in api_key only.",
    "tags: coval_sk_prod_another": "line 1: the file contains an API key of Coval, which must be set in api_key only.",
    "legs:\n  a: {test_set_id: [s, t]}\n  b: {test_set_id: [t, u]}": (
        "line 3: legs.b and legs.a in line 2 launch the same run, with the same thresholds; name its ids in one."
    ),
}  # fmt: skip


def test_mistake_has_its_line(subtests: pytest.Subtests) -> None:
    for text, mistake in MISTAKES.items():
        with subtests.test(mistake):
            assert mistakes(text) == [mistake]


@pytest.mark.parametrize("name", REFUSED)
def test_file_does_not_set_where_the_key_goes_or_what_the_step_does(name: str) -> None:
    for start, line, where in (("", 1, ""), (LEG, 3, "legs.a.")):
        assert mistakes(f"{start}{name}: x") == [
            f"line {line}: {where}{name} cannot be set in a file: {REFUSED[name]}."
        ]


def test_file_in_another_encoding_or_nested_too_deep_is_refused() -> None:
    assert mistakes(b"legs:\n  a:\n    tags: \xe4") == ["line 3: the file is not in UTF-8; save it in this encoding."]
    assert mistakes("[" * 100_000, "gate.json") == ["line 1: the file is nested more than 100 levels deep."]


def test_all_mistakes_are_reported_together_and_very_many_are_counted() -> None:
    text = "iteration_count: x\nlegs:\n  a:\n    tag: x\n    agent_id: a b\n  b:\n    persona_id: 'a b'\n"
    assert [what.split(":")[0] for what in mistakes(text)] == ["line 1", "line 4", "line 5", "line 7"]
    found = mistakes("legs:\n" + "".join(f"  leg {number}: text\n" for number in range(80)))
    assert (len(found), found[-1]) == (MOST_MISTAKES + 1, "has 30 more mistakes.")
    many = "legs:\n" + "".join(f"  leg {number}: {{tags: x, sub_sample_size: {number}}}\n" for number in range(102))
    assert mistakes(many) == ["line 102: legs has more than 100 legs, the most that a step launches."]


CONTRADICTIONS: dict[str, tuple[str, ...]] = {
    "test_case_ids: a\nlegs:\n  a: {}\n  b: {sub_sample_size: 3}": (
        "coval-gate.yml, line 4: legs.b: sub_sample_size cannot be combined with test_case_ids; set one of the two.",
    ),
    "legs:\n  c:\n    thresholds: |\n      pass_rate > 100%\n  d: {thresholds: 'Latency: avg <= base'}": (
        "coval-gate.yml, line 4: no run can meet pass_rate > 100%.",
        "coval-gate.yml, line 5: Latency: avg <= base compares mutations with the agent itself, but there are no "
        "mutations; set mutation_ids, name another agent in base_agent_id, or compare with baseline.",
    ),
    "legs:\n  a: {baseline: branch:main}\n  b: {iteration_count: 2}\nthresholds: 'Latency: avg <= baseline'": (
        "coval-gate.yml, line 3: legs.b: baseline is required for Latency: avg <= baseline (coval-gate.yml, line 4), "
        "such as tag:stable last 7.",
    ),
    "run_template_id: t1\nlegs: {a: {}}": (
        "coval-gate.yml, line 1: run_template_id cannot be combined with the legs in coval-gate.yml, which name what "
        "they run.",
    ),
}


@pytest.mark.parametrize("text", CONTRADICTIONS)
def test_contradiction_has_its_leg_and_line(text: str) -> None:
    assert read(text, **IDS).contradictions == CONTRADICTIONS[text]


def test_what_all_legs_lack_is_missing_in_the_step() -> None:
    given = IDS | {"persona_id": ""}
    missing = "persona_id is required in mode run: give --persona-id, or set persona_id in the configuration file."
    assert read("legs:\n  a: {test_set_id: a}\n  b: {test_set_id: b}", **given).contradictions == (missing,)
    some = read("legs:\n  a: {persona_id: a}\n  b: {iteration_count: 2}", **given)
    assert some.contradictions == (f"coval-gate.yml, line 3: legs.b: {missing}",)


def test_combinations_of_all_legs_are_limited() -> None:
    legs = "".join(f"  {name}: {{agent_id: [{', '.join(f'a{number}' for number in range(51))}]}}\n" for name in "xy")
    found = read(f"legs:\n{legs}  z: {{iteration_count: 2}}".replace("y: {", "y: {tags: t, concurrency: 2, "), **IDS)
    (problem,) = found.contradictions
    assert problem.startswith("agent_id makes 103 combinations of agents, personas and test sets; a step has")


def test_likely_mistake_names_its_legs() -> None:
    ids = {name: value for name, value in IDS.items() if name != "persona_id"}
    text = "legs:\n  a: {baseline_max_age: 9d}\n  b: {baseline_max_age: 9d, persona_id: short}\n  c: {}"
    found = read(text, persona_id="persona000000000000001", **ids)
    assert warnings_about(found.inputs, {}, found.file) == [
        'In "a" and "b" of coval-gate.yml: '
        "baseline_max_age has no effect: it applies only to a baseline given by branch.",
        'In "b" of coval-gate.yml: persona_id "short" has 5 characters; such an id usually has 22.',
    ]


WORDS = ("legs", "agent_id", "tags", "persona_id", "thresholds", "a", "x: y", "0", "~", "<<")
SIGNS = (": ", ":\n", "\n", "\n  ", "\n    ", "- ", "? ", "&a ", "*a", "!!x ", "!<a> ", "|\n", ">-\n", *"'\"{}[],#")
RARE = ("---\n", "...", "%YAML 9.9\n", "%TAG ! x\n", "\\u", "\\UFFFFFFFF", *"\t\r\x85\u2028\ufeff\x00")
PIECES = st.sampled_from([*WORDS, *SIGNS, *RARE])


@given(
    st.one_of(st.lists(PIECES, max_size=40).map("".join), st.text(max_size=80)), st.sampled_from(["a.json", "a.yml"])
)
@example("legs:\n  a: {tags: '" + "x" * 5000, "a.yml")
@example("%YAML " + "1" * 5000 + ".1\n--- a", "a.yml")
@example('{"legs": {"a": {"iteration_count": ' + "1" * 5000 + "}}}", "a.json")
def test_any_text_is_inputs_or_mistakes(text: str, path: str) -> None:
    file = read_file(text.encode(), path)
    lines = text.count("\n") + text.count("\r") + text.count("\x85") + text.count("\u2028") + text.count("\u2029") + 1
    for problem in file.problems:
        line = problem.what.removeprefix(", line ").partition(":")[0]
        assert 1 <= int(line) <= lines or problem.what.startswith("has ")


ENTRY = {"test_case": "caseflaky0010000000002", "reason": "ticket 4711", "until": "2027-01-31"}
THRESHOLD = "thresholds: 'Resolved: rate(YES) >= 90%'\n"
LEGS = "legs:\n  booking:\n    test_set_id: passing1\n  refunds:\n    test_set_id: failing1\n"


def written(*entries: dict[str, str], before: str = THRESHOLD) -> str:
    lines = ["known_failures:"]
    for entry in entries:
        texts = [f"{name}: {value}" for name, value in entry.items()]
        lines += [f"  - {texts[0]}", *(f"    {text}" for text in texts[1:])]
    return before + "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        (written(ENTRY), ""),
        (written(ENTRY | {"metric": "resolved"}), ""),
        (written(ENTRY | {"until": "2026-11-30"}), ""),  # it expired
        (written(ENTRY | {"until": "2027-03-01"}), ""),
        (written(ENTRY | {"until": "2027-03-02"}), "ends on 2027-03-02; until may be 2027-03-01 at the latest"),
        (written(ENTRY | {"until": "soon"}), 'must name a day such as 2027-01-31 in until; got "soon"'),
        (written(ENTRY | {"until": "2027-02-30"}), "must name a day such as"),
        (written(ENTRY | {"until": "20270131"}), "must name a day such as"),
        (written({"test_case": "c1", "until": "2027-01-31"}), "the entry has no reason"),
        (written({"test_case": "c1", "reason": "''"}), "the entry has no reason and until"),
        (written(ENTRY | {"reason": "x" * 201}), "a reason of at most 200 characters"),
        (written(ENTRY | {"test_case": "c 1"}), "must name the id of a test case"),
        (written(ENTRY | {"owner": "me"}), 'the entry has the key "owner"; its keys are'),
        (written(ENTRY | {"reason": "[a]"}), "known_failures must be a list of entries"),
        ("known_failures: x\n", "known_failures must be a list of entries"),
        ("known_failures: [x]\n", "known_failures must be a list of entries"),
        (written(ENTRY, ENTRY), "excuses the same as the entry in line 3"),
        (written(ENTRY, ENTRY | {"metric": "Resolved"}), "excuses the same as the entry in line 3"),
        (written(ENTRY | {"metric": "Tone"}), 'names the metric "Tone", which no threshold reads; write it as'),
        (written(ENTRY | {"metric": "Tone"}, before=""), "no threshold names a metric"),
        (written(ENTRY | {"metric": "Tone"}, before="use_metric_targets: true\n"), ""),  # a target may read it
        (written(ENTRY | {"leg": "x"}), 'names the leg "x", which does not exist; the file lists no legs'),
        (written(ENTRY | {"leg": "x"}, before=LEGS), 'does not exist; the legs are "booking" and "refunds"'),
        (written(ENTRY | {"leg": "Booking"}, before=LEGS), ""),
        (LEGS + "    known_failures: []\n", "legs.refunds.known_failures belongs at the top of the file"),
        ("known_failure: []\n", "did you mean known_failures?"),
    ],
)
def test_mistakes_of_known_failures(text: str, mistake: str) -> None:
    found = read(text, **IDS).mistakes
    assert [mistake in one for one in found] == ([True] if mistake else [])


def test_known_failures_of_combinations_and_in_other_modes() -> None:
    text = written(ENTRY | {"leg": "passing1"}, before="test_set_id: passing1, failing1\n")
    ids = {name: id_ for name, id_ in IDS.items() if name != "test_set_id"}
    assert read(text, **ids).mistakes == []
    assert len(read(text.replace("leg: passing1", "leg: passing2"), **ids).mistakes) == 1
    # A step that launches need not have the thresholds of the one that waits, and one that cancels has no legs.
    unread = written(ENTRY | {"metric": "Tone"})
    assert read(unread, **IDS, mode="launch").mistakes == []
    assert read(written(ENTRY | {"leg": "x"}), mode="cancel", run_id="r1").mistakes == []


def test_known_failures_are_no_input() -> None:
    found = read(written(ENTRY), **IDS)
    with pytest.raises(InputError, match="known_failures is a key of the configuration file"):
        check_inputs(found.inputs, [], {"INPUT_KNOWN_FAILURES": "[]"}, "", found.file)
