"""Inputs: each value, those that contradict each other or look like a mistake, and what has an effect in a mode.

What newcomers get wrong, and what they read of it, is in `mistakes.py`.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from coval_gate.base.errors import InputError
from coval_gate.ci.github import read_context
from coval_gate.ci.host import Context, Withheld
from coval_gate.features.systems.variables import SYSTEMS, context_in
from coval_gate.inputs.checks import check_inputs, warnings_about
from coval_gate.inputs.fields import Allowance, ChosenRuns, RunSource, fits
from coval_gate.inputs.inputs import ALL_MODES, GATE, Input, Inputs, api_root, declared, effective, key_in, parse_inputs
from coval_gate.inputs.naming import as_argument
from coval_gate.inputs.thresholds import parse_thresholds
from coval_gate.report.document.provenance import configuration
from support import IDS, KEY, environ_of, other_value, read_inputs

NO_CONTEXT = Context()


def inputs_with(context: Context = NO_CONTEXT, /, **inputs: str) -> Inputs:
    return read_inputs(environ_of(**inputs), context)


def problems_with(**inputs: str) -> tuple[str, ...]:
    with pytest.raises(InputError) as caught:
        inputs_with(**inputs)
    return caught.value.problems


LISTS = ['["a1", "b2"]', "a1,b2", "a1, b2,", "a1\nb2", "  a1 \n\n b2\n", "a1,\nb2", '["a1", "b2", "a1"]']


VALID: list[tuple[str, str, Any]] = [
    ("iteration_count", "3", 3),
    ("check_interval", "adaptive", None),
    ("mode", "Launch", "launch"),
    ("metadata", '{"team": "voice", "n": [1, null]}', {"team": "voice", "n": [1, None]}),
    *(("metric_ids", written, ("a1", "b2")) for written in LISTS),
    ("tags", '["a, b", "c"]', ("a, b", "c")),
    ("max_failed_simulations", "12.5%", Allowance(12.5, percent=True)),
    ("api_base_url", "http://127.0.0.1:8080/v1/", "http://127.0.0.1:8080/v1"),
    ("display_name", "  Größe 🎧  ", "Größe 🎧"),
    ("only_legs", "", None),
    ("only_legs", " null ", None),
    ("only_legs", "booking*, refunds", ("booking*", "refunds")),
    ("only_legs", '["booking, angry caller"]', ("booking, angry caller",)),
    ("only_legs", "[\n]", ()),
]


def test_value_is_parsed(subtests: pytest.Subtests) -> None:
    for name, written, value in VALID:
        with subtests.test(f"{name} {written}"):
            assert getattr(inputs_with(**{name: written}), name) == value


@pytest.mark.parametrize(
    ("written", "shown"), [("95%", "95%"), ("0.95", "95%"), ("95", "95%"), ("99.9 %", "99.9%"), ("66.7%", "66.7%")]
)
def test_confidence_is_shown_as_percentage(written: str, shown: str) -> None:
    assert configuration(inputs_with(confidence=written))["confidence"] == shown
    assert inputs_with(confidence=shown).confidence == inputs_with(confidence=written).confidence


INVALID: list[tuple[str, str, str]] = [
    ("iteration_count", "١", 'must be a whole number of at least 1; got "١".'),
    ("sub_sample_seed", "2147483648", 'must be empty or a whole number from 0 to 2,147,483,647; got "2147483648".'),
    ("max_wait_time", "nan", 'must be a number of seconds from 1 to 432,000; got "nan".'),
    ("metadata", '{"a": NaN}', 'contains "NaN"; numbers must be finite, with at most 100 digits.'),
    ("metadata", '{"a":' * 100_000, "must not be nested more than 100 levels deep."),
    ("metadata", f"[{'9' * 5000}]",
     'contains "9999999999999999999…"; numbers must be finite, with at most 100 digits.'),
    ("metadata", '{"a":' * 101 + "1" + "}" * 101, "must not be nested more than 100 levels deep."),
    ("metadata", '{"created_by": ["me"]}', "must have a text in created_by, in double quotes."),
    ("metadata", f'{{"display_name": "{"x" * 201}"}}',
     "must have at most 200 characters in display_name; got 201."),
    ("metadata", '{"tags": ["nightly", 1]}', 'must have a list of texts in tags, such as ["nightly"].'),
    ("metadata", json.dumps({"tags": [f"t{number}" for number in range(19)]}),
     "must have at most 18 tags in tags; got 19."),
    ("metadata", '{"customer": "acme"}', 'must have a JSON object in customer, such as {"team": "voice"}.'),
    ("metadata", '{"customer": {"team": "a"}, "team": "b"}', "has team twice: at the top, and in customer."),
    ("max_wait_time", "1.5 hours", 'must be a number of seconds from 1 to 432,000; got "1.5 hours". Write 5400.'),
    ("mutation_ids", ",".join(f"m{n}" for n in range(101)), "must have at most 100 entries; got 101."),
    ("tags", "x" * 201, "must have at most 200 characters; got 201."),
    *(("only_legs", written, f'must be names, or [] for none; got "{written}", which has no name.')
      for written in (",", '[""]')),
    ("agent_id", "../runs", 'must have 1 to 64 letters, digits, hyphens or underscores; got "../runs".'),
    ("max_failed_simulations", "101%", 'must be a whole number such as 2 or a percentage such as 5%; got "101%".'),
    ("api_base_url", "https://x:y", 'must be a URL such as https://api.coval.dev/v1; got "https://x:y".'),
    ("api_base_url", "https://api.coval.dev/v1?x=1",
     "must not contain a user, password, query or fragment. Write https://api.coval.dev/v1."),
]  # fmt: skip


def test_invalid_value_is_error_with_explanation(subtests: pytest.Subtests) -> None:
    for name, written, problem in INVALID:
        with subtests.test(f"{name} {problem}"):
            assert problems_with(**{name: written}) == (f"{name} {problem}",)


BASE = {"base_agent_id": "b", "thresholds": "Latency: avg <= base"}
WAIT = {"mode": "wait", "run_id": "r1"}
RULE = {"thresholds": "pass_rate >= 90%"}
ACCEPT = {"accept": "true", "baseline": "branch:main", "thresholds": "pass_rate >= baseline"}
TAGS = [f"t{number}" for number in range(18)]
WORST = {"thresholds": "failed == 0\nResolved: worst(YES) > 0%"}
NEEDS = "thresholds, line 2: Resolved: worst(YES) > 0% needs several conversations of each test case, but "
SAME = "write rate(YES) == 100%, which is the same with one."
RESERVED = "must have no tag that begins with coval-gate/; got "


CONFLICTS: list[tuple[dict[str, str], str]] = [
    (WAIT | {"run_id": "tag:"}, "run_id must name a tag of 1 to 255 printable characters after tag:"),
    (WAIT | {"run_id": "branch:" + "b" * 256}, "run_id must name a branch of 1 to 255"),
    (WAIT | {"run_id": "schedule:my nights"}, "run_id must have 1 to 64 letters"),
    (WAIT | {"run_id": "label:nightly"}, "run_id must have 1 to 64 letters"),
    ({"fail_on_metric_value": "NO"}, "fail_on_metric_id is required with fail_on_metric_value."),
    (
        {"mode": "cancel", "run_id": "r1", "fail_on_metric_id": "m1", "fail_on_metric_value": "NO"},
        "fail_on_metric_id has no effect in mode cancel",
    ),
    (WAIT | {"run_id": "tag:n", "base_agent_id": "b"}, "base_agent_id must be empty with run_id tag:n; name the"),
    (WAIT | {"base_agent_id": "b"}, "base_agent_id requires a threshold that compares with base,"),
    (
        BASE | {"agent_id": "a, b"},
        "base_agent_id must differ from agent_id, the tested agent; name the agent to compare it with.",
    ),
    (BASE | {"mutation_ids": "m"}, "base_agent_id cannot be combined with mutations, which are compared with"),
    (RULE | {"baseline": "tag:stable", "baseline_max_age": "2d"}, "baseline_max_age must be empty for a baseline"),
    (RULE | {"accept": "true", "baseline": "run:r1"}, "baseline must name a tag or a branch if accept is true:"),
    (RULE | {"accept": "true"}, "baseline must name a tag or a branch if accept is true: later runs are"),
    (ACCEPT | {"tags": ",".join(TAGS)}, "tags must be at most 17 if accept is true: an accepted run gets one"),
    ({"tags": "nightly, coval-gate/accepted"}, f'tags {RESERVED}"coval-gate/accepted".'),
    ({"metadata": '{"tags": ["Coval-Gate/Failed"]}'}, f'metadata {RESERVED}"Coval-Gate/Failed".'),
    (
        RULE | {"repeat_on_failure": "1", "confidence": "95%"},
        "repeat_on_failure requires, with a confidence, a threshold that compares with a baseline or base.",
    ),
    ({"repeat_on_failure": "2"}, 'repeat_on_failure must be a whole number from 0 to 1; got "2"'),
    (
        {"mode": "cancel", "run_id": "r1", "only_legs": "booking"},
        "only_legs must be empty in mode cancel, which cancels all runs in run_id.",
    ),
    ({"mode": "wait", "only_legs": "booking"}, "run_id is required in mode wait"),
    (WORST, f"{NEEDS}this step launches one; raise iteration_count, or {SAME}"),
    (WORST | {"mode": "plan"}, f"{NEEDS}this step launches one; raise iteration_count, or {SAME}"),
    (WORST | {"run_template_id": "t", "iteration_count": "1"}, f"{NEEDS}this step launches one; raise"),
    (WORST | {"spend": "until clear", "confidence": "95%"}, f"{NEEDS}spend: until clear launches one; {SAME}"),
    (
        {"thresholds": "? Resolved: worst(YES) >= 0%", "iteration_count": "3"},
        "thresholds, line 1: every run meets Resolved: worst(YES) >= 0%; write > 0%, so that no test case fails in all",
    ),
    (
        {"thresholds": "Resolved: worst(YES) > 100%", "iteration_count": "3"},
        "thresholds, line 1: no run can meet Resolved: worst(YES) > 100%.",
    ),
    ({"max_failed_simulation": "x"}, "max_failed_simulation is not an input; did you mean max_failed_simulations?"),
]


def test_conflicting_inputs_are_errors(subtests: pytest.Subtests) -> None:
    for inputs, problem in CONFLICTS:
        with subtests.test(problem):
            (actual,) = problems_with(**inputs)
            assert actual.startswith(problem)


SPEND = {"spend": "until clear", "confidence": "95%", "thresholds": "Resolved: rate(YES) >= 90%"}


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"confidence": ""}, "confidence is required with spend: until clear, such as 95%"),
        ({"iteration_count": "2"}, "iteration_count must be 1 with spend: until clear"),
        ({"sub_sample_size": "20"}, "sub_sample_size cannot be combined with spend: until clear"),
        (
            {"repeat_on_failure": "1"},
            "repeat_on_failure cannot be combined with spend: until clear; set one of the two.",
        ),
        ({"mode": "launch", "thresholds": "", "confidence": "95%"}, "spend cannot be until clear in mode launch"),
        ({"mode": "wait", "run_id": "r1"}, "spend cannot be until clear in mode wait"),
        ({"accept": "true", "baseline": "tag:stable"}, "spend must be empty if accept is true"),
        ({"spend": "until cleared"}, "spend must be one of: all at once, until clear; got"),
    ],
)
def test_slices_exclude_what_contradicts_them(given: dict[str, str], problem: str) -> None:
    assert any(found.startswith(problem) for found in problems_with(**SPEND | given))
    for mode in ("run", "plan"):
        assert inputs_with(**SPEND, mode=mode, max_simulations="50").spend == "until clear"
    assert inputs_with().spend == "all at once"


def test_inputs_that_nearly_conflict_are_valid() -> None:
    several = {"iteration_count": "2"}
    for valid in (several, several | {"confidence": "95%"}, {"run_template_id": "t"}, WAIT):
        assert inputs_with(**WORST | valid).thresholds[1].text == "Resolved: worst(YES) > 0%"
    assert inputs_with(thresholds="Resolved: worst(YES) >= 100%", **several).thresholds
    assert inputs_with(mode="launch", base_agent_id="b").base_agent_id == "b", "no threshold decides in mode launch"
    assert len(inputs_with(tags=",".join(TAGS)).tags) == 18
    assert len(inputs_with(tags=",".join(TAGS[1:]), **ACCEPT).tags) == 17
    for mode in ("cancel", "wait"):
        inputs = inputs_with(mode=mode, run_id="r1, r2", **dict.fromkeys(IDS, ""))
        assert inputs.run_id == ChosenRuns(("r1", "r2"))


IMPOSSIBLE = ["pass_rate > 100%", "completed_rate < 0%", "Resolved: rate(YES) > 1", "Resolved: count(NO) < 0",
              "Resolved: missing <= -1", "failed == -1", "Latency: stdev < 0", "total == 2.5"]  # fmt: skip
POSSIBLE = ["pass_rate >= 100%", "completed_rate <= 0%", "Resolved: count(NO) <= 0", "Resolved: count(NO) != 0.5",
            "failed == 0", "failed < 0.5", "Drift: avg < -2", "Drift: max == -0.5"]  # fmt: skip


def test_threshold_that_no_run_can_meet_is_error() -> None:
    for line in IMPOSSIBLE:
        assert problems_with(thresholds=f"total >= 1\n{line}") == (f"thresholds, line 2: no run can meet {line}.",)
    for line in POSSIBLE:
        assert inputs_with(thresholds=line).thresholds[0].text == line


@pytest.mark.parametrize(
    ("context", "expected"),
    [
        (read_context({}, {}), "If the step has ${{ vars.COVAL_AGENT_ID }}, that variable has no value."),
        (context_in(SYSTEMS[0], {}), "If the step has $COVAL_AGENT_ID, that variable has no value."),
        (Context(), "give --agent-id, or set agent_id in the configuration file."),
    ],
)
def test_missing_id_is_explained_for_the_system(context: Context, expected: str) -> None:
    given = {f"INPUT_{name.upper()}": value for name, value in (IDS | {"agent_id": "", "api_key": KEY}).items()}
    with pytest.raises(InputError) as caught:
        read_inputs(given, context)
    assert caught.value.what.startswith("agent_id is required in mode run")
    assert caught.value.what.endswith(expected)


def test_problems_name_inputs_as_a_command_spells_them() -> None:
    input_problems = [("api_key", "is empty."), ("persona_id", "is persona_id."), ("thresholds", ", line 2: x.")]
    others = [("mode", "y."), ("run_id", "z."), ("a.yml", ", line 3: tags.")]
    error = InputError([*input_problems, *others], advice="Set it.").with_names(as_argument)
    assert error.problems == (
        "COVAL_API_KEY is empty.",
        "--persona-id is persona_id.",
        "--threshold, line 2: x.",
        "COMMAND y.",
        "RUN z.",
        "a.yml, line 3: tags.",
    )
    assert error.advice.endswith("\nSet it.")


@pytest.mark.parametrize("key", ["secrets.COVAL_API_KEY", "vars.KEY", "env.COVAL_API_KEY"])
def test_reference_in_place_of_the_key_is_shown(key: str) -> None:
    assert key_in({"INPUT_API_KEY": key}) == ""
    (problem,) = problems_with(api_key=key)
    assert problem == f"api_key is the text {key}, not its value. In the workflow, write ${{{{ {key} }}}}."
    for similar in ("secrets.COVAL-KEY.more", "secretsxCOVAL_API_KEY", "coval_secrets.KEY", "secrets."):
        assert key_in({"INPUT_API_KEY": similar}) == similar
        assert parse_inputs({"INPUT_API_KEY": similar})[1] == []


@pytest.mark.parametrize("key", ["two words", "line\nbreak", "schlüssel"])
def test_key_is_read_from_environment_and_never_shown(key: str) -> None:
    inputs = read_inputs(environ_of(api_key="") | {"COVAL_API_KEY": f" {KEY}\n"}, Context())
    assert inputs.api_key is not None
    assert inputs.api_key.reveal() == KEY
    assert KEY not in f"{inputs!r} {inputs} {inputs.api_key} {inputs.api_key!r}"
    (problem,) = problems_with(api_key=key)
    assert key not in problem
    assert problem.startswith("api_key must contain visible ASCII characters only")


@pytest.mark.parametrize(
    ("raw", "source"),
    [
        (" TAG : Release check ", RunSource("tag", "Release check")),
        ("branch:feature/a:b", RunSource("branch", "feature/a:b")),
        ('["branch:a,b"]', RunSource("branch", "a,b")),
        ("schedule:schedule00000000000001", RunSource("schedule", "schedule00000000000001")),
    ],
)
def test_run_id_may_name_the_newest_run_of_a_source(raw: str, source: RunSource) -> None:
    chosen = inputs_with(mode="wait", run_id=raw).run_id
    assert (chosen.ids, chosen.newest) == ((), source)
    assert parse_inputs({"INPUT_RUN_ID": str(source)})[0].run_id.newest == source or "," in raw


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"test_set_id": "a,b"}, "several ids in test_set_id"),
        ({"base_agent_id": "b", "thresholds": "Latency: avg <= base"}, "base_agent_id"),
        ({"repeat_on_failure": "1"}, "repeat_on_failure"),
    ],
)
def test_mode_wait_requires_ids_by_which_it_finds_or_repeats_runs(given: dict[str, str], why: str) -> None:
    missing = problems_with(**{"mode": "wait", "run_id": "r1", "agent_id": "", "persona_id": ""} | given)
    assert [problem.partition(": give")[0] for problem in missing] == [
        f"{name} is required in mode wait with {why}" for name in ("agent_id", "persona_id")
    ]


@pytest.mark.parametrize(
    ("withheld", "given", "name"),
    [
        ("", {}, "no-key"),
        ("fork", {}, "no-key-fork"),
        ("dependabot", {}, "no-key-dependabot"),
        ("", {"on_missing_api_key": "skip"}, "no-key-skip"),
    ],
)
def test_missing_key_is_an_error_unless_it_may_be_skipped_where_secrets_are_withheld(
    withheld: Withheld, given: dict[str, str], name: str, golden: Callable[[str, str], None]
) -> None:
    context = Context(secrets_withheld_from=withheld)
    with pytest.raises(InputError) as caught:
        inputs_with(context, api_key="", **given)
    error = caught.value
    golden(f"inputs/{name}.txt", f"{error.title}\n{error.what}\n{error.advice}\n{error.link}\n")
    if withheld:
        assert inputs_with(context, api_key="", on_missing_api_key="skip").api_key is None


def test_api_url_without_path_gets_v1() -> None:
    for written in ("https://api.coval.dev", "https://api.coval.dev/", "https://api.coval.dev/v1/"):
        assert api_root(inputs_with(api_base_url=written)) == "https://api.coval.dev/v1"
    assert api_root(inputs_with(api_base_url="https://proxy.example/coval/v1")) == "https://proxy.example/coval/v1"


def test_suspicious_inputs_give_warnings() -> None:
    """More of them are in `mistakes.py`."""
    given_environ = environ_of(tags="a", metadata='{"tags": ["b"], "created_by": "me"}')
    given_environ |= {"INPUT_ARGS": "for the runner", "INPUT_UNSET": "", "OUTPUT_TAG": "x"}
    assert warnings_about(read_inputs(given_environ, Context()), given_environ) == [
        "tags in metadata has no effect, because the input tags is set.",
    ]


def test_thresholds_are_missed_where_they_decide() -> None:
    """The step that launches leaves the thresholds to the one that waits, so it does not miss them."""
    warning = "baseline has no effect: no threshold compares with it, such as `Latency: avg <= baseline * 1.1`."
    for mode, warnings in {"launch": [], "run": [warning]}.items():
        given = environ_of(mode=mode, baseline="branch:main")
        assert warnings_about(read_inputs(given, Context()), given) == warnings


def test_null_is_empty_for_every_json_and_list_input_and_an_empty_list_an_empty_object() -> None:
    """GitHub's toJSON writes null for an unset value."""
    for kind in ("JSON object", "list", "ids"):
        declarations = [declaration for declaration in declared() if declaration.field.name == kind]
        assert declarations
        for declaration in declarations:
            for written in (" null ", "[]"):
                if declaration.name not in ("matrix", "only_legs") or written != "[]":
                    inputs, problems = parse_inputs({f"INPUT_{declaration.name.upper()}": written})
                    assert (problems, getattr(inputs, declaration.name)) == ([], declaration.field.empty)


