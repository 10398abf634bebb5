"""The doubts about Coval's API, and how recorded responses settle them. Pure.

Public sources disagree about each, or do not mention it. The gate supports every variant, some with a limitation.
Findings use our own words only, whatever the responses contain.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, Literal, NamedTuple, TypeVar

from coval_gate.base.transport import http_date
from coval_gate.ci.host import LEG
from coval_gate.coval.client import CANONICAL, LEGACY
from coval_gate.coval.model import BINARY_TEXTS, CANCELLED, COMPLETED, TERMINAL, RunFilter, normalize_status
from coval_gate.coval.resources import BINARY_SUFFIX
from coval_gate.coval.results import read_launched, read_run

# Number, topic: variants, the sandbox's own first -> the limitation with any other. One launch cannot show a doubt
# without variants.
TABLE: Final = """
1    Response to a launch: a short run | a whole run | only a name | run.id | run_id outside run
1b   Fields of the launch: all returned | some not returned -> The gate cannot check how Coval used these.
2    Status just after the launch: PENDING | IN QUEUE
3    Most of iteration_count
4    Most of concurrency
5    Metadata in customer: returned | not returned
6    persona_metrics and config_overrides
7    Forms of ids
8    sub_sample_size above the count
9    Refusal of an unknown agent: 404 | 400 | 403 | 422
10   Form of a refusal: error with code | error as a text | message alone | no JSON -> Its reason is not shown.
11   Request id of a refusal: x-request-id | x-amzn-requestid | request_id in the body | none
12   Headers about rate limits: none | some
13   Spelling of statuses: as documented | with underscores | in lower case | RUNNING
14   Unknown statuses: none | some -> The gate keeps waiting.
15   New run alone: at once | later | not within a minute -> The gate waits for it.
15b  New run in a list: at once | later | not within a minute -> The gate waits before it treats a launch as lost.
15c  New run by its tag: at once | later | not within a minute -> The gate waits before it treats a launch as lost.
16   Progress: of test cases | of simulations | not shown
17   Tags of a run: shown | absent -> The gate finds its runs by their metadata, if shown.
17b  Tags in a list: shown | absent -> The gate finds its runs by their metadata, or reads each run.
17c  Case of tags: as written | changed
18   Metadata of a run: the contents of customer | all that was launched | absent
18b  Metadata in a list: the contents of customer | all that was launched | absent
19   Filter by tag: works | ignored | finds nothing | refused -> The gate searches the newest runs of the same ids.
20   Filters without quotes
21   next_page_token at the end: null | absent | empty
22   Order of lists
23   error_status of a clean run: SUCCESS | null | empty -> The verdict of such a run is failed.
23b  error_status when conversations failed
24   Status when all conversations failed
25   Metrics of a run: by id, with values | by name, with averages | by name, with values -> Less can be judged.
26   Ids of metrics with values: of the launch or the agent | others
26b  Metrics of the agent: shown | hidden | not readable -> A wrong name in thresholds is found only after the run.
27   Simulations complete: at the end | one after another | later, all at once -> The gate waits for them.
27b  Values complete: at the end | later -> The gate waits for them.
27c  List of metrics complete: at the end | one after another | later, all at once -> The gate waits for them.
27d  Outputs of a simulation complete: at the end | one after another | later, all at once
28   Values that are missing: none | some -> Each counts as a miss.
28b  Values that are listed twice: none | some
28c  Values of failed conversations
29   output_ids: shown | absent
30   Values of binary judges: YES, NO or UNKNOWN | others
31   Simulations at: /conversations/simulated | /simulations, the other is 404 | /simulations, the other is 403
31b  Simulations of a completed run: listed | none -> Such a run gets no verdict.
31c  Simulations that were skipped
32   Outputs of a metric: the newest | older ones, too
33   test_case_id of simulations: shown | absent -> Test cases cannot be distinguished.
33b  Iteration of simulations: not shown | shown
34   Transcript: offsets in ms | offsets in s | a text of JSON | no times | absent | only starts -> Reports show less.
35   Versions of metrics: shown | absent -> Comparisons cannot detect a changed metric.
35b  Explanations of judges: shown | absent -> Reports do not show them.
36   include=metric_averages
37   update_time of test cases
38   Fields of mutations
39   Response to a change of tags: a whole run | a short run | refused -> No run can be marked or accepted.
39b  Changed tags: at once | later | not within a minute
40   Run after its DELETE: CANCELLED | DELETED | 404
40b  End of a cancelled run: at once | later
40c  Status until then: over at once | as before | one of its own
41   Spelling of CANCELLED: CANCELLED | CANCELED
42   Case of the header x-api-key
43   Workspaces on /runs
44   Scopes of mutations, webhooks and comments
45   Precedence of targets and thresholds
46   Simulating and judging a run again
47   Run templates, dashboard addresses and webhooks
48   Date of responses: shown | absent -> run_id takes ids only, not tag:, branch: or schedule:.
"""
ANOTHER: Final = "something else"
NO_RUN: Final = "coval0gate0doctor00000"  # an id that no run, and no agent, has
NO_TAG: Final = "coval-gate-doctor:no-run-has-this-tag"
AGREES: Final = 3.0  # s; Date has whole seconds, and a response takes time
CAPITALS: Final = re.compile(r"[A-Z_ ]{1,40}")  # as APIs write words, unlike people
AT_ONCE: Final = 3.0  # s; what is seen sooner counts as immediate
SIMULATED: Final = f"(?:{CANONICAL}|{LEGACY})"
LONGEST_TURN, SHORTEST_TURN = 60, 300  # average turn, at most in s and at least in ms
BY_TAG: Final = 'tag="'  # how such a filter begins
T = TypeVar("T")
Fields = dict[str, Any]
ShownRun = tuple[float, Fields]  # when a response showed a run, and its fields


Rating = Literal["ok", "limited", "unknown", "fails"]


class Finding(NamedTuple):
    """Users publish all but `said`, which may contain ids and foreign text from Coval.

    `follows`: the consequence for the user.
    """

    mark: Rating
    topic: str
    found: str
    follows: str = ""
    said: str = ""


class Recorded(NamedTuple):
    """A response, and its request. `at`: on the clock's now(); `time`: this machine's, in seconds since the epoch."""

    at: float
    time: float
    method: str
    path: str
    query: Mapping[str, str]
    sent: Any
    status: int
    headers: Mapping[str, str]  # by names in lower case
    content: Any

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    @property
    def run(self) -> Fields:
        return _under(self.content, "run")


class Evidence(NamedTuple):
    """All exchanges in their order, and the ids of the two runs. Properties raise LookupError for what was not seen."""

    exchanges: Sequence[Recorded] = ()
    judged: str = ""
    cancelled: str = ""

    def got(self, path: str, method: str = "GET") -> list[Recorded]:
        return [one for one in self.exchanges if one.method == method and re.fullmatch(path, one.path)]

    def since(self, exchange: Recorded) -> "Evidence":
        return self._replace(exchanges=self.exchanges[self.exchanges.index(exchange) + 1 :])

    @property
    def is_launched(self) -> bool:
        """Whether this command launched the first run. What was sent for any other is unknown, and when it changed."""
        return bool(self.got("/runs", "POST"))

    @property
    def launch(self) -> Recorded:
        """The response that named the first run. Raises LookupError if it was lost."""
        launches = [one for one in self.got("/runs", "POST") if one.ok]
        return _first(one for one in launches if self.judged and self.judged in (_id(one.run), _id(one.content)))

    @property
    def refusal(self) -> Recorded:
        return [one for one in self.got("/runs", "POST") if one.sent["agent_id"] == NO_RUN][-1]

    def polls(self, run_id: str) -> list[ShownRun]:
        return [(one.at, one.run) for one in self.got(f"/runs/{run_id}") if one.ok]

    def listed(self, by: str = "") -> list[ShownRun]:
        """Return the first run as lists showed it. `by`: how the filter of such a list begins."""
        lists = [one for one in self.got("/runs") if one.ok and one.query.get("filter", "").startswith(by)]
        return [(one.at, run) for one in lists for run in one.content["runs"] if _id(run) == self.judged]

    @property
    def shown(self) -> list[ShownRun]:
        """The first run, as polls and lists showed it."""
        return [*self.polls(self.judged), *self.listed()]

    @property
    def completed(self) -> list[ShownRun]:
        """The first run, as polls showed it since it completed."""
        polls = self.polls(self.judged)
        return [(at, run) for at, run in polls if normalize_status(run["status"]) == COMPLETED]

    @property
    def after(self) -> list[Fields]:
        return [run for _, run in self.completed]

    @property
    def metrics(self) -> dict[str, Fields]:
        """The metrics of the first run in the end. Raises LookupError if it has none."""
        metrics = _metrics(self.after[-1])
        return _given(metrics, metrics)

    @property
    def pages(self) -> list[Recorded]:
        """The first run's simulations, as often as they were listed."""
        wanted = f'run_id="{self.judged}"'
        return [one for one in self.got(SIMULATED) if one.ok and one.query.get("filter") == wanted]

    @property
    def outputs(self) -> list[list[Fields]]:
        """The metric outputs of one simulation, as often as they were listed."""
        looks = [one for one in self.got(f"{SIMULATED}/.+/metrics") if one.ok]
        return [one.content["metrics"] for one in looks if one.path == looks[-1].path]


