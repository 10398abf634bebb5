"""Proposed thresholds: they can be read, the runs that they come from pass them, and no foreign text gets out."""

import re
import shlex
from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from coval_cli.init import _legs
from coval_cli.proposals import guess, plain, propose, usable
from coval_cli.workflow import STARTERS, WORKFLOWS, Choice, Starter, config_file, fill_in, read_example
from coval_gate.ci.host import Context
from coval_gate.coval.model import Metric, RunResult, Simulation, Target, Value
from coval_gate.coval.resources import AGENT, PERSONA, TEST_SET, MetricDefinition
from coval_gate.features.legs.file import read_file
from coval_gate.gate.criteria import Criteria
from coval_gate.gate.judge import judge
from coval_gate.gate.verdict import Verdict
from coval_gate.inputs.fields import Allowance
from coval_gate.inputs.inputs import parse_inputs
from coval_gate.inputs.thresholds import parse_thresholds
from hostile import HOSTILE
from support import environ_of, read_inputs

LESS, MORE, YES = Target("lte", upper=2.0), Target("gte", upper=4.0), Target("in", values=("YES",))
ID = "metric00000000000000001"
DANGEROUS = re.compile(r"""[$`\\{}\[\]!@&*|';]""")  # in foreign text: expressions, shells, ends of quotes


def run_of(values: Sequence[Value | None], name: str = "Latency", id_: str = ID, number: int = 1) -> RunResult:
    """Return a run with one metric; None is the value of a conversation that failed."""
    ids = [f"{number}-{place}" for place in range(len(values))]
    return RunResult(
        f"run{number}",
        tuple(
            Simulation(simulation, "FAILED" if value is None else "COMPLETED", f"case{place}")
            for place, (simulation, value) in enumerate(zip(ids, values, strict=True))
        ),
        metrics=(Metric(id_, name, {one: value for one, value in zip(ids, values, strict=True) if value is not None}),),
    )


def defined(
    target: Target | None = None, *, id_: str = ID, name: str = "", unit: str = "", wants_less: bool = False
) -> MetricDefinition:
    target = target or Target("")
    condition = {"comparison_operator": target.operator, "target_values": target.values}
    bounds = {"target_float_upper": target.upper, "target_float_lower": target.lower}
    kind = "METRIC_LLM_TTFB" if wants_less else "METRIC_PYTHON"
    named = {"id": id_, "metric_name": name, "metric_type": kind, "unit": unit}
    return MetricDefinition.read(named | {"target_condition": condition | bounds})


def lines_of(
    runs: Sequence[Sequence[Value | None]],
    target: Target | None = None,
    name: str = "Latency",
    against: str = "",
    **definition: Any,
) -> list[str]:
    """Return the lines that runs with one metric suggest."""
    results = [run_of(values, name, number=number) for number, values in enumerate(runs)]
    metric = defined(target, name=name, **definition)
    return list(propose(usable(results), {ID: metric}, against).lines)


@pytest.mark.parametrize(
    ("runs", "target", "lines"),
    [
        ([[1.9, 2.1], [2.0, 2.2], [2.2, 2.4]], LESS, ["Latency: avg <= 2.5  # 3 runs: 2 to 2.3 s"]),
        ([[4.5], [4.4]], MORE, ["Latency: avg >= 4  # 2 runs: 4.4 to 4.5 s"]),
        ([[3.0]], Target("bt", upper=5.0, lower=1.0), ["pass_rate >= 5%  # all targets in Coval. 1 run: 100%"]),
        ([[3.0]] * 9, None, ["completed_rate >= 70%  # 9 runs: 100%"]),
        ([["YES"] * 9 + ["NO"]] * 8, YES, ["Latency: rate(YES) >= 80%  # 8 runs: 90%", "pass_rate"]),
        ([["YES"] * 10] * 8, YES, ["Latency: rate(YES) >= 95%  # 8 runs: 100%", "pass_rate"]),
        ([["YES"] * 7 + [None] * 3, ["YES"] * 10], YES, ["Latency: rate(YES) >= 65%", "pass_rate"]),
    ],
)
def test_proposed_lines(runs: list[list[Value | None]], target: Target | None, lines: list[str]) -> None:
    proposed = lines_of(runs, target, unit="s")
    assert len(proposed) >= len(lines)
    assert [line for line, wanted in zip(proposed, lines, strict=False) if not line.startswith(wanted)] == []