@pytest.mark.parametrize(
    "used", [{"comment": "always"}, {"comment": "on_failure"}, {"commit_status": "gate", "mode": "launch"}]
)
def test_short_github_token_matters_only_where_it_is_used(used: dict[str, str]) -> None:
    (problem,) = problems_with(github_token="short", **used)
    assert problem == "github_token must have at least 8 characters; copy it again."
    values = environ_of(github_token="short")
    assert warnings_about(read_inputs(values, Context()), values) == []
    cancelling = environ_of(github_token="short", mode="cancel", run_id="run0000000000000000001")
    assert read_inputs(cancelling, Context()).github_token is None


def test_pattern_fits_whole_names_by_two_wildcards_in_any_case(subtests: pytest.Subtests) -> None:
    for pattern, fitting, others in (
        ("booking*", ["booking", "Booking, angry caller", "BOOKING"], ["rebooking", "book"]),
        ("ref?nds", ["refunds", "REF?NDS"], ["refnds", "refuunds"]),
        ("*[vip]*", ["orders [VIP] eu"], ["orders v", "[ip]"]),
        ("grösse  eins", ["GRÖSSE eins", "größe eins"], ["grosse eins"]),
        ("a.c", ["a.c"], ["abc"]),
        ("!a", ["!a"], ["b"]),
        ("*", ["", "one · other"], []),
    ):
        with subtests.test(pattern):
            assert {name for name in (*fitting, *others) if fits(name, pattern)} == {*fitting}