def _first(found: Iterable[T]) -> T:
    """Return the first item. Raises LookupError if there is none."""
    for one in found:
        return one
    raise LookupError


def _given(evidence: object, judged: T) -> T:
    """Return `judged`. Raises LookupError without evidence."""
    if not evidence:
        raise LookupError
    return judged


def _under(content: Any, *keys: str) -> Fields:
    return next((content[key] for key in keys if isinstance(content.get(key), dict)), content)


def _entries(page: Recorded) -> list[Fields]:
    return _first(value for value in page.content.values() if isinstance(value, list))


def _id(fields: Fields) -> str:
    with suppress(ValueError):
        return read_launched([fields])[0].run_id
    return ""


def _metrics(run: Fields) -> dict[str, Fields]:
    return (run.get("results") or {}).get("metrics") or {}


def _lower(tags: Sequence[str] | None) -> set[str]:
    return {tag.lower() for tag in tags or ()}


def _launch_response(seen: Evidence) -> int:
    run = seen.launch.content.get("run")
    if not isinstance(run, dict):
        return 4
    return int("agent_id" in run) if "run_id" in run else 3 if "id" in run else 2


def _unreturned(seen: Evidence) -> list[str]:
    """Return the fields of the launch that the run does not show as they were sent."""
    sent, run, simulations = seen.launch.sent, seen.after[-1], _entries(seen.pages[-1])
    metadata, options = sent["metadata"], sent["options"]
    cases = {simulation.get("test_case_id") for simulation in simulations}
    came = {name: run.get(name) == sent[name] for name in ("agent_id", "persona_id", "test_set_id")} | {
        "display_name": run.get("display_name") == metadata.get("display_name", run.get("display_name")),
        "tags": _lower(metadata["tags"]) <= _lower(run.get("tags")),
        "metadata": LEG in str(run.get("metadata")),
        "iteration_count": len(simulations) == options["iteration_count"],
        "test_case_ids": cases == set(options.get("test_case_ids", cases)),
    }
    return [name for name, is_there in came.items() if not is_there]


