"""The API without HTTP: every operation is a method. The state of runs depends on the clock only."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from threading import Lock
from typing import Any

from . import views
from .attachments import Attachments
from .catalogue import Json
from .catalogue_api import CatalogueApi, Edits
from .deterministic import Clock, rng, short_id
from .filters import Query, Row, Show, as_is, listing, matches, ordered, parse_filter, selected
from .history import nights, scheduled_nights
from .plan import PlannedSimulation, RunRecord, make_plan
from .problems import LaunchRequest, clean_tags, invalid, not_found, parse_launch, parse_update
from .quirks import Quirks
from .scenarios import BY_NAME, Scenario, for_test_set

DEFAULT_KEY = "coval_sk_test_sandbox"
READ_ONLY_KEY = "coval_sk_test_readonly"
DEFAULT_KEYS = {DEFAULT_KEY: ("*",), READ_ONLY_KEY: ("*:read",)}

MOST_SCHEDULED = 500  # runs of a schedule in its list
_RUN_ORDER = ("create_time", "update_time", "status", "agent_id", "persona_id", "test_set_id")
_RUN_FIELDS = (*_RUN_ORDER, "created_by", "tag")
_SIMULATION_ORDER = ("create_time", "status")
_SIMULATION_FIELDS = (
    *_SIMULATION_ORDER,
    "agent_id",
    "persona_id",
    "test_set_id",
    "test_case_id",
    "run_id",
    "external_conversation_id",
    "mutation_id",
    "mutation_name",
)


class World:
    """A Coval organization. `history`: start with runs of the last nights.

    `scenario` (a name) overrides the scenarios of test set ids. `strict`: only ids of the catalogue exist. `api_keys`
    maps a key to its scopes, e.g. ("runs:read",), ("*:read",) or ("*",). Methods return the JSON body of a success, or
    raise `Problem`. Methods do not lock: a caller that shares a world between threads must hold `lock` around each
    call.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        seed: int = 0,
        scenario: str | None = None,
        quirks: Quirks | None = None,
        strict: bool = False,
        history: bool = False,
        api_keys: Mapping[str, Sequence[str]] = DEFAULT_KEYS,
    ) -> None:
        self.clock = clock
        self.seed = seed
        self.scenario = BY_NAME[scenario] if scenario is not None else None
        self.quirks = quirks or Quirks()
        self.api_keys = dict(api_keys)
        self.lock = Lock()
        self.edits = Edits(clock)
        self.catalogue = CatalogueApi(self.scenario_for, self.quirks, self.edits, strict=strict)
        earlier = [*nights(clock(), seed), *scheduled_nights(clock(), seed)] if history else []
        earlier.sort(key=lambda record: record.create_time)
        self._records: dict[str, RunRecord] = {record.run_id: record for record in earlier}
        self._launched = 0
        self.attachments = Attachments(clock, seed, self.quirks, self._find_simulation, self._store)

    # For tests

    @property
    def runs(self) -> tuple[RunRecord, ...]:
        """Oldest first, including deleted ones."""
        return tuple(self._records.values())

    @property
    def nights(self) -> tuple[RunRecord, ...]:
        """Oldest first, without those of schedules."""
        earlier = self.runs[: len(self._records) - self._launched]
        return tuple(record for record in earlier if not record.schedule_id)

    def run_schedule(self, schedule_id: str) -> tuple[str, ...]:
        """Launch the runs as Coval does at night, and return their ids."""
        ids = []
        for body in self.catalogue.schedule(schedule_id).launches():
            self.launch(body)
            ids.append(next(reversed(self._records)))
            self._records[ids[-1]] = replace(self._records[ids[-1]], schedule_id=schedule_id)
        return tuple(ids)

    @property
    def unfinished(self) -> tuple[RunRecord, ...]:
        """Oldest first."""
        now = self.clock()
        return tuple(record for record in self.runs if not record.finished(now))

    def scenario_for(self, test_set_id: str) -> Scenario:
        return self.scenario or for_test_set(test_set_id)

    # Runs

    def launch(self, body: object) -> Json:
        request = parse_launch(body)
        self._require_parts(request)
        number = self._launched
        self._launched += 1
        scenario = self.scenario_for(request.test_set_id)
        before = sum(run.request.test_set_id == request.test_set_id for run in self.runs)
        if before:
            scenario = replace(scenario, first_unresolved=0.0)
        if scenario.later and before >= scenario.runs_before:
            scenario = replace(scenario, values=scenario.later)
        plan = make_plan(scenario, request, f"{self.seed}/{number}")
        record = RunRecord(
            run_id=short_id(rng(self.seed, number, "run")),
            create_time=self.clock(),
            body=body if isinstance(body, dict) else {},
            request=request,
            plan=plan,
            tags=self._stored(request.metadata.tags),
            metric_versions={metric_id: self.edits.version(metric_id) for metric_id in plan.metric_ids},
        )
        record = self.attachments.begin(record)
        self._store(record)
        return views.launched_run(record, record.create_time, self.quirks)

    def get_run(self, run_id: str) -> Json:
        return {"run": views.run(self._find(run_id), self.clock(), self.quirks)}

    def list_runs(self, query: Query) -> Json:
        now = self.clock()
        wanted = parse_filter(query.get("filter"), _RUN_FIELDS)
        rows = [
            self._run_row(record, now) for record in self._visible if now - record.create_time >= self.quirks.list_lag
        ]
        if self.quirks.refuse_tag_filter and "tag" in wanted:
            raise invalid(("filter", "runs cannot be filtered by tag"))
        if self.quirks.blind_tag_filter and "tag" in wanted:
            rows = []
        if self.quirks.ignore_tag_filter:
            wanted.pop("tag", None)
        rows = ordered([row for row in rows if matches(row, wanted)], query.get("order_by"), _RUN_ORDER)

        def show(row: Row) -> Json:
            return views.run(row["record"], now, self.quirks, listed=True)

        return self._listing("runs", rows, query, show, most=1000)

    def list_scheduled_runs(self, schedule_id: str) -> Json:
        """List the newest runs first, without pages."""
        now = self.clock()
        self.catalogue.schedule(schedule_id)
        rows = [
            record
            for record in self._visible
            if record.schedule_id == schedule_id and now - record.create_time >= self.quirks.list_lag
        ]
        rows.sort(key=lambda record: record.create_time, reverse=True)
        return {"runs": [views.scheduled_run(record, now, self.quirks) for record in rows[:MOST_SCHEDULED]]}

    def update_run(self, run_id: str, body: object) -> Json:
        tags = self._stored(parse_update(body).tags)
        self._records[run_id] = replace(self._find(run_id), tags=tags)
        return self.get_run(run_id)

    def delete_run(self, run_id: str) -> Json:
        """Cancel an unfinished run; remove a finished one."""
        record, now = self._find(run_id), self.clock()
        if record.finished(now):
            self._records[run_id] = replace(record, delete_time=now)
        elif record.cancel_time is None:
            self._records[run_id] = replace(record, cancel_time=now + self.quirks.cancel_lag)
        return {}

    # Simulations and metric outputs; `legacy` selects the format

    def list_simulations(self, query: Query, *, legacy: bool = False) -> Json:
        now = self.clock()
        rows = [
            views.simulation(record, planned, now, self.quirks)
            for record, planned in self._simulations
            if record.is_listed(planned, now, self.quirks.simulations_trickle, by_case=self.quirks.trickle_by_case)
        ]
        rows = [_named(row, legacy=legacy) for row in selected(rows, query, _SIMULATION_FIELDS, _SIMULATION_ORDER)]
        return self._listing("simulations" if legacy else "simulated_conversations", rows, query)

    def get_simulation(self, simulation_id: str, *, legacy: bool = False) -> Json:
        record, planned = self._find_simulation(simulation_id)
        shown = views.simulation_in_full(record, planned, self.clock(), self.quirks)
        return {"simulation" if legacy else "simulated_conversation": _named(shown, legacy=legacy)}

    def list_metric_outputs(self, simulation_id: str, query: Query, *, legacy: bool = False) -> Json:
        """The legacy format always includes superseded outputs."""
        view = query.get("view", "FULL")
        if view not in {"BASIC", "FULL"}:
            raise invalid(("view", "must be BASIC or FULL"))
        record, planned = self._find_simulation(simulation_id)
        rows = views.metric_outputs(record, planned, self.clock(), self.quirks)
        if not legacy:
            rows = list({output["metric_id"]: output for output in rows}.values())
        heavy = {"result", "runtime_metadata"} if view == "BASIC" else set()
        return self._listing("metrics", rows, query, lambda row: {k: v for k, v in row.items() if k not in heavy})

    # Helpers

    @property
    def _visible(self) -> Iterable[RunRecord]:
        return filter(self._is_visible, self.runs)

    def _store(self, record: RunRecord) -> None:
        self._records[record.run_id] = record

    def _is_visible(self, record: RunRecord) -> bool:
        cancelled = record.cancel_time is not None and self.clock() >= record.cancel_time
        gone = cancelled and self.quirks.delete_running == "gone"
        return record.delete_time is None and not gone

    def _find(self, run_id: str) -> RunRecord:
        record, now = self._records.get(run_id), self.clock()
        if record is None or not self._is_visible(record):
            raise not_found("Run", "run_id", run_id)
        if now - record.create_time < self.quirks.not_found_after_launch:
            raise not_found("Run", "run_id", run_id)
        return record

    @property
    def _simulations(self) -> Iterable[tuple[RunRecord, PlannedSimulation]]:
        return ((record, planned) for record in self._visible for planned in record.plan.simulations)

    def _find_simulation(self, simulation_id: str) -> tuple[RunRecord, PlannedSimulation]:
        for record, planned in self._simulations:
            if planned.simulation_id == simulation_id:
                return record, planned
        raise not_found("Simulation", "simulation_id", simulation_id)

    def _stored(self, tags: list[str] | None) -> tuple[str, ...]:
        return clean_tags([tag.lower() for tag in tags or ()] if self.quirks.lower_case_tags else tags)

    def _require_parts(self, request: LaunchRequest) -> None:
        require = self.catalogue.require
        require("Agent", "agent_id", request.agent_id)
        require("Persona", "persona_id", request.persona_id)
        require("Test set", "test_set_id", request.test_set_id)
        for metric_id in request.metric_ids or ():
            require("Metric", "metric_ids", metric_id)
        for mutation_id in request.mutations:
            self.catalogue.require_mutation(request.agent_id, mutation_id)

    def _listing(
        self, envelope: str, rows: Sequence[Any], query: Query, show: Show = as_is, *, most: int = 1000
    ) -> Json:
        return listing(envelope, rows, query, self.quirks, show, most=most)

    def _run_row(self, record: RunRecord, now: float) -> Row:
        request = record.request
        return {
            "record": record,
            "create_time": views.timestamp(record.create_time),
            "update_time": views.timestamp(record.update_time(now)),
            "status": views.shown_status(record, now, self.quirks),
            "agent_id": request.agent_id,
            "persona_id": request.persona_id,
            "test_set_id": request.test_set_id,
            "created_by": request.metadata.created_by,
            "tag": record.tags,
        }


def _named(row: Json, *, legacy: bool) -> Json:
    return row | {"name": f"simulations/{row['simulation_id']}"} if legacy else row
