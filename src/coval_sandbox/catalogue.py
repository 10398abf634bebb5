"""The sandbox's resources other than runs: metrics, test cases, mutations, run templates, scheduled runs."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import Any, Literal

from .deterministic import readable_id, rng, short_id, ulid

Json = dict[str, Any]
OutputType = Literal["float", "string", "set"]

AGENT_ID = readable_id("agentFrontDesk", 1)
PREVIEW_ID = readable_id("agentPreview", 2)
SLOW_PREVIEW_ID = readable_id("agentSlowPreview", 3)
OWN_BUILD_ID = readable_id("agentOwnBuild", 4)
PERSONA_ID = readable_id("personaPatient", 1)
IMPATIENT_PERSONA_ID = readable_id("personaHurried", 2)
MODEL_TYPE = "MODEL_TYPE_VOICE"  # of agents that Coval calls
SDK_MODEL_TYPE = "MODEL_TYPE_SDK_WEBSOCKET"  # of agents whose process connects to Coval
FIRST_VERSION = 1  # of a metric
FOUNDED = 1_750_000_000.0
"""The creation time of everything in the catalogue, in seconds since the epoch."""


@dataclass(frozen=True)
class Metric:
    """`target`: its target_condition. `threshold`: the organization's override. `categories`: the possible values."""

    id: str
    name: str
    metric_type: str
    output_type: OutputType
    description: str = ""
    unit: str | None = None
    target: Json | None = None
    threshold: Json | None = None
    builtin: bool = False
    categories: tuple[str, ...] = ()


LATENCY = Metric(
    readable_id("metricLatency", 1),
    "Latency",
    "METRIC_LLM_TTFB",
    "float",
    "Seconds from the end of the caller's turn to the agent's first word",
    unit="s",
    target={"comparison_operator": "lte", "target_float": 1.5},
)
RESOLVED = Metric(
    readable_id("metricResolved", 2),
    "Resolved",
    "METRIC_LLM_BINARY",
    "string",
    "Did the caller get what they called for?",
    target={"comparison_operator": "in", "target_values": ["YES"]},
)
COMPLIANCE = Metric(
    readable_id("metricCompliance", 3),
    "Compliance",
    "METRIC_AGENT_JUDGE",
    "string",
    "Did the agent keep to the rules on identity and recording?",
    target={"comparison_operator": "in", "target_values": ["YES", "UNKNOWN"]},
    threshold={"comparison_operator": "in", "target_values": ["YES"]},
)
TONE = Metric(
    readable_id("metricTone", 4),
    "Tone: friendly",
    "METRIC_NUMERICAL_LLM_JUDGE",
    "float",
    "How friendly the agent sounded, from 1 to 5",
    target={"comparison_operator": "gte", "target_float": 4},
)
TOPICS = Metric(
    readable_id("metricTopics", 5),
    "Topics",
    "METRIC_CATEGORICAL",
    "set",
    "What the conversation was about",
    categories=("billing", "booking", "identity", "legal", "opening hours", "refund"),
)
DEFAULT_METRICS = (LATENCY, RESOLVED, COMPLIANCE, TONE, TOPICS)
# Two metrics share a name, because names are not unique in Coval.
BUILTIN_METRICS = tuple(
    Metric(readable_id("builtinInterrupts", number), "Interruptions", kind, "float", builtin=True)
    for number, kind in ((1, "METRIC_PAUSE_ANALYSIS"), (2, "METRIC_TRANSCRIPT_REGEX"))
)
SPEAKING_TIME = Metric(
    readable_id("builtinSpeaking", 3),
    "Speaking time",
    "METRIC_SPEAKING_TIME_PERCENTAGE",
    "float",
    "Share of the conversation during which the agent spoke",
    unit="%",
    builtin=True,
)
METRICS = (*DEFAULT_METRICS, *BUILTIN_METRICS, SPEAKING_TIME)
_METRICS_BY_ID = {metric.id: metric for metric in METRICS}


