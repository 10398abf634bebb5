"""Sentences about inputs, as a person reads them who gives flags."""

import pytest

from coval_gate.inputs.naming import with_flags


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("api_key is empty.", "COVAL_API_KEY is empty."),
        ("\u26a0\ufe0f Error: accept must be false here.", "\u26a0\ufe0f Error: --accept must be false here."),
        ("- baseline must name a tag or a branch", "- --baseline must name a tag or a branch"),
        ("html_path has no effect in mode plan.", "--html-path has no effect in `coval-gate plan`."),
        ("start the workflow by hand with mode: wait, run_id: a1 and accept: true", None),
        ("Check run_id: it must be the id of a run", "Check RUN: it must be the id of a run"),
        ("with repeat_on_failure: give agent_id", "with --repeat-on-failure: give --agent-id"),
        ("Set cancel_on_timeout: true, or comment_mode", "Set --cancel-on-timeout, or comment_mode"),
        ("Set cancel_on_interrupt: false or max_wait_time: 60.", "Set --no-cancel-on-interrupt or --max-wait-time 60."),
        ("Coval rejected the launch (agent_id must have 22 characters)", None),
        ("with that step's output run_id", None),
        ("Raise max_wait_time, or max_parallel_runs.", "Raise --max-wait-time, or --max-parallel-runs."),
        ('set test_case_ids: "a, b"', 'set --test-case-ids "a, b"'),
        ("thresholds, line 2: is wrong", "--threshold, line 2: is wrong"),
        ("or set agent_id in the configuration file", "or set agent_id in the configuration file"),
        ("a.yml, line 3: agnt_id is no input; did you mean agent_id?", None),
        ("The baseline and its tags", None),
        ('metric "run_id", my_run_id, https://a.example/b#run_id and run_id.x', None),
        ("--agent-id is required", None),
    ],
)
def test_inputs_are_named_as_flags(text: str, shown: str | None) -> None:
    assert with_flags(text) == (text if shown is None else shown)
    assert with_flags(with_flags(text)) == with_flags(text)