def _envelope(seen: Evidence) -> int | str:
    content = _given(not seen.refusal.ok, seen.refusal.content)
    if not isinstance(content, dict):
        return 3
    error = content.get("error")
    return 0 if isinstance(error, dict) else 1 if error else 2 if "message" in content else ANOTHER


def _request_id(seen: Evidence) -> str:
    refused = _given(not seen.refusal.ok, seen.refusal)
    header = next((name for name in ("x-request-id", "x-amzn-requestid") if name in refused.headers), "")
    return header or ("request_id in the body" if "request_id" in str(refused.content) else "none")


def _statuses(seen: Evidence) -> list[str]:
    """Return the different statuses of both runs, in order, as Coval wrote them; of all runs, if none was launched."""
    runs = [run for id_ in (seen.judged, seen.cancelled) for _, run in seen.polls(id_)]
    if not seen.is_launched:
        runs += [run for one in seen.got("/runs") if one.ok for run in one.content["runs"]]
    return list(dict.fromkeys(run["status"] for run in runs))


def _has_known_status(word: str) -> bool:
    return read_run({"run_id": "run", "status": word}).has_known_status


def _spelling(seen: Evidence) -> int:
    text = "".join(filter(_has_known_status, _statuses(seen)))
    if text and not text.isupper():
        return 2
    return 3 if "RUNNING" in text else 1 if "_" in text else _given(" " in text, 0)


