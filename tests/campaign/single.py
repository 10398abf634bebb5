"""Generates schedules whose steps have one run each, of which every other schedule is made."""

from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import Any, Final

from campaign.baselines import with_tag
from campaign.schedule import (
    ALL_GATES,
    CONNECTION_FAULTS,
    ECHO,
    EVER,
    GATES,
    REPEATED_GATES,
    Event,
    Fault,
    FileFault,
    Outage,
    Schedule,
    Signal,
    Step,
)
from coval_sandbox.catalogue import MUTATIONS
from coval_sandbox.quirks import DEFAULT, Quirks
from fake_github import TOKEN
from leaks import SPELLINGS

ENDPOINTS: Final = (
    ("POST", "/runs"),
    ("GET", "/runs"),
    ("GET", "/runs/*"),
    ("GET", "/conversations/simulated"),
    ("GET", "/conversations/simulated/*"),
    ("GET", "/metrics"),
    ("GET", "/metrics/*"),
    ("GET", "/agents/*"),
    ("DELETE", "/runs/*"),
    ("GET", "*"),
    ("*", "*"),
)
# The request certainly had no effect, so even a launch may be retried.
SAFE_TO_RETRY: Final = (
    "429",
    "429 retry-after=7",
    "429 retry-after=86400",
    "503",
    "503 retry-after=3",
    *CONNECTION_FAULTS,
)
# The request may have had an effect.
AMBIGUOUS: Final = (
    "500",
    "500 after",
    "502",
    "504 after",
    "html",
    "html 503",
    "html 502 after",
    "reset-before",
    "reset-after",
    "hang 60",
    "hang 60 after",
    "hang 3 after",
    "cut",
    "cut 0",
    "slow 4",
    "drip 300",
    "body <html>",
    'body {"run": ',
    "json []",
    'json {"run": {}}',
)
# The response to a launch comes late, or from a proxy that Coval's own response did not get past.
ODD_LAUNCHES: Final = (
    "late 20",
    *["late 97"] * 3,
    *["late 400"] * 4,
    "html 403 after",
    "redirect https://example.com/v1 after",
)
LOST_RESPONSES: Final = (
    "500 after",
    "504 after",
    "html after",
    "reset-after",
    "cut",
    "hang 60 after",
    "body <html>",
    "json {}",
)
PERMANENT: Final = (
    f"{ECHO} 400",
    f"{ECHO} 500",
    "401",
    "403",
    "404",
    "redirect https://example.com/v1",
    "html 200",
    "400",
    "409",
    "json {}",
    "slow 20",
)
OUTAGES: Final = ("503", "503 retry-after=30", "502", "html 503", "reset-before", "hang 60", "429", *CONNECTION_FAULTS)

# What Coval shows of a run's tags and metadata: one of the two, or in a list neither.
IDENTITIES: Final = (("list_identity", "tags", "metadata", "neither"), ("run_identity", "tags", "metadata"))


PASSING_SETS: Final = ("passing1", "passing1", "passing1", "unknown1", "noProgrs")
OTHER_SETS: Final = ("failing1", "flaky001", "someFail", "allFail1", "runFails", "dirty001", "empty001")
FAILING_SETS: Final = ("flaky002", "flaky002", "flaky001", "failing1", "someFail", "allFail1")
ROUGH_SETS: Final = (
    *PASSING_SETS,
    *OTHER_SETS,
    "slow0001",
    "stuck001",
    "queued01",
    "cancels1",
    "deletes1",
    "errors01",
)


def single(seed: int) -> Schedule:
    """Return the schedule of a seed."""
    rng = Random(f"campaign/{seed}")
    severity = rng.choices(("benign", "mild", "rough"), (14, 20, 66))[0]
    schedule = {"benign": _benign_schedule, "mild": _mild_schedule, "rough": _rough_schedule}[severity](seed, rng)
    schedule = _with_repetition(schedule, Random(f"repeat/{seed}"))
    schedule = _with_pages(schedule, Random(f"github/{seed}"))
    return with_tag(schedule, Random(f"tag/{seed}"))