@given(st.dictionaries(st.sampled_from([declaration.name for declaration in declared()]), st.text(max_size=40)))
@example({"thresholds": "\x1b!0"})
def test_any_text_is_parsed_or_input_error(inputs: Mapping[str, str]) -> None:
    try:
        inputs_with(**inputs)
    except InputError as error:
        assert all(problem.replace("\n", " ").isprintable() for problem in error.problems)


@pytest.mark.parametrize(("percent", "total", "most"), [(7, 100, 7), (29, 100, 29), (5, 10, 0), (100, 3, 3)])
def test_percentage_is_rounded_down(percent: float, total: int, most: int) -> None:
    assert Allowance(percent, percent=True).of(total) == most
    assert str(Allowance(12.5, percent=True)) == "12.5%"
    assert str(Allowance(1234567)) == "1,234,567"


USUAL = ["pass_rate > 0", "pass_rate >= 1%", "pass_rate >= 100%", "M: rate(NO) <= 0.5%", "M: rate(NO) <= 99%",
         "M: rate(NO) < 100%", "failed <= 1", "M: min >= 0", "M: avg > 0.005"]  # fmt: skip


@pytest.mark.parametrize(
    ("threshold", "warning"),
    [
        ("pass_rate >= 0.9%", "nearly every run meets pass_rate >= 0.9%; did you mean 90%?"),
        ("M: rate(YES) > 0.0095", "nearly every run meets M: rate(YES) > 0.0095; did you mean 95%?"),
        ("M: rate(NO) <= 99.5%", "nearly every run meets M: rate(NO) <= 99.5%; did you mean >= 99.5%?"),
        ("completed_rate >= 0%", "every run meets completed_rate >= 0%, so it decides nothing."),
        ("M: stdev >= 0", "every run meets M: stdev >= 0, so it decides nothing."),
        ("M: count(YES) > -1", "every run meets M: count(YES) > -1, so it decides nothing."),
        *((usual, None) for usual in USUAL),
    ],
)
def test_bound_that_nearly_every_run_meets_is_questioned(threshold: str, warning: str | None) -> None:
    warnings = warnings_about(inputs_with(thresholds=f"total > 1\n{threshold}"), environ_of())
    assert warnings == ([f"thresholds, line 2: {warning}"] if warning else [])