def _is_unknown(seen: Evidence) -> bool:
    runs = [read_run({"run_id": "run", "status": status}) for status in _statuses(seen)]
    return _given(runs, not all(run.has_known_status or run.is_ending for run in runs))


def _order(seen: Evidence) -> str:
    """Return the statuses in words. An unknown one is shown only in capitals, because any other text may be a name."""
    words = [
        word.upper() if _has_known_status(word) else word if CAPITALS.fullmatch(word) else ANOTHER
        for word in _statuses(seen)
    ]
    return f"of {', '.join(words)}{', in this order' if seen.is_launched else ''}"


def _appears(seen: Evidence, found: Sequence[ShownRun]) -> int:
    return _given(found or seen.after, _delay(found, seen.launch))


def _delay(found: Sequence[ShownRun], since: Recorded) -> int:
    return int(found[0][0] - since.at > AT_ONCE) if found else 2


def _filter(seen: Evidence) -> int:
    tried = [one for one in seen.got("/runs") if one.query.get("filter", "").startswith(BY_TAG)]
    if any(one.status in (400, 403, 422) for one in tried):
        return 3
    no_run = [one for one in tried if one.query["filter"] == str(RunFilter(tag=NO_TAG))]
    if any(one.content["runs"] for one in no_run if one.ok):
        return 1
    return 0 if seen.listed(BY_TAG) else _given(len(tried) > len(no_run) and seen.listed(), 2)


def _progress(seen: Evidence) -> int | str:
    shown = [run.get("progress") for _, run in seen.polls(seen.judged)]
    totals = [progress["total_test_cases"] for progress in shown if progress]
    return {1: 0, 2: 1}.get(max(totals), ANOTHER) if totals else _given(seen.after, 2)


def _metadata(seen: Evidence, runs: Sequence[ShownRun]) -> int:
    shown = [run.get("metadata") or {} for _, run in runs]
    if any(LEG in metadata for metadata in shown):
        return 0
    return (
        1
        if any(LEG in (metadata.get("customer") or {}) for metadata in shown)
        else _given(seen.is_launched and runs, 2)
    )


def _tags(seen: Evidence, runs: Sequence[ShownRun]) -> int:
    return 0 if any(run.get("tags") for _, run in runs) else _given(seen.is_launched and runs, 1)


def _tag_case(seen: Evidence) -> bool:
    shown = {tag for _, run in seen.shown for tag in run.get("tags") or ()}
    return _given(shown, not set(seen.launch.sent["metadata"]["tags"]) <= shown)


def _token(seen: Evidence) -> str:
    token = seen.pages[-1].content.get("next_page_token", "absent")
    return "null" if token is None else token or "empty"


def _error_status(seen: Evidence) -> str:
    status = seen.after[-1].get("error_status")
    is_clean = all(normalize_status(one["status"]) == COMPLETED for one in _entries(seen.pages[-1]))
    return _given(is_clean, "null" if status is None else status or "empty")


def _error_status_text(seen: Evidence) -> str:
    """Return an error_status that is not in the table; "" if it may be a person's text."""
    text = seen.after[-1]["error_status"]
    return text if CAPITALS.fullmatch(text) and text != "SUCCESS" else ""