def _with_repetition(schedule: Schedule, rng: Random) -> Schedule:
    """In some schedules, make the runs fail, and the steps repeat them.

    In rough ones, the launch of a repetition may be lost, and a signal may arrive while one is under way.
    """
    if (
        schedule.workflow not in ("run", "twice", "rerun", "supersede")
        or schedule.gate not in GATES
        or rng.random() > 0.3
    ):
        return schedule
    is_rough, faults = schedule.severity == "rough", schedule.faults
    schedule = schedule.with_gate(rng.choice((*REPEATED_GATES,))).each(lambda step: step.having(repeat_on_failure="1"))
    if is_rough:
        schedule = schedule.each(lambda step: _disturb_repetition(step, rng))
    if is_rough and rng.random() < 0.4:
        action = _choose_action(rng, (*LOST_RESPONSES, *SAFE_TO_RETRY, *AMBIGUOUS, "403", "400"))
        faults = (Fault("POST", "/runs", 2, 2, action),)
    events = (Event("recover", rng.choice((3.0, 30.0))),) if rng.random() < 0.4 else ()
    return replace(
        schedule,
        test_set=rng.choice(FAILING_SETS),
        faults=faults,
        events=(*schedule.events, *events),
    )


def _disturb_repetition(step: Step, rng: Random) -> Step:
    """Aim a signal at the repetition in place of the one that the step has."""
    kind, kill = rng.random(), rng.random() < 0.4
    step = step.having(max_wait_time=rng.choice(("90", "110", "600", "3600")))
    if kind < 0.15:
        phase = rng.choice(("before", "after"))
        return replace(step, signal=Signal(kill=kill, method="POST", path="/runs", request=2, phase=phase))
    if kind < 0.45:
        return replace(step, signal=Signal(kill=kill, at=round(rng.uniform(55, 125), 3)))
    return replace(step, signal=None)


def _with_pages(schedule: Schedule, rng: Random) -> Schedule:
    """In some schedules, make the steps set a commit status or a check run, or both, and GitHub be down for a time.

    A step that waits concludes the pages of the launch, and a later attempt may find the check run of the earlier one.
    """
    has_status = rng.random() < 0.2
    has_check = rng.random() < 0.25
    if not (has_status or has_check):
        return schedule
    steps = []
    for number, step in enumerate(schedule.steps):
        own = "" if schedule.workflow == "launch-wait" else f" {number}"
        again = "" if schedule.workflow == "rerun" else own
        pages = ({"commit_status": f"Coval{own}"} if has_status else {}) | (
            {"check_run": f"Gate{again}"} if has_check else {}
        )
        steps.append(step.having(**pages, comment="never", github_token=TOKEN))
    return replace(schedule, steps=tuple(steps), github_outages=_github_outages(rng))


def _github_outages(rng: Random) -> tuple[Outage, ...]:
    begin = round(rng.choice((0.0, rng.uniform(0, 20), rng.uniform(0, 120))), 1)
    # Some end while the post step tries again what the main step could not do.
    length = rng.choice((5, 300, rng.uniform(30, 150), rng.uniform(30, 150)))
    outages = (_outage(begin, length, rng.choice(("502", "503", "hang 600"))),)
    return outages if rng.random() < 0.7 else ()


def _benign_schedule(seed: int, rng: Random) -> Schedule:
    """Return a schedule without faults; values may be missing, which decides the verdict."""
    schedule = _undisturbed_schedule(seed, rng)
    missing = rng.choice((0.02, 0.1, 0.5)) if rng.random() < 0.4 else 0.0
    return replace(schedule, severity="benign", quirks=replace(schedule.quirks, missing_values=missing))