@pytest.mark.parametrize(
    ("name", "runs", "target", "first"),
    [
        ("Compliance", [["YES"] * 9, ["YES"] * 8 + ["UNKNOWN"]], YES, "Compliance: count(NO) == 0  # 2 runs: 0"),
        ("Is it compliant?", [["YES"] * 9], None, f"{ID}: count(NO) == 0  # Is it compliant. 1 run: 0"),
        (
            "Compliance",
            [["YES"] * 9, ["YES"] * 8 + ["NO"]],
            YES,
            "Compliance: rate(YES) >= 75%  # 2 runs: 88.9% to 100%",
        ),
        ("Resolved", [["YES"] * 9], YES, "Resolved: rate(YES) >= 70%  # 1 run: 100%"),
        ("Compliance", [[5.0, 4.0]], MORE, "Compliance: avg >= 4  # 1 run: 4.5"),
        (
            "Compliance",
            [["FULL", "YES"]],
            Target("in", values=("FULL",)),
            "Compliance: rate(FULL) >= 50%  # 1 run: 50%",
        ),
    ],
)
def test_compliance_that_nothing_missed_may_never_be_missed(
    name: str, runs: list[list[Value | None]], target: Target | None, first: str
) -> None:
    assert lines_of(runs, target, name)[0] == first


@pytest.mark.parametrize(
    ("runs", "target", "lines"),
    [
        ([[1.0, 2.0, 9.0]], LESS, ["Latency: med <= baseline * 1.1  # 1 run: 2", "? pass_rate >= baseline - 5pp"]),
        ([[4.5], [4.4]], MORE, ["Latency: med >= baseline * 0.9  # 2 runs: 4.4 to 4.5", "? pass_rate"]),
        ([["YES"] * 9 + ["NO"]], YES, ["Latency: rate(YES) >= baseline - 5pp  # 1 run: 90%", "pass_rate"]),
        ([[2.0] * 60], LESS, ["Latency: med <= baseline * 1.1", "pass_rate >= baseline - 5pp"]),
        ([[-1.0]], LESS, ["pass_rate >= baseline - 5pp"]),
        ([[3.0]], None, ["pass_rate >= baseline - 5pp  # a guess: no metric of the last runs can be compared"]),
    ],
)
def test_lines_that_compare(runs: list[list[Value | None]], target: Target | None, lines: list[str]) -> None:
    proposed = lines_of(runs, target, against="baseline")
    assert [line for line, wanted in zip(proposed, lines, strict=True) if not line.startswith(wanted)] == []
    given = {"thresholds": "\n".join(proposed), "baseline": "tag:stable", "confidence": "95%", "repeat_on_failure": "1"}
    read_inputs(environ_of(**given), Context())


RUN = run_of([1.0, 9.0])
MUTATED = RUN._replace(simulations=(RUN.simulations[0], RUN.simulations[1]._replace(mutation="Slow")))
GAP = RUN._replace(metrics=(RUN.metrics[0]._replace(values={"1-0": 1.0}),))
TWINS = RUN._replace(metrics=RUN.metrics + run_of([2.0, 2.0], id_="second").metrics)


@pytest.mark.parametrize(
    ("run", "definition", "first"),
    [
        (RUN, defined(wants_less=True), "Latency: avg <= 5.5  # 1 run: 5"),
        (MUTATED, defined(LESS), "Latency: avg <= 1.1  # 1 run: 1"),  # mutations teach nothing
        (TWINS, defined(LESS, id_="second"), "second: avg <= 2.2  # Latency. 1 run: 2"),
        (GAP, defined(LESS), "completed_rate >= 20%  # 1 run: 100%"),  # it could not be judged
    ],
)
def test_first_line_is_about_what_the_agent_does_and_can_be_judged(
    run: RunResult, definition: MetricDefinition, first: str
) -> None:
    assert propose(usable([run]), {definition.id: definition}).lines[0] == first


def test_run_that_mostly_failed_or_has_other_metrics_teaches_nothing() -> None:
    for run in (RunResult("r", ()), run_of([None]), run_of([1.0, None, None])):
        assert usable([run]) == ()
    assert len(usable([run_of([1.0]), run_of([2.0], id_="other")])) == 1, "before a metric was added"


numbers = st.floats(-1e100, 1e100) | st.floats(0, 5) | st.integers(0, 5).map(float)
values = st.lists(numbers | st.sampled_from(["YES", "NO", "UNKNOWN"]) | st.none(), min_size=1, max_size=8)
targets = st.sampled_from(
    [None, LESS, MORE, YES, Target("in", values=("YES", "a, b")), Target("bt", 3.0, 1.0), Target("")]
)


@given(st.lists(values | st.lists(numbers, min_size=1, max_size=8), min_size=1, max_size=6), targets, st.booleans())
def test_runs_pass_what_they_suggest(runs: list[list[Value | None]], target: Target | None, wants_less: bool) -> None:
    results = usable([run_of(run, number=number) for number, run in enumerate(runs)])
    if not results:
        return
    definition = defined(target, name="Latency", wants_less=wants_less)
    proposal = propose(results, {ID: definition})
    assert proposal.lines
    text = "\n".join(proposal.lines)
    thresholds = parse_thresholds(text)
    inputs, problems = parse_inputs({"INPUT_THRESHOLDS": text, "INPUT_MAX_FAILED_SIMULATIONS": proposal.max_failed})
    assert (len(thresholds), problems) == (len(proposal.lines), [])
    for result in results:
        metrics = tuple(metric._replace(target=target) for metric in result.metrics)
        judgement = judge(result._replace(metrics=metrics), Criteria.from_inputs(inputs))
        assert judgement.verdict is Verdict.PASSED, text