def _shape(seen: Evidence) -> int:
    metrics = seen.metrics
    if not any("values" in metric for metric in metrics.values()):
        return 1
    return 0 if all(metric.get("metric_id", key) == key for key, metric in metrics.items()) else 2


def _foreign_metrics(seen: Evidence) -> bool:
    expected = (
        seen.launch.sent.get("metric_ids")
        or _under(seen.got(f"/agents/{seen.launch.sent['agent_id']}")[-1].content, "agent")["metric_ids"]
    )
    ids = {metric.get("metric_id", key) for key, metric in seen.metrics.items() if "values" in metric}
    return _given(ids and expected, not ids <= set(expected))


def _agent_metrics(seen: Evidence) -> int:
    read = seen.got(f"/agents/{seen.launch.sent['agent_id']}")[-1]
    return 2 if not read.ok else 0 if _under(read.content, "agent").get("metric_ids") else 1


def _grows(counts: Sequence[int]) -> int:
    if counts[-1] == counts[0]:
        return _given(counts[0], 0)
    return 1 if counts[0] or len(set(counts)) > 2 else 2


def _late_values(seen: Evidence) -> bool:
    counts: dict[str, list[int]] = {key: [] for key, metric in seen.metrics.items() if metric.get("values")}
    for run in seen.after:
        for key, metric in _metrics(run).items():
            if key in counts:
                counts[key].append(sum(value["value"] is not None for value in metric.get("values") or ()))
    return _given(counts, not all(numbers[0] == numbers[-1] for numbers in counts.values()))


def _value_ids(seen: Evidence) -> list[list[str]]:
    """Return the ids of simulations with a value, for each metric that has values."""
    listed = [metric["values"] for metric in seen.metrics.values() if metric.get("values")]
    ids = [[value["simulation_output_id"] for value in values if value["value"] is not None] for values in listed]
    return _given(ids, ids)


def _missing(seen: Evidence) -> bool:
    completed = [one for one in _entries(seen.pages[-1]) if normalize_status(one["status"]) == COMPLETED]
    ids = {one.get("simulation_id") or one["id"] for one in completed}
    return not all(ids <= set(listed) for listed in _value_ids(seen))


def _binary(seen: Evidence) -> bool:
    defined = [_under(one.content, "metric") for one in seen.got("/metrics/.+") if one.ok]
    ids = {fields["id"] for fields in defined if fields["metric_type"].endswith(BINARY_SUFFIX)}
    shown = {str(output["value"]) for output in seen.outputs[-1] if output["metric_id"] in ids and output["value"]}
    return _given(shown, not shown <= set(BINARY_TEXTS))


def _simulations_at(seen: Evidence) -> int:
    statuses = [one.status for one in seen.got(CANONICAL)]
    return 0 if 200 in statuses else (404, 403).index(statuses[-1]) + 1


def _superseded(seen: Evidence) -> bool:
    ids = [[output["metric_id"] for output in listed] for listed in seen.outputs if listed]
    return _given(ids, any(len(set(listed)) < len(listed) for listed in ids))


def _lacks(name: str, find: Callable[[Evidence], list[Fields]]) -> Callable[[Evidence], bool]:
    return lambda seen: _given(find(seen), not all(one.get(name) for one in find(seen)))


def _transcript(seen: Evidence) -> int:
    read = [one for one in seen.got(f"{SIMULATED}/[^/]+") if one.ok][-1]
    spoken = _under(read.content, "simulated_conversation", "simulation").get("transcript")
    if not spoken or isinstance(spoken, str):
        return 2 if spoken else 4
    if offsets := [turn["end_offset"] for turn in spoken if turn.get("end_offset") is not None]:
        turn = max(offsets) / len(spoken)
        return _given(not LONGEST_TURN < turn < SHORTEST_TURN, int(turn <= LONGEST_TURN))
    return 5 if any(turn.get("start_time") or turn.get("start_timestamp") for turn in spoken) else 3