def environ_in_mode(mode: str, given: Input) -> dict[str, str]:
    return environ_of(run_id="run0000000000000000001" if mode in ("wait", "cancel") else "", mode=mode) | {
        f"INPUT_{given.name.upper()}": other_value(given)
    }


def counted(mode: str) -> set[str]:
    """Return the modes whose inputs count: a plan is about mode run; launch and wait share all with it."""
    every = {"run", "launch", "wait"}
    return {"plan": {"run"}, "launch": every, "wait": every}.get(mode, {mode})


@pytest.mark.parametrize("mode", ALL_MODES)
def test_input_without_effect_in_mode_gives_warning_and_a_criterion_is_an_error(
    mode: str, subtests: pytest.Subtests
) -> None:
    for declaration in effective():
        if declaration.name != "mode":
            with subtests.test(declaration.name):
                assert_effect_is_reported(mode, declaration)


def assert_effect_is_reported(mode: str, given: Input) -> None:
    inputs, problems = parse_inputs(values := environ_in_mode(mode, given))
    assert problems == []
    has_effect = not counted(mode).isdisjoint(given.modes)
    assert (f"{given.name} has no effect in mode {mode}." in warnings_about(inputs, values)) is not has_effect
    try:
        check_inputs(inputs, [], values, withheld="")
        said = ""
    except InputError as error:
        said = f"{error.what}\n{error.advice}"
    refused = f"{given.name} has no effect in mode {mode}, which judges nothing; use mode {' or '.join(given.modes)}."
    assert (refused in said) is (given.group == GATE and not has_effect)


def test_default_written_out_is_no_unused_input() -> None:
    defaults = {"use_metric_targets": "FALSE", "max_failed_simulations": "0"}
    values = environ_of(mode="cancel", run_id="r" * 22, **dict.fromkeys(IDS, ""), **defaults)
    assert warnings_about(read_inputs(values, Context()), values) == []


def test_inputs_of_the_older_action_become_others() -> None:
    inputs = read_inputs(
        environ_of(
            mutation_id="m1",
            mutation_ids="m2, m1",
            thresholds="pass_rate >= 90%",
            fail_on_metric_id="Tone: friendly",
            fail_on_metric_value="'NO, never'",
        ),
        Context(),
    )
    assert inputs.mutation_ids == ("m2", "m1")
    own, translated = inputs.thresholds
    assert (own.place, translated.place) == ("thresholds, line 1", "fail_on_metric_id")
    (parsed,) = parse_thresholds(translated.text)
    assert parsed._replace(line=0, source=translated.source) == translated
    assert (parsed.metric, parsed.aggregate.values, parsed.operator) == ("Tone: friendly", ("NO, never",), "==")
