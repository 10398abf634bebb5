"""GitLab's component and the code agree, and no value of an input changes the job that GitLab reads."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from coval_gate import IS_RELEASE
from coval_gate.ci.host import Context
from coval_gate.features.systems.gitlab import ANNOTATIONS, DOTENV, dotenv
from coval_gate.inputs.inputs import declared, parse_inputs
from support import DEFAULTS, KEY, other_value, read_inputs

ROOT = Path(__file__).resolve().parents[2]
COMPONENT = (ROOT / "templates" / "run.yml").read_text(encoding="utf-8")
GUIDE = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8").partition("\n## GitLab\n")[2].partition("\n## ")[0]
HEADER, _, BODY = COMPONENT.partition("\n---\n")
OWN = {"image", "stage", "job_name", "job_timeout", "allow_failure", "rules"}
IMAGE = "registry.example/your-group/coval-gate:0.1.0"  # required, except in a release
BLOCK = re.compile(r"\$\[\[ inputs\.([a-z_]+) \]\]")
HOSTILE = ["true", "1", "1.50", "null", "~", ">= 95%: x", "| a", "- a", "# a", "a #b", "'", '"', '"a": \'b', "[a",
           "{a: b}", "!reference [x]", "*a", "&a", "%a", "@a", "`a`", "---", "a: b", "$[[ inputs.image ]]", "\\n",
           "2026-01-01", "0x1F", "yes", "", " a ", "ä 💬"]  # fmt: skip
ONE_LINE = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"], exclude_characters="\ufeff"))


SPEC: dict[str, Any] = YAML(typ="safe").load(HEADER)["spec"]["inputs"]
PATHS = ("junit_path", "html_path")  # GitLab collects these files
OURS = {name: entry for name, entry in SPEC.items() if name not in OWN}


def interpolated(**given: Any) -> dict[str, Any]:
    """Return the job as GitLab reads it. Raises ValueError for a value that GitLab rejects.

    Texts are inserted as they are, and all else as JSON; then the whole is parsed as YAML. Sources: GitLab's
    `Interpolation::TextTemplate` and `Interpolation::Inputs`.
    """
    values = {"image": IMAGE} | {name: entry["default"] for name, entry in SPEC.items() if "default" in entry} | given
    for name, value in values.items():
        entry = SPEC[name]
        kind = {"boolean": bool, "array": list}.get(entry.get("type", ""), str)
        if not isinstance(value, kind):
            raise ValueError(f"{name} is not a {entry.get('type', 'string')}")
        if value not in entry.get("options", [value]) or not re.search(entry.get("regex", ""), str(value).rstrip("\n")):
            raise ValueError(f"{name} does not match")
        if "regex" in entry and str(value).endswith("\n"):  # RE2's $ is the end of the text, Python's may be before it
            raise ValueError(f"{name} does not match")
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in values.items()}
    document = YAML(typ="safe").load(BLOCK.sub(lambda block: texts[block[1]], BODY))
    ((_, job),) = document.items()
    assert isinstance(job, dict)
    return job


def test_component_has_all_inputs_but_secrets_and_github_s() -> None:
    secrets = {entry.name for entry in declared() if entry.field.name == "secret"}
    assert secrets <= DEFAULTS.keys() - OURS.keys()
    assert DEFAULTS.keys() - OURS.keys() == secrets | {
        *("api_key", "github_token", "matrix", "on_missing_api_key"),
        *("summary", "annotations", "check_run"),
    }
    for name, entry in OURS.items():
        default = entry["default"]
        text = "" if default == [] else json.dumps(default) if isinstance(default, bool) else default
        assert text == DEFAULTS[name] or name in PATHS
        assert entry["description"]


def test_each_input_arrives() -> None:
    ours = [declaration for declaration in declared() if declaration.name in OURS]
    texts = {declaration.name: other_value(declaration) for declaration in ours}
    given: dict[str, Any] = {
        name: {"boolean": text == "true", "array": [text]}.get(OURS[name].get("type", ""), text)
        for name, text in texts.items()
    }
    variables = interpolated(**given)["variables"]
    for declaration in ours:
        arrived = variables[f"INPUT_{declaration.name.upper()}"].strip()
        assert declaration.field.parse(arrived) == declaration.field.parse(texts[declaration.name]), declaration.name


@given(st.lists(ONE_LINE, min_size=3, max_size=30))
@settings(max_examples=5)  # reading the whole job takes long, so that each example has many texts
@example(HOSTILE)
def test_any_text_on_one_line_is_the_variable(texts: list[str]) -> None:
    names = [name for name, entry in SPEC.items() if name in OURS and "regex" in entry and name not in PATHS]
    given = dict(zip(names, texts, strict=False))
    job = interpolated(thresholds=texts, **given)
    for name, text in given.items():
        assert job["variables"][f"INPUT_{name.upper()}"].strip() == text.strip()
    assert json.loads(job["variables"]["INPUT_THRESHOLDS"]) == texts
    assert all(isinstance(value, str) for value in job["variables"].values())
    assert interpolated() | {"variables": {}} == job | {"variables": {}}


def test_each_text_has_options_or_a_pattern_that_rejects_several_lines(subtests: pytest.Subtests) -> None:
    for name, entry in SPEC.items():
        if entry.get("type") not in ("boolean", "array"):
            assert ("options" in entry) != ("regex" in entry)
        for text in ["a\n  script: [evil]", "a\rb", "a\n"] if "regex" in entry else []:
            with subtests.test(f"{name} {text!r}"), pytest.raises(ValueError, match="does not match"):
                interpolated(**{name: text})


def test_thresholds_of_several_lines_arrive() -> None:
    """A threshold without quotes is a mapping in YAML, in which it loses the quotes around a metric."""
    written = YAML(typ="safe").load("""
        - 'Latency: p(95) < 1.5'
        - Resolved: rate(YES) >= 95%
        - "Tone: friendly": avg >= 4
        - total >= 9
        - "total >= 1\\nfailed == 0"
    """)
    inputs, problems = parse_inputs(interpolated(thresholds=written)["variables"])
    assert problems == []
    assert [threshold.text for threshold in inputs.thresholds] == [
        "Latency: p(95) < 1.5",
        "Resolved: rate(YES) >= 95%",
        '"Tone: friendly": avg >= 4',
        "total >= 9",
        "total >= 1",
        "failed == 0",
    ]


@pytest.mark.parametrize("entry", [5, None, ["total >= 1"], {"a": 1}, {"a": "avg < 1", "b": "avg < 1"}, {}])
def test_threshold_that_is_no_text_is_an_error(entry: Any) -> None:
    _, problems = parse_inputs(interpolated(thresholds=[entry])["variables"])
    assert [problem.name for problem in problems] == ["thresholds"]
    assert "must be text, or a JSON list of strings" in problems[0].what


def test_job_runs_the_steps_and_collects_their_reports() -> None:
    job = interpolated()
    assert (job["script"], job["after_script"]) == (["coval-gate run"], ["coval-gate post"])
    assert job["image"] == SPEC["image"].get("default", IMAGE)
    assert job["artifacts"]["when"] == "always"
    assert job["artifacts"]["paths"] == [job["variables"]["INPUT_HTML_PATH"].strip()]
    assert job["artifacts"]["reports"] == {
        "junit": job["variables"]["INPUT_JUNIT_PATH"].strip(),
        "dotenv": DOTENV,
        "annotations": ANNOTATIONS,
    }
    assert job["rules"] == [{"if": '$CI_PIPELINE_SOURCE == "merge_request_event"'}]
    assert job["allow_failure"] is False
    assert "inputs." not in "".join(job["script"] + job["after_script"]), "no input reaches a shell"


SAMPLES = [YAML(typ="safe").load(text) for text in re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)]
INCLUDES = [include["inputs"] for sample in SAMPLES for include in sample.get("include", [])]


@pytest.mark.parametrize("given", INCLUDES, ids=lambda given: given.get("job_name", "coval-gate"))
def test_guide_has_valid_inputs(given: dict[str, Any]) -> None:
    variables = {name: text.replace("$RUN_ID", "r" * 22) for name, text in interpolated(**given)["variables"].items()}
    inputs = read_inputs(variables | {"COVAL_API_KEY": KEY}, Context())
    assert [name for name in ("agent_id", "run_id") if getattr(inputs, name)]


def test_guide_lists_the_inputs_and_the_variables_of_later_jobs() -> None:
    left_out, _, own = (
        GUIDE.partition("### The component's inputs")[2].partition("\n\n- ")[0].partition("The component adds")
    )
    defaults = {name: str(SPEC[name].get("default", "")).replace("False", "false") for name in OWN - {"image", "rules"}}
    assert dict(re.findall(r"`([a-z_]+)` \(`([^`]*)`[;)]", own)) == defaults
    assert f"`image` ({'by default' if IS_RELEASE else 'required'}" in own
    assert "[`rules`]" in own
    assert set(re.findall(r"`([a-z_]+)`", left_out)) == DEFAULTS.keys() - OURS.keys()
    row = next(line for line in GUIDE.splitlines() if "`RUN_ID`" in line)
    assert set(re.findall(r"`([A-Z_]+)`", row)) == {line.partition("=")[0] for line in dotenv({}).splitlines()}