def _patch(seen: Evidence) -> int:
    patch = seen.got(f"/runs/{seen.judged}", "PATCH")[-1]
    return 2 if not patch.ok else 0 if "status" in patch.run else 1


def _patched(seen: Evidence) -> int:
    patch = [one for one in seen.got(f"/runs/{seen.judged}", "PATCH") if one.ok][-1]
    polls = seen.since(patch).polls(seen.judged)
    shown = [(at, run) for at, run in polls if _lower(patch.sent["tags"]) <= _lower(run.get("tags"))]
    return _given(polls, _delay(shown, patch))


def _ending(seen: Evidence) -> list[tuple[float, str]]:
    """Return the seconds since the DELETE and the status, or 404, of each poll after it."""
    delete = _first(one for one in seen.got(f"/runs/{seen.cancelled}", "DELETE") if one.ok)
    polls = [one for one in seen.since(delete).got(f"/runs/{seen.cancelled}") if one.ok or one.status == 404]
    return [(one.at - delete.at, normalize_status(one.run["status"]) if one.ok else "404") for one in polls]


def _settled(seen: Evidence, looks: Sequence[tuple[float, object]]) -> float:
    """Return how many seconds after the run's end its data were complete."""
    return next(at for at, data in looks if data == looks[-1][1]) - seen.completed[0][0]


def _seconds(number: float) -> str:
    return f"after {number:.0f} s"


def _end_after(seen: Evidence) -> float:
    """Return how many seconds after its DELETE a run was over."""
    return _first(seconds for seconds, status in _ending(seen) if status in {*TERMINAL, "404"})


def _while_ending(seen: Evidence) -> int:
    statuses = [status for _, status in _ending(seen)]
    polls = seen.polls(seen.cancelled)
    before = [normalize_status(run["status"]) for _, run in polls[: len(polls) - len(statuses) + statuses.count("404")]]
    return 0 if statuses[0] in {*TERMINAL, "404"} else 1 if statuses[0] in before else 2


def _apart(seen: Evidence) -> list[float]:
    """Return the differences, in seconds, between the dates of responses and this machine's clock."""
    dates = [(one.time, http_date(one.headers.get("date", ""))) for one in seen.exchanges]
    return [abs(time - date) for time, date in dates if date is not None]


def _limits_rate(one: Recorded) -> bool:
    return any("ratelimit" in name.replace("-", "") or name == "retry-after" for name in one.headers)