def metric_for(metric_id: str) -> Metric:
    """Return a metric; for an unknown id, one with numbers from 0 to 1."""
    metric = _METRICS_BY_ID.get(metric_id)
    return metric or Metric(metric_id, f"Metric {metric_id[:6]}", "METRIC_PYTHON", "float")


def version_ulid(metric_id: str, number: int) -> str:
    return ulid(FOUNDED, rng("version", metric_id, *([number] if number != FIRST_VERSION else [])))


@dataclass(frozen=True)
class TestCase:
    """`text` is the simulated caller's goal."""

    __test__ = False  # pytest would collect the class otherwise

    id: str
    test_set_id: str
    label: str
    text: str
    expected: str
    """What a good agent does."""


_CASES = (
    ("Books an appointment", "I need an appointment next Tuesday afternoon.", "offers free times"),
    ("Moves an appointment", "Can we move my appointment to Friday?", "confirms the new time"),
    ("Asks for a refund", "You charged me twice, I want my money back.", "opens a refund request"),
    ("Angry caller", "I have been waiting for an hour!", "stays calm and apologizes"),
    ("Wants a human", "Let me talk to a real person.", "hands over to a colleague"),
    ("Changes the address", "I moved, please update my address.", "checks the identity first"),
    ("Background noise", "Sorry, I am on a train, can you hear me?", "asks again where it did not hear"),
    ("Speaks Spanish", "¿Habla español?", "goes on in Spanish"),
    ("Gives a wrong birth date", "It is the thirtieth of February.", "notices and asks again"),
    ("Hangs up early", "Never mind. Bye.", "ends the call politely"),
)


@lru_cache(maxsize=100)
def test_cases(test_set_id: str, count: int) -> tuple[TestCase, ...]:
    """Return the first `count` test cases, always the same."""
    return tuple(_test_case(test_set_id, number) for number in range(1, count + 1))


def test_case(test_case_id: str) -> TestCase:
    """Return a test case. Raises ValueError if no test set has it."""
    test_set_id, number = test_case_id[4:12], test_case_id[12:]
    case = _test_case(test_set_id, int(number))
    if case.id != test_case_id or int(number) < 1:
        raise ValueError(test_case_id)
    return case


def _test_case(test_set_id: str, number: int) -> TestCase:
    round_, place = divmod(number - 1, len(_CASES))
    subject, text, expected = _CASES[place]
    label = f"{subject} {round_ + 1}" if round_ else subject
    return TestCase(readable_id(f"case{test_set_id}", number), test_set_id, label, text, expected)


@dataclass(frozen=True)
class Persona:
    """A simulated caller. Conversations depend on its `prompt` and `voice`."""

    id: str
    name: str
    prompt: str
    voice: str = "aria"


PERSONAS = (
    Persona(PERSONA_ID, "Patient caller", "You are friendly, and you have time."),
    Persona(IMPATIENT_PERSONA_ID, "Hurried caller", "You are in a hurry. Interrupt long answers.", voice="rex"),
)


def persona_for(persona_id: str) -> Persona:
    """Return a persona; for an unknown id, a plain caller."""
    persona = next((persona for persona in PERSONAS if persona.id == persona_id), None)
    return persona or Persona(persona_id, "Plain caller", "You are a caller.")


@dataclass(frozen=True)
class Agent:
    """`shift` moves its values, in standard deviations (above 0: worse)."""

    name: str
    shift: float = 0.0
    model_type: str = MODEL_TYPE

    @property
    def attaches(self) -> bool:
        """Whether its simulations wait for a process that connects with the Agent SDK."""
        return self.model_type == SDK_MODEL_TYPE

    @property
    def metrics(self) -> tuple[Metric, ...]:
        return (*DEFAULT_METRICS, SPEAKING_TIME) if self.attaches else DEFAULT_METRICS


AGENTS = {
    AGENT_ID: Agent("Front desk"),
    PREVIEW_ID: Agent("Front desk, preview"),
    SLOW_PREVIEW_ID: Agent("Front desk, slow preview", 1.2),
    OWN_BUILD_ID: Agent("Front desk, own build", model_type=SDK_MODEL_TYPE),
}


def agent_for(agent_id: str) -> Agent:
    """Return an agent; for an unknown id, the front desk."""
    return AGENTS.get(agent_id, AGENTS[AGENT_ID])