def _mild_schedule(seed: int, rng: Random) -> Schedule:
    """Return a schedule with transient faults, all of which end long before any deadline."""
    faults = [_fault(rng, (*SAFE_TO_RETRY, *AMBIGUOUS), max_length=3) for _ in range(rng.randint(1, 4))]
    outages = []
    if rng.random() < 0.5:
        begin = rng.uniform(0, 90)
        outages.append(_outage(begin, rng.uniform(5, 60), rng.choice(OUTAGES)))
    if rng.random() < 0.2:
        faults = [Fault("POST", "/runs", 1, 1, rng.choice(ODD_LAUNCHES))]
        outages = []
    if refuses_long := rng.random() < 0.03:  # for longer than five minutes
        last, outages = rng.randint(22, 30), []
        faults = [Fault("POST", "/runs", 1, last, "503")]
    events = (_jump(rng),) if rng.random() < 0.2 else ()
    schedule = _undisturbed_schedule(seed, rng)
    if refuses_long:
        schedule = schedule.each(lambda step: step.having(max_wait_time="3600"))
    if schedule.workflow == "cancel":
        method, count = rng.choice(("GET", "DELETE")), len(schedule.steps) - 1
        action = _choose_action(rng, (*SAFE_TO_RETRY, *AMBIGUOUS))
        faults.append(Fault(method=method, path="/runs/*", first=1, last=rng.choice((1, 6, 8)) * count, action=action))
    return replace(schedule, severity="mild", faults=tuple(faults), outages=tuple(outages), events=events)


def _undisturbed_schedule(seed: int, rng: Random) -> Schedule:
    """Return a schedule without faults, whose runs end long before the deadline, with any documented API variant."""
    workflow = rng.choices(("run", "launch-wait", "twice", "cancel", "launch"), (66, 16, 8, 10, 4))[0]
    gate = rng.choice((*GATES,))
    inputs = {**_switches(rng), **ALL_GATES[gate], "max_wait_time": rng.choice(("900", "1800", "3600"))}
    if rng.random() < 0.25:
        inputs["max_queue_time"] = "600"
    if rng.random() < 0.2:
        inputs["check_interval"] = rng.choice(("1", "5", "60"))
    return Schedule(
        seed=seed,
        severity="",
        workflow=workflow,
        test_set=rng.choice((*PASSING_SETS, *OTHER_SETS) if rng.random() < 0.4 else PASSING_SETS),
        gate=gate,
        steps=_steps(workflow, inputs, rng),
        quirks=_quirks(rng, max_lag=60.0),
        latency=rng.choice((0.02, 0.1, 0.4)),
        skew=rng.choice((0.0, 0.0, 0.0, 20.0, -20.0)),
    )


def _rough_schedule(seed: int, rng: Random) -> Schedule:
    """Return a schedule with any faults, outages, events and signals."""
    workflows = {
        "run": 45,
        "launch-wait": 9,
        "twice": 6,
        "cancel": 9,
        "launch": 2,
        "rerun": 16,
        "supersede": 13,
        "matrix": 6,
    }
    workflow = rng.choices(tuple(workflows), tuple(workflows.values()))[0]
    gate = rng.choice((*GATES,))
    inputs = {**_switches(rng), **ALL_GATES[gate], "max_wait_time": rng.choice(("20", "60", "120", "600", "3600"))}
    inputs["cancel_on_interrupt"] = _random_flag(rng, 0.8)
    inputs["cancel_on_timeout"] = _random_flag(rng, 0.5)
    if rng.random() < 0.3:
        inputs |= {"max_queue_time": rng.choice(("3", "20", "200"))}
    steps = _steps(workflow, inputs, rng)
    schedule = Schedule(
        seed=seed,
        severity="rough",
        workflow=workflow,
        test_set=rng.choice(ROUGH_SETS if rng.random() < 0.6 else ("passing1", "slow0001")),
        gate=gate,
        steps=tuple(_add_interruptions(step, number, workflow, rng) for number, step in enumerate(steps)),
        quirks=_rough_quirks(rng),
        faults=tuple(_rough_fault(rng) for _ in range(rng.choice((0, 0, 1, 1, 2, 3, 5)))),
        outages=_rough_outages(rng),
        events=_rough_events(rng),
        latency=rng.choice((0.02, 0.1, 0.4, 1.0)),
        skew=rng.choice((0.0, 0.0, 0.0, 20.0, -20.0, 120.0, -120.0)),
    )
    if rng.random() < 0.12:
        return _lost_launch(schedule, rng)
    if rng.random() < 0.05 and workflow != "launch-wait":
        return _run_ends_during_post_step(schedule, rng)
    return schedule