foreign = st.text(max_size=40) | st.sampled_from(
    [
        *HOSTILE,
        "${{ secrets.COVAL_API_KEY }}",
        "a: b # c",
        "'''",
        "*/",
        "x\n- run: evil",
        '"',
        "pass_rate >= 1%",
        "$(id)",
    ]
)


@cache
def filled(starter: Starter, name: str, id_: str, unit: str) -> tuple[str, list[str]]:
    """Return what `init` writes if everything that Coval names has this name, and the thresholds that it proposes."""
    definition = defined(LESS, name=name, unit=plain(unit)).model_copy(update={"id": id_})
    proposal = propose(usable([run_of([1.0, 2.0], name=name, id_=id_)]), {id_: definition})
    choices = [Choice(AGENT, "id1", name), Choice(PERSONA, name=name), Choice(TEST_SET, "12345678", name)]
    text = fill_in(read_example(starter.example), choices, {"workspace_id": "ws1"}, proposal)
    return text, [threshold.text for threshold in parse_thresholds("\n".join(proposal.lines))]


@given(foreign, st.sampled_from([ID, "${{ x }}", "a b", "'; id"]), foreign, st.sampled_from(STARTERS))
def test_foreign_text_stays_where_it_is_written(name: str, id_: str, unit: str, read_back: Starter) -> None:
    for starter in {*STARTERS, *WORKFLOWS.values()}:
        text, thresholds = filled(starter, name, id_, unit)
        assert skeleton(text) == skeleton(filled(starter, "Latency", ID, "s")[0]), starter.word
        if starter is read_back:
            inputs = inputs_in(starter, text)
            assert [threshold.text for threshold in parse_thresholds(inputs.pop("thresholds"))] == thresholds
            assert [inputs[name] for name in ("agent_id", "test_set_id", "workspace_id")] == ["id1", "12345678", "ws1"]
            assert "COVAL_PERSONA_ID" in inputs["persona_id"]


@given(foreign, foreign)
def test_foreign_text_stays_a_name_of_a_leg(name: str, other: str) -> None:
    personas = [Choice(PERSONA, f"persona{number}", text) for number, text in enumerate([name, other, name, "base"])]
    chosen = [[Choice(AGENT, "id1", name)], personas, [Choice(TEST_SET, "12345678", name)]]
    legs = _legs(chosen, [guess("there was no API key")] * len(personas))
    file = read_file(config_file("gate.yml", [chosen[0][0], chosen[2][0]], legs).encode(), "coval-gate.yml")
    assert file.problems == ()
    assert [leg.texts["persona_id"] for leg in file.legs] == [choice.id for choice in personas]
    assert (file.values.texts["agent_id"], file.values.texts["test_set_id"]) == ("id1", "12345678")


def skeleton(text: str) -> list[str]:
    """Return the lines of a file without what comes from Coval: names in its head, and lines of thresholds."""
    return [line for line in text.splitlines() if not re.search(r"avg|completed_rate|^(#|//) (Agent|Test set): ", line)]


def inputs_in(starter: Starter, text: str) -> dict[str, str]:
    """Return the inputs that a file sets, as its own reader and the shell see them."""
    if starter.word == "github":
        (step,) = YAML(typ="safe").load(text)["jobs"]["evaluate"]["steps"]
        return dict(step["with"])
    if starter.word == "jenkins":
        (command,) = re.findall(r"sh '''(.*?)'''", text, re.DOTALL)
    else:
        (command,) = {text for text in strings_in(YAML(typ="safe").load(text)) if "coval-gate run" in text}
    words = shlex.split(command)
    pairs = list(pairwise(words))
    flags = {word[2:].replace("-", "_"): value for word, value in pairs if word.startswith("--")}
    return flags | {"thresholds": "\n".join(value for word, value in pairs if word == "--threshold")}


def strings_in(content: object) -> list[str]:
    """Return all texts in the values of mappings and lists."""
    if isinstance(content, str):
        return [content]
    values = content.values() if isinstance(content, dict) else content if isinstance(content, list) else ()
    return [text for value in values for text in strings_in(value)]


@given(foreign)
def test_plain_text_has_no_character_with_a_meaning(text: str) -> None:
    assert not DANGEROUS.search(plain(text))
    assert not re.search(r"[\"#<>=?^~\n\r]", plain(text))
    assert plain(plain(text)) == plain(text)


def test_guess_is_marked_as_one() -> None:
    proposal = guess("there was no API key")
    assert proposal.lines == ("pass_rate >= 90%  # a guess: there was no API key; it needs metrics with targets",)
    assert parse_inputs({"INPUT_THRESHOLDS": proposal.lines[0]})[1] == []
    assert Allowance(0) == parse_inputs({})[0].max_failed_simulations