@dataclass(frozen=True)
class Mutation:
    """`shift` moves its values, as for an agent."""

    id: str
    name: str
    overrides: Json
    shift: float = 0.0


def _mutation(name: str, shift: float, **overrides: object) -> Mutation:
    return Mutation(ulid(FOUNDED, rng("mutation", name)), name, overrides, shift)


MUTATIONS = (  # of the front desk
    _mutation("Smaller model", 0.8, model="small"),
    _mutation("Faster voice", -0.4, voice={"rate": 1.2}),
    _mutation("Short prompt", 0.3, prompt="short"),
)
PREVIEW_MUTATIONS = (_mutation("Smaller model of the preview", 0.8, model="small"),)


def mutations_of(agent_id: str) -> tuple[Mutation, ...]:
    """Return the mutations of an agent; for an unknown id, those of the front desk."""
    others = {PREVIEW_ID: PREVIEW_MUTATIONS}
    return others.get(agent_id, MUTATIONS if agent_for(agent_id) is AGENTS[AGENT_ID] else ())


def mutation_for(mutation_id: str) -> Mutation:
    """Return a mutation; for an unknown id, one that changes nothing."""
    for mutation in (*MUTATIONS, *PREVIEW_MUTATIONS):
        if mutation.id == mutation_id:
            return mutation
    return Mutation(mutation_id, f"Mutation {mutation_id[-4:]}", {})


# In the older format, a template has one agent, persona and test set; in the newer one, lists of them.
RUN_TEMPLATES: tuple[Json, ...] = (
    {
        "id": short_id(rng("template", 1)),
        "display_name": "Smoke test",
        "description": "One agent, one persona, a few cases",
        "agent_ids": [AGENT_ID],
        "persona_ids": [PERSONA_ID],
        "test_set_ids": ["passing1"],
        "metric_ids": [LATENCY.id, RESOLVED.id],
        "iteration_count": 1,
        "concurrency": 2,
        "sub_sample_size": 3,
        "sub_sample_seed": 7,
        "tags": ["smoke"],
    },
    {
        "id": short_id(rng("template", 2)),
        "display_name": "Nightly regression",
        "description": "Every persona on every test set, with a mutation",
        "agent_ids": [AGENT_ID],
        "persona_ids": [PERSONA_ID, IMPATIENT_PERSONA_ID],
        "test_set_ids": ["passing1", "flaky001"],
        "metric_ids": [metric.id for metric in DEFAULT_METRICS],
        "mutation_ids": [MUTATIONS[0].id],
        "iteration_count": 2,
        "concurrency": 5,
        "metadata": {"team": "voice"},
        "tags": ["nightly", "regression"],
    },
    {
        "id": short_id(rng("template", 3)),
        "display_name": "Old style",
        "description": "One id of each kind",
        "agent_id": AGENT_ID,
        "persona_id": PERSONA_ID,
        "test_set_id": "passing1",
        "metric_ids": [],
        "iteration_count": 1,
        "concurrency": 1,
    },
)


@dataclass(frozen=True)
class Schedule:
    """A scheduled run: Coval launches a run of each combination in its template, in the newer format."""

    id: str
    name: str
    template: Json

    def launches(self) -> Iterator[Json]:
        """Yield the bodies of the launches of one night."""
        template = self.template
        for agent_id, persona_id, test_set_id in product(
            template["agent_ids"], template["persona_ids"], template["test_set_ids"]
        ):
            yield {
                "agent_id": agent_id,
                "persona_id": persona_id,
                "test_set_id": test_set_id,
                "metric_ids": template["metric_ids"],
                "mutation_ids": template["mutation_ids"],
                "options": {name: template[name] for name in ("iteration_count", "concurrency")},
                "metadata": {
                    "display_name": self.name,
                    "template_name": template["display_name"],
                    "tags": template["tags"],
                    "customer": template["metadata"],
                },
            }


SCHEDULES = (Schedule(readable_id("scheduleNightly", 1), "Nightly regression", RUN_TEMPLATES[1]),)