def _lost_launch(schedule: Schedule, rng: Random) -> Schedule:
    """Lose the response to a launch that took effect, and disturb the search for its run."""
    lost, number = Fault("POST", "/runs", 1, 1, rng.choice((*LOST_RESPONSES, *ODD_LAUNCHES))), rng.randint(1, 3)
    action = _choose_action(rng, (*SAFE_TO_RETRY, *AMBIGUOUS, "403"))
    look_up = Fault("GET", "/runs", number, number + rng.randint(0, 4), action)
    signal = Signal(kill=rng.random() < 0.3, method="GET", path="/runs", request=rng.randint(1, 5))
    if rng.random() < 0.5:
        signal = Signal(kill=signal.kill, at=round(rng.uniform(0, 12), 3))
    first, *others = schedule.steps
    first = replace(first.having(cancel_on_interrupt="true"), signal=signal)
    return replace(schedule, steps=(first, *others), faults=(lost, look_up))


def _run_ends_during_post_step(schedule: Schedule, rng: Random) -> Schedule:
    """Make a run of about a minute end while the post step waits for a response that is outdated by then."""
    at, (first, *others) = round(rng.uniform(39, 57), 3), schedule.steps
    first = first.calm().having(cancel_on_interrupt="true", max_wait_time="600")
    killed = replace(first, mode="run", signal=Signal(kill=True, at=at), post=True)
    return replace(schedule, steps=(killed, *others), outages=(_outage(at + 0.5, 2, "slow 20"),))


def _switches(rng: Random) -> dict[str, str]:
    """Choose the inputs that are independent of all others."""
    switches = {
        "resume": _random_flag(rng, 0.8),
        "supersede": _random_flag(rng, 0.1),
        "cancel_on_interrupt": "true",
        "cancel_on_timeout": "false",
    }
    choices: tuple[tuple[float, dict[str, str]], ...] = (
        (0.35, {"junit_path": "reports/junit.xml"}),
        (0.35, {"json_path": "reports/coval.json", "digest_path": "reports/digest.md"}),
        (0.35, {"html_path": "reports/coval.html", "include_transcripts": "failures"}),
        (0.15, {"summary": "false"}),
        (0.15, {"annotations": "false"}),
        (0.15, {"tags": "nightly,smoke"}),
        (0.3, {"iteration_count": "3", "concurrency": "3"}),
    )
    for share, more in choices:
        switches |= more if rng.random() < share else {}
    if rng.random() < 0.12:
        switches["mutation_ids"] = ",".join(mutation.id for mutation in MUTATIONS[: rng.randint(1, 3)])
    return switches


def _steps(workflow: str, inputs: dict[str, str], rng: Random) -> tuple[Step, ...]:
    pause = rng.choice((1.0, 5.0, 40.0, 200.0))
    run = Step(mode="run", inputs=inputs)
    launch = replace(run, mode="launch")
    match workflow:
        case "launch":
            return (launch,)
        case "launch-wait":
            return (launch, replace(run, mode="wait", action="__acme_coval-gate_2", pause=pause))
        case "cancel":
            first = rng.choice((run, launch, launch))
            firsts = [replace(first, action=f"launch_{number}") for number in range(rng.choice((1, 1, 2, 3)))]
            return (*firsts, replace(run, mode="cancel", pause=pause))
        case "twice":
            return (launch, replace(run, action="__acme_coval-gate_2"))
        case "rerun":
            first = replace(rng.choice((run, run, launch)), post=rng.random() < 0.6)
            return (first, replace(run, attempt=2, pause=pause))
        case "supersede":
            supersede = _random_flag(rng, 0.75)
            first = replace(rng.choice((run, launch)), workflow_run="1111111111", post=rng.random() < 0.4)
            return (first, replace(run.having(supersede=supersede), workflow_run="2222222222", pause=pause))
        case "matrix":
            return _matrix_steps(run, pause, rng)
        case _:
            return (run,)


