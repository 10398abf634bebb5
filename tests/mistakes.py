"""Mistakes that newcomers make, by the golden file that holds what they read: inputs as they stand in a workflow."""

from __future__ import annotations

from typing import Any, Final

WAIT: Final = {"mode": "wait", "run_id": "run0000000000000000001", "agent_id": "", "persona_id": "", "test_set_id": ""}
LONG_KEY: Final = "coval_sk_test_a_second_key_0123456789"

INPUTS: Final[dict[str, list[dict[str, str]]]] = {
    "ids": [
        {"agent_id": ""},
        {"agent_id": "", "persona_id": "", "test_set_id": ""},
        {"agent_id": "My voice agent"},
        {"agent_id": "https://app.coval.dev/acme/agents/agent00000000000000001"},
        {"persona_id": "personas/persona000000000000001"},
        {"test_set_id": "'passing1'"},
        {"agent_id": "$AGENT_ID"},
        {"agent_id": "${{ vars.AGENT_ID }}"},
        {"metric_ids": "Latency, Tone: friendly"},
    ],
    "numbers": [
        {"iteration_count": "0"},
        {"iteration_count": "three"},
        {"concurrency": "5.0"},
        {"max_wait_time": "30s"},
        {"max_wait_time": "10m"},
        {"max_wait_time": "1 hour"},
        {"max_wait_time": "1,800"},
        {"check_interval": "0"},
        {"max_queue_time": "never"},
        {"sub_sample_size": "10%"},
        {"max_failed_simulations": "0.05"},
        {"max_failed_simulations": "5 percent"},
        {"min_simulations": "80%"},
        {"sub_sample_seed": "random"},
    ],
    "words": [
        {"mode": "lunch"},
        {"mode": "run-and-wait"},
        {"comment": "true"},
        {"comment": "on-failure"},
        {"use_metric_targets": "yes"},
        {"cancel_on_timeout": "0"},
        {"resume": "maybe"},
    ],
    "lists": [
        {"metric_ids": "['Latency']"},
        {"metric_ids": "[a1, b2]"},
        {"metric_ids": "- a1\n- b2"},
        {"metric_ids": "a1 b2"},
        {"tags": "[1, 2]"},
        {"tags": ",".join(f"tag{number}" for number in range(19))},
        {"test_case_ids": '{"ids": ["a1"]}'},
    ],
    "json": [
        {"metadata": "team: voice"},
        {"metadata": "{'team': 'voice'}"},
        {"metadata": '["voice"]'},
        {"metadata": '{"team": "voice"'},
        {"metadata": '{"tags": "nightly"}'},
        {"metadata": '{"display_name": 42}'},
        {"metadata": '{"team": "a", "team": "b"}'},
        {"config_overrides": "300"},
    ],
    "thresholds": [
        {"thresholds": "Latency: p95 < 1.5"},
        {"thresholds": "Latency: p(95) < 1.5s"},
        {"thresholds": "Latency: p(95) < 1500ms"},
        {"thresholds": "Latency: p(95) < 1,5"},
        {"thresholds": "Latency p(95) < 1.5"},
        {"thresholds": "Latency < 1.5"},
        {"thresholds": "pass_rate >= 95"},
        {"thresholds": "pass_rate = 95%"},
        {"thresholds": "pass-rate ≥ 95%"},
        {"thresholds": "Resolved == YES"},
        {"thresholds": "Resolved: rate >= 90%"},
        {"thresholds": "Resolved: rate(“YES”) >= 90%"},
        {"thresholds": "Tone: friendly: avg >= 4"},
        {"thresholds": "Latency: p(95) < 1.5 Resolved: rate(YES) >= 90%"},
        {"thresholds": "Latency: p(95) < 1.5 # seconds Resolved: rate(YES) >= 90%"},
        {"thresholds": "- pass_rate >= 95%\n- failed == 0"},
        {"thresholds": "Latency: avg <= baseline * 1.1"},
        {"thresholds": "Latency: p(95) =< 1.5", "mode": "lunch", "tags": "[1]"},
    ],
    "combinations": [
        {**WAIT, "run_id": ""},
        {**WAIT, "run_id": "run0000000000000000001,run0000000000000000002"},
        {"run_id": "run0000000000000000001"},
        {"mode": "launch", "thresholds": "pass_rate >= 95%"},
        {"fail_on_metric_id": "Resolved"},
        {"fail_on_metric_id": "Resolved", "fail_on_metric_value": "NO|UNKNOWN"},
        {"mutation_id": "m1", "mutation_ids": "m1,m2"},
        {"test_case_ids": "t1", "sub_sample_size": "3"},
        {"sub_sample_seed": "7"},
        {"junit_path": "report.xml", "json_path": "report.xml"},
    ],
    "names": [
        {"treshold": "pass_rate >= 95%"},
        {"metric_id": "m1"},
        {"agent-id": "agent00000000000000001"},
        {"timeout": "600"},
    ],
    "secrets": [
        {"api_key": ""},
        {"api_key": "", "on_missing_api_key": "skip"},
        {"api_key": "${{ secrets.COVAL_API_KEY }}"},
        {"api_key": "Bearer coval_sk_test"},
        {"api_key": "secret"},
        {"api_key": LONG_KEY, "display_name": f"Nightly {LONG_KEY}"},
        {"github_token": "secret", "comment": "always"},
    ],
    "addresses": [
        {"api_base_url": "api.coval.dev"},
        {"api_base_url": "http://api.coval.dev/v1"},
        {"api_base_url": "https://user:password@api.coval.dev/v1"},
        {"dashboard_url": "app.coval.dev/acme"},
        {"junit_path": "../report.xml"},
        {"junit_path": "/reports/report.xml"},
        {"json_path": "reports/"},
    ],
}

SUSPICIOUS: Final[list[dict[str, str]]] = [
    {"agent_id": "agent1"},
    {"colour": "red"},
    {"mode": "launch", "check_interval": "30"},
    {"iteration_count": "100"},
    {"thresholds": "pass_rate >= 0.95%"},
    {"thresholds": "Latency: p(0.95) < 1.5"},
    {"thresholds": "failed >= 0"},
    {"display_name": "Nightly", "metadata": '{"display_name": "Weekly"}'},
]
"""Likely mistakes, which give warnings."""

ANSWERS: Final[dict[str, dict[str, Any]]] = {
    "a key of another organization": {"api_key": "coval_sk_wrong_0000000000"},
    "a key that may only read": {"api_key": "coval_sk_test_readonly"},
    "an agent that does not exist": {"agent_id": "missing000000000000001"},
    "a metric that does not exist": {"metric_ids": "missing000000000000001"},
    "an id that is too short": {"agent_id": "agent1"},
    "more iterations than Coval allows": {"iteration_count": "51"},
    "two numbers that Coval does not allow": {"iteration_count": "51", "concurrency": "101"},
    "a workspace that does not exist": {"workspace_id": "missing"},
    "a run that does not exist": {**WAIT, "run_id": "nowhere000000000000001"},
    "an address without the API": {"path": "/v2"},
    "a metric whose name is misspelt": {"thresholds": "Latncy: p(95) < 1.5", "metrics_grace_time": "0"},
    "targets that the key may not read": {
        "scopes": ("runs:*", "simulated-conversations:read"),
        "use_metric_targets": "true",
    },
    "simulations that the key may not read": {"scopes": ("runs:*",)},
}
"""Mistakes that only Coval's responses show. `path` is that of the API; `scopes` are those of the key."""
