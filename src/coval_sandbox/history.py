"""Earlier runs to compare with: runs of the last nights, for the test sets whose scenario has them.

They have tags and metadata like runs of a gate in CI. The newest one has the tag `stable`. Where there are many, a
person accepted one, and a metric got a new version. Coval's own schedules have launched runs, too.
"""

from collections.abc import Iterator
from dataclasses import replace

from . import catalogue
from .deterministic import rng, short_id
from .plan import RunRecord, make_plan
from .problems import clean_tags, parse_launch
from .scenarios import SCENARIOS, Scenario, for_test_set

SCHEDULED_NIGHTS = 3
ACCEPTED_NIGHT, OLD_VERSION_NIGHT = 12, 8  # nights ago, from 0; older runs than the second have another version
DAY = 86_400.0  # s
SINCE_SCHEDULED = 21_600.0  # s since the schedules launched their last runs
TAG = "stable"  # of the last night's run
REPOSITORY = "acme/voice-agent"


def nights(now: float, seed: int) -> Iterator[RunRecord]:
    """Yield the runs of all test sets, oldest first, for the catalogue's first agent and persona."""
    for night in reversed(range(max(scenario.nights for scenario in SCENARIOS))):
        for scenario in SCENARIOS:
            if scenario.before is not None and night < scenario.nights:
                yield _night(scenario, night, now - (night + 1) * DAY, seed)


def scheduled_nights(now: float, seed: int) -> Iterator[RunRecord]:
    """Yield the runs of all schedules, oldest first."""
    for night in reversed(range(SCHEDULED_NIGHTS)):
        for schedule in catalogue.SCHEDULES:
            for number, body in enumerate(schedule.launches()):
                request = parse_launch(body)
                yield RunRecord(
                    run_id=short_id(rng(seed, "history", schedule.id, night, number)),
                    create_time=now - night * DAY - SINCE_SCHEDULED,
                    body=body,
                    request=request,
                    plan=make_plan(for_test_set(request.test_set_id), request, f"{seed}/history/{night}/{number}"),
                    tags=clean_tags(request.metadata.tags),
                    schedule_id=schedule.id,
                )


def _night(scenario: Scenario, night: int, create_time: float, seed: int) -> RunRecord:
    """Return the run of a night. Night 0 is the last one."""
    random = rng(seed, "history", scenario.name, night)
    body = _body(scenario.test_set_id, night, f"{random.getrandbits(160):040x}")
    request = parse_launch(body)
    earlier = replace(scenario, values=scenario.before or scenario.values)
    return RunRecord(
        run_id=short_id(random),
        create_time=create_time,
        body=body,
        request=request,
        plan=make_plan(earlier, request, f"{seed}/history/{night}"),
        tags=clean_tags(request.metadata.tags),
        metric_versions={catalogue.RESOLVED.id: 0} if night > OLD_VERSION_NIGHT else {},
    )


def _body(test_set_id: str, night: int, commit: str) -> catalogue.Json:
    workflow_run = 1_000_000_000 - night
    key = f"coval-gate/{workflow_run}.1/{commit[:12]}/{commit[12:20]}"
    return {
        "agent_id": catalogue.AGENT_ID,
        "persona_id": catalogue.PERSONA_ID,
        "test_set_id": test_set_id,
        "metadata": {
            "display_name": f"{REPOSITORY} · {commit[:7]} · Nightly regression",
            "tags": [
                "nightly",
                *([] if night else [TAG]),
                *(["coval-gate/accepted"] if night == ACCEPTED_NIGHT else []),
                key,
            ],
            "created_by": "mona",
            "customer": {
                "github_repository": REPOSITORY,
                "github_commit": commit,
                "github_run_url": f"https://github.com/{REPOSITORY}/actions/runs/{workflow_run}/attempts/1",
                "coval_gate_0": key,
            },
        },
    }