def _matrix_steps(run: Step, pause: float, rng: Random) -> tuple[Step, ...]:
    """Return two jobs that differ only in their matrix, and then both again, in any order.

    Where the first two only launch, their runs go on at a time. The second two are another attempt or a newer workflow
    run, which supersedes the runs of the first.
    """
    first = replace(rng.choice((run, replace(run, mode="launch"))), post=rng.random() < 0.6)
    again = replace(run, attempt=2)
    if rng.random() < 0.4:
        first = replace(first, workflow_run="1111111111")
        again = replace(run.having(supersede="true"), workflow_run="2222222222")
    jobs = ["eu", "us"]
    steps = [replace(first, matrix=job) for job in jobs]
    rng.shuffle(jobs)
    steps += [replace(again, matrix=job, pause=pause) for job in jobs]
    return tuple(steps)


def _add_interruptions(step: Step, number: int, workflow: str, rng: Random) -> Step:
    """Add, with some probability, signals and a fault of a runner file to a step, or drop its post step."""
    first_of_two = (workflow in ("rerun", "supersede") and number == 0) or (workflow == "matrix" and number < 2)
    if rng.random() < (0.85 if first_of_two else 0.4):
        step = replace(step, signal=_signal(rng, kill=rng.random() < (0.6 if first_of_two else 0.35)))
    if rng.random() < 0.1:
        file = rng.choice(("output", "output", "state", "summary", "event"))
        kind = rng.choice(("missing", "directory") if file == "event" else ("missing", "directory", "full", "full"))
        at = 0.0 if kind == "missing" else round(rng.choice((0.0, rng.uniform(0, 90))), 2)
        step = replace(step, file_fault=FileFault(file=file, kind=kind, at=at))
    if step.post and rng.random() < 0.05:
        step = replace(step, post_signal=_signal(rng, kill=rng.random() < 0.5))
    if rng.random() < 0.1:
        step = replace(step, post=False)
    return step


def _signal(rng: Random, *, kill: bool) -> Signal:
    phase = rng.choice(("before", "after"))
    kind = rng.random()
    if kind < 0.3:
        method, path = rng.choice((("POST", "/runs"), ("POST", "/runs"), *ENDPOINTS[1:5]))
        return Signal(kill=kill, method=method, path=path, request=1, phase=phase)
    if kind < 0.55:
        return Signal(kill=kill, request=rng.randint(1, 12), phase=phase)
    if kind < 0.75:
        return Signal(kill=kill, check=rng.choice((1, 2, 3, rng.randint(1, 25))))
    at = rng.choice((rng.uniform(0, 3), rng.uniform(0, 90), rng.uniform(0, 600)))
    return Signal(kill=kill, at=round(at, 3))


def _quirks(rng: Random, *, max_lag: float) -> Quirks:
    """Choose API variants that change no verdict."""
    changes: dict[str, Any] = {}

    def sometimes(share: float, name: str, *values: object) -> None:
        if rng.random() < share:
            changes[name] = rng.choice(values)

    sometimes(0.4, "status_spelling", "underscore", "lower", "running")
    sometimes(0.2, "canceled_spelling", "CANCELED")
    sometimes(0.1, "unknown_status", "WARMING UP")
    sometimes(0.1, "error_status", "null")
    sometimes(0.2, "metrics_lag", 3.0, max_lag / 2, max_lag)
    sometimes(0.1, "duplicate_values", True)
    sometimes(0.2, "failed_values", "null")
    sometimes(0.1, "superseded_outputs", True)
    sometimes(0.2, "null_progress", True)
    sometimes(0.2, "progress_counts", "simulations")
    sometimes(0.4, "output_ids", "absent")
    sometimes(0.25, "metrics_trickle", 3.0, min(max_lag / 4, 40.0))  # unannounced, a longer gap looks like the end
    sometimes(0.5, "outputs_trickle", True)
    sometimes(0.25, "simulations_trickle", 8.0, 40.0)
    sometimes(0.4, "agent_metrics", "hidden", "forbidden")
    sometimes(0.3, "mutation_fields", "id-only", "name-only")
    if changes.get("mutation_fields") != "name-only":  # else nothing would distinguish mutations of one name
        sometimes(0.4, "same_mutation_names", True)
    sometimes(0.6, "launch_response", "full", "name-only", "id-field", "top-level")
    sometimes(0.4, "page_token_end", "absent", "empty")
    sometimes(0.3, "simulations_api", "legacy-only", "canonical-forbidden")
    sometimes(0.25, "ignore_tag_filter", True)
    sometimes(0.15, "refuse_tag_filter", True)
    sometimes(0.2, "not_found_after_launch", 2.0, 10.0, 30.0)
    sometimes(0.2, "list_lag", 1.0, 4.0)
    sometimes(0.4, "delete_running", "deleted", "gone")
    sometimes(0.4, *rng.choice(IDENTITIES))
    sometimes(0.3, "cancel_lag", 3.0, 20.0, 60.0)
    sometimes(0.2, "cancelling_status", "CANCELLING")
    sometimes(0.25, "skipped_simulations", True)
    return replace(DEFAULT, **changes)