JUDGES: Final[Mapping[str, Callable[[Evidence], int | str]]] = {
    "1": _launch_response,
    "1b": lambda seen: bool(_unreturned(seen)),
    "2": lambda seen: normalize_status(seen.launch.run["status"]),
    "5": lambda seen: _given(seen.after, LEG not in str([run.get("metadata") for _, run in seen.shown])),
    "9": lambda seen: str(seen.refusal.status),
    "10": _envelope,
    "11": _request_id,
    "12": lambda seen: _given(seen.exchanges, any(_limits_rate(one) for one in seen.exchanges)),
    "13": _spelling,
    "14": _is_unknown,
    "15": lambda seen: _appears(seen, seen.polls(seen.judged)),
    "15b": lambda seen: _appears(seen, seen.listed()),
    "15c": lambda seen: _appears(seen, seen.listed(BY_TAG)),
    "16": _progress,
    "17": lambda seen: _tags(seen, seen.completed),
    "17b": lambda seen: _tags(seen, seen.listed()),
    "17c": _tag_case,
    "18": lambda seen: _metadata(seen, seen.polls(seen.judged)),
    "18b": lambda seen: _metadata(seen, seen.listed()),
    "19": _filter,
    "21": _token,
    "23": _error_status,
    "25": _shape,
    "26": _foreign_metrics,
    "26b": _agent_metrics,
    "27": lambda seen: _grows([len(_entries(page)) for page in seen.pages]),
    "27b": _late_values,
    "27c": lambda seen: _grows([len(_metrics(run)) for run in seen.after]),
    "27d": lambda seen: _grows([len(listed) for listed in seen.outputs]),
    "28": _missing,
    "28b": lambda seen: any(len(set(ids)) < len(ids) for ids in _value_ids(seen)),
    "29": lambda seen: "output_ids" not in (seen.after[-1].get("results") or {}),
    "30": _binary,
    "31": _simulations_at,
    "31b": lambda seen: _given(seen.completed and seen.pages, not _entries(seen.pages[-1])),
    "32": _superseded,
    "33": _lacks("test_case_id", lambda seen: _entries(seen.pages[-1])),
    "33b": lambda seen: "iteration" in " ".join(_entries(seen.pages[-1])[0]),
    "34": _transcript,
    "35": _lacks("metric_version_ulid", lambda seen: seen.outputs[-1]),
    "35b": lambda seen: _given(seen.outputs[-1], not any(one.get("explanation") for one in seen.outputs[-1])),
    "39": _patch,
    "39b": _patched,
    "40": lambda seen: _ending(seen)[-1][1],
    "40b": lambda seen: _end_after(seen) > AT_ONCE,
    "40c": _while_ending,
    "41": lambda seen: [word.upper() for word in _statuses(seen) if normalize_status(word) == CANCELLED][-1],
    "48": lambda seen: _given(seen.exchanges, not _apart(seen)),
}
ONLY_OURS: Final = frozenset({"5", "16", "27", "27b", "27c", "27d"})  # other runs show these only by chance
REMARKS: Final[Mapping[str, Callable[[Evidence], str]]] = {
    "9": lambda seen: "Coval launched it" if seen.refusal.ok else "",
    "1b": lambda seen: ", ".join(_unreturned(seen)),
    "14": _order,
    "15": lambda seen: _seconds(seen.polls(seen.judged)[0][0] - seen.launch.at),
    "15b": lambda seen: _seconds(seen.listed()[0][0] - seen.launch.at),
    "15c": lambda seen: _seconds(seen.listed(BY_TAG)[0][0] - seen.launch.at),
    "23": _error_status_text,
    "27": lambda seen: _seconds(_settled(seen, [(page.at, len(_entries(page))) for page in seen.pages])),
    "27b": lambda seen: _seconds(_settled(seen, [(at, str(_metrics(run))) for at, run in seen.completed])),
    "40b": lambda seen: _seconds(_end_after(seen)),
    "48": lambda seen: (
        "this machine's clock " + ("agrees" if min(_apart(seen)) <= AGREES else "differs, which is fine")
    ),
}


class Doubt(NamedTuple):
    number: str
    topic: str
    variants: tuple[str, ...]
    follows: str

    @classmethod
    def read(cls, row: str) -> "Doubt":
        number, (named, _, follows) = row.split()[0], row.partition(" -> ")
        topic, _, variants = named.removeprefix(number).strip().partition(": ")
        return cls(number, topic, tuple(filter(None, variants.split(" | "))), follows)

    def variant(self, seen: Evidence) -> str:
        """Return the variant that the responses show; "" if they show none."""
        if self.number in ONLY_OURS and not seen.is_launched:
            return ""
        try:
            judged = JUDGES[self.number](seen)
            return self.variants[self.variants.index(judged) if isinstance(judged, str) else judged]
        except LookupError:
            return ""
        except (AttributeError, TypeError, ValueError):
            return ANOTHER

    def finding(self, seen: Evidence) -> Finding:
        if not self.variants:
            return Finding("unknown", self.topic, "not tried", "One launch cannot show it.")
        if not (variant := self.variant(seen)):
            return Finding("unknown", self.topic, "not seen", "The launches did not show it.")
        found, is_free = variant, variant == self.variants[0] or not (self.follows or variant == ANOTHER)
        with suppress(AttributeError, LookupError, TypeError, ValueError):
            found = ", ".join(filter(None, (variant, REMARKS[self.number](seen))))
        return Finding("ok", self.topic, found) if is_free else Finding("limited", self.topic, found, self.follows)


DOUBTS: Final = tuple(map(Doubt.read, TABLE.strip().splitlines()))
