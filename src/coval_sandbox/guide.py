"""Texts that explain the sandbox to its users: scenarios, ids, quirks, faults, and a step to copy."""

from collections.abc import Mapping
from pathlib import Path

from . import catalogue
from .deterministic import SpeedClock
from .faults import ACTIONS, OFFER_ACTIONS, RELAY_ACTIONS
from .github import API, BASE, TOKEN
from .history import DAY, TAG
from .http import BASE as API_BASE
from .quirks import describe_quirks
from .scenarios import PASSING, SCENARIOS
from .sound import GOOD_TONE
from .world import DEFAULT_KEY, World

PAGE = "docs/sandbox.md"
FAULT = "METHOD PATH-GLOB [#n | #n-m | #n- | *] -> ACTION"


def scenarios() -> str:
    """Describe the course of a run, by its test set id."""
    width = max(len(scenario.name) for scenario in SCENARIOS)
    return "\n".join(
        f"  {scenario.test_set_id}  {scenario.name:<{width}}  {scenario.summary}" for scenario in SCENARIOS
    )


def nights(world: World | None = None) -> str:
    """List the runs of a world's last three nights; by default, of a sandbox with the default seed."""
    records = (world or World(SpeedClock(), history=True)).nights
    records = tuple(record for record in records if record.create_time > records[-1].create_time - 2.5 * DAY)
    width = max((len(record.plan.scenario.name) for record in records), default=0)
    ordered = sorted(records, key=lambda record: (record.request.test_set_id, record.create_time))
    lines = []
    for night in ordered:
        tags = [tag for tag in night.tags if not tag.startswith("coval-gate/")]
        name = night.plan.scenario.name
        lines.append(f"  {night.request.test_set_id}  {name:<{width}}  run {night.run_id}, tags {', '.join(tags)}")
    return "\n".join(lines)


def resources() -> str:
    """Describe the ids of the catalogue, except test sets."""
    rows = [
        *(("agent", agent_id, _agent(agent)) for agent_id, agent in catalogue.AGENTS.items()),
        *(("persona", persona.id, persona.name) for persona in catalogue.PERSONAS),
        *(
            (
                "metric",
                metric.id,
                f"{metric.name} ({metric.output_type}): {metric.description}",
            )
            for metric in catalogue.DEFAULT_METRICS
        ),
        *(
            ("mutation", mutation.id, f"{mutation.name} (of {agent.name})")
            for agent_id, agent in catalogue.AGENTS.items()
            for mutation in catalogue.mutations_of(agent_id)
        ),
        *(("template", run_template["id"], run_template["display_name"]) for run_template in catalogue.RUN_TEMPLATES),
        *(
            ("schedule", schedule.id, f"{schedule.name}: each night, a run of each combination in the template")
            for schedule in catalogue.SCHEDULES
        ),
    ]
    return "\n".join(f"  {kind:<8}  {identifier:<26}  {text}".rstrip() for kind, identifier, text in rows)


def _agent(agent: catalogue.Agent) -> str:
    return f"{agent.name}: your own process answers its callers" if agent.attaches else agent.name


def quirks() -> str:
    return "\n".join(f"  {syntax}\n      {meaning}" for syntax, meaning in describe_quirks().items())


def faults() -> str:
    """Describe the grammar of faults."""
    return f"""\
{_actions(ACTIONS)}
  Add 'before' or 'after' to override whether the request takes effect.
  An offer of the relay to a process, OFFER /simulations/ID:
{_actions(OFFER_ACTIONS)}
  A process's connection to the relay, RELAY /simulations/ID:
{_actions(RELAY_ACTIONS)}"""


def _actions(meanings: Mapping[str, str]) -> str:
    width = max(map(len, meanings))
    return "\n".join(f"  {syntax:<{width}}  {meaning}" for syntax, meaning in meanings.items())


def step(url: str) -> str:
    """Return the step of a workflow that uses the sandbox at `url`."""
    return f"""\
  - uses: your-org/coval-gate@v0.1
    with:
      api_key: {DEFAULT_KEY}
      api_base_url: {url}
      agent_id: {catalogue.AGENT_ID}
      persona_id: {catalogue.PERSONA_ID}
      test_set_id: {PASSING.test_set_id}
      check_interval: 1 # the sandbox's clock may be faster than yours
      thresholds: |
        Latency: p(95) < 1.5
        Resolved: rate(YES) >= 90%"""


def github(origin: str) -> str:
    """Describe the small GitHub, and where its page is."""
    return f"""\
A small GitHub accepts comments, commit statuses and check runs. To use it, give the step this variable
  GITHUB_API_URL={origin}{API}
and any github_token, such as {TOKEN}. This page shows what a pull request would show:
  {origin}{BASE}
"""


def guide(url: str, world: World, *, strict: bool) -> str:
    others = "No others exist." if strict else 'Any other test set passes, unless its id begins with "missing".'
    return f"""\
Test sets, and the course of their runs. {others}
{scenarios()}

Other ids:
{resources()}
{_earlier(world)}
A step to copy:
{step(url)}

{github(url.removesuffix(API_BASE))}
{PAGE} explains how a workflow on your machine reaches the sandbox. For other machines, start it with --bind ADDRESS.
"""


def relay(certificate: Path) -> str:
    return f"""\
Your own process can answer the callers of agent {catalogue.OWN_BUILD_ID}. To make it trust the relay, set
  SSL_CERT_FILE={certificate}
A good answer contains a tone of {GOOD_TONE:g} Hz. {PAGE} explains the judges.
"""


def _earlier(world: World) -> str:
    if not world.nights:
        return ""
    return f"""
Runs of the last three nights, with the first agent and persona. To compare with them, set baseline: tag:{TAG} or run:ID
{nights(world)}
The schedule has launched runs in these nights, too. To judge the newest ones, set mode: wait and
run_id: schedule:{catalogue.SCHEDULES[0].id}
"""