def _rough_quirks(rng: Random) -> Quirks:
    quirks = _quirks(rng, max_lag=400.0)
    changes: dict[str, Any] = {}
    if rng.random() < 0.25:
        changes["missing_values"] = rng.choice((0.02, 0.5, 1.0))
    if rng.random() < 0.05:
        changes["error_status"] = "SIMULATION_TIMEOUT"
    if rng.random() < 0.1:
        changes["list_lag"] = rng.choice((15.0, 45.0))
    return replace(quirks, **changes)


def _fault(rng: Random, actions: Sequence[str], *, max_length: int) -> Fault:
    method, path = rng.choice(ENDPOINTS)
    first = rng.choice((1, 1, rng.randint(1, 12)))
    last = first + rng.randint(0, max_length - 1)
    return Fault(method, path, first, last, _choose_action(rng, actions))


def _choose_action(rng: Random, actions: Sequence[str]) -> str:
    action: str = rng.choice(actions)
    if action.startswith(ECHO):
        return f"{action} {rng.choice((*SPELLINGS,))}"
    return action


def _rough_fault(rng: Random) -> Fault:
    actions = (SAFE_TO_RETRY, AMBIGUOUS, AMBIGUOUS, PERMANENT)[rng.choice((0, 1, 2, 3))]
    fault = _fault(rng, actions, max_length=rng.choice((1, 2, 6)))
    return fault._replace(last=EVER) if rng.random() < 0.05 else fault


def _rough_outages(rng: Random) -> tuple[Outage, ...]:
    kind = rng.random()
    begin = round(rng.choice((0.0, rng.uniform(0, 20), rng.uniform(0, 120))), 1)
    if kind < 0.15:
        return (_outage(begin, 600, rng.choice(OUTAGES)),)
    if kind < 0.22:
        return (
            Outage(
                begin=begin, end=begin + 3600, action=rng.choice(("429", "429 retry-after=600", "429 retry-after=3600"))
            ),
        )
    if kind < 0.4:
        return (_outage(begin, rng.uniform(1, 120), rng.choice(OUTAGES)),)
    return ()


def _outage(begin: float, length: float, action: str) -> Outage:
    return Outage(begin=round(begin, 1), end=round(begin + length, 1), action=action)


def _rough_events(rng: Random) -> tuple[Event, ...]:
    kind = rng.random()
    at = round(rng.choice((rng.uniform(0, 5), rng.uniform(0, 90))), 2)
    if kind < 0.05:
        return (Event("revoke", at),)
    return (_jump(rng),) if kind < 0.2 else ()


def _jump(rng: Random) -> Event:
    return Event("jump", round(rng.uniform(0, 60), 2), amount=rng.choice((-3600.0, -60.0, 60.0, 3600.0)))


def _random_flag(rng: Random, share: float) -> str:
    return "true" if rng.random() < share else "false"
