"""From a seed to a schedule."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING, Any, Final

from campaign.schedule import (
    BEYOND,
    GATES,
    Event,
    Fault,
    Outage,
    Schedule,
    Signal,
    Step,
    Trouble,
)
from coval_sandbox.quirks import DEFAULT, Quirks

if TYPE_CHECKING:
    from collections.abc import Sequence

ENDPOINTS: Final = (
    ("POST", "/runs"),
    ("GET", "/runs"),
    ("GET", "/runs/*"),
    ("GET", "/conversations/simulated"),
    ("DELETE", "/runs/*"),
    ("GET", "*"),
    ("*", "*"),
)
# What may be repeated safely, a launch included: it surely had no effect.
HARMLESS: Final = (
    "429",
    "429 retry-after=1",
    "429 retry-after=7",
    "503",
    "503 retry-after=3",
    *BEYOND,
)
# What leaves open whether a request had an effect.
DOUBTFUL: Final = (
    "500",
    "500 after",
    "502",
    "504 after",
    "html",
    "html 502 after",
    "html 503",
    "html 503 after",
    "reset-before",
    "reset-after",
    "hang 60",
    "hang 60 after",
    "hang 3",
    "hang 3 after",
    "cut",
    "cut 0",
    "500 cut",
    "slow 2",
    "slow 4",
    "drip 300",
    "body <html>",
    "body {}",
    "json []",
    "json null",
    'json {"run": {}}',
    'body {"run": ',
)
LOST: Final = ("500 after", "504 after", "html after", "reset-after", "cut", "hang 60 after", "body <html>", "json {}")
LASTING: Final = (
    "echo 400",
    "echo 500",
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
RATE_LIMITS: Final = ("429", "429 retry-after=600", "429 retry-after=3600")
OUTAGES: Final = ("503", "503 retry-after=30", "502", "html 503", "reset-before", "hang 60", "429", *BEYOND)

GOOD_SETS: Final = ("passing1", "passing1", "passing1", "unknown1", "noProgrs")
OTHER_SETS: Final = ("failing1", "flaky001", "someFail", "allFail1", "runFails", "dirty001", "empty001")
ROUGH_SETS: Final = (
    *GOOD_SETS,
    *OTHER_SETS,
    "slow0001",
    "stuck001",
    "queued01",
    "cancels1",
    "deletes1",
    "errors01",
)


def draw(seed: int) -> Schedule:
    """The schedule of a seed."""
    chance = Random(f"campaign/{seed}")
    temper = chance.choices(("benign", "mild", "rough"), (14, 20, 66))[0]
    return {"benign": _benign, "mild": _mild, "rough": _rough}[temper](seed, chance)


def _benign(seed: int, chance: Random) -> Schedule:
    schedule = _quiet(seed, chance)
    return replace(schedule, temper="benign")


def _mild(seed: int, chance: Random) -> Schedule:
    """Some hiccups, all of them over long before any deadline."""
    faults = [_fault(chance, (*HARMLESS, *DOUBTFUL), most=3) for _ in range(chance.randint(1, 4))]
    outages = []
    if chance.random() < 0.5:
        begin = chance.uniform(0, 90)
        outages.append(_outage(begin, chance.uniform(5, 60), _of(chance, OUTAGES)))
    events = (_jump(chance),) if chance.random() < 0.2 else ()
    schedule = _quiet(seed, chance)
    return replace(schedule, temper="mild", faults=tuple(faults), outages=tuple(outages), events=events)


def _quiet(seed: int, chance: Random) -> Schedule:
    """Runs that end long before the deadline, on a Coval with any of its documented variants."""
    story = chance.choices(("run", "launch-wait", "twice", "launch-cancel", "launch"), (66, 16, 8, 6, 4))[0]
    gate = _of(chance, tuple(GATES))
    inputs = {**_switches(chance), **GATES[gate], "max_wait_time": _of(chance, ("900", "1800", "3600"))}
    if chance.random() < 0.25:
        inputs |= {"max_queue_time": "600", "stall_timeout": "600"}
    if chance.random() < 0.2:
        inputs["check_interval"] = _of(chance, ("1", "5", "60"))
    return Schedule(
        seed=seed,
        temper="",
        story=story,
        test_set=_of(chance, (*GOOD_SETS, *OTHER_SETS) if chance.random() < 0.4 else GOOD_SETS),
        gate=gate,
        steps=_steps(story, inputs, chance),
        quirks=_quirks(chance, most_lag=60.0),
        latency=_of(chance, (0.02, 0.1, 0.4)),
        skew=_of(chance, (0.0, 0.0, 0.0, 20.0, -20.0)),
        stranger=_of(chance, ("", "", "", "tagged", "bare")),
    )


def _rough(seed: int, chance: Random) -> Schedule:
    """Anything."""
    stories = ("run", "launch-wait", "twice", "launch-cancel", "launch", "rerun", "supersede", "finish-cancel")
    story = chance.choices(stories, (45, 9, 6, 6, 2, 16, 13, 3))[0]
    gate = _of(chance, tuple(GATES))
    inputs = {**_switches(chance), **GATES[gate], "max_wait_time": _of(chance, ("20", "60", "120", "600", "3600"))}
    inputs["cancel_on_interrupt"] = _flag(chance, 0.8)
    inputs["cancel_on_timeout"] = _flag(chance, 0.5)
    if chance.random() < 0.3:
        inputs |= {"max_queue_time": _of(chance, ("3", "20", "200"))}
    if chance.random() < 0.3:
        inputs |= {"stall_timeout": _of(chance, ("5", "30", "300"))}
    steps = _steps(story, inputs, chance)
    steps = tuple(_roughened(step, number, story, chance) for number, step in enumerate(steps))
    faults = tuple(_rough_fault(chance) for _ in range(chance.choice((0, 0, 1, 1, 2, 3, 5))))
    outages = _rough_outages(chance)
    if chance.random() < 0.12:
        steps, faults = _knot(steps, chance)
    elif chance.random() < 0.05:
        steps, outages = _late_look(steps, chance)
    return Schedule(
        seed=seed,
        temper="rough",
        story=story,
        test_set=_of(chance, ROUGH_SETS if chance.random() < 0.6 else ("passing1", "slow0001")),
        gate=gate,
        steps=steps,
        quirks=_rough_quirks(chance),
        faults=faults,
        outages=outages,
        events=_rough_events(chance),
        latency=_of(chance, (0.02, 0.1, 0.4, 1.0)),
        skew=_of(chance, (0.0, 0.0, 0.0, 20.0, -20.0, 120.0, -120.0)),
        stranger=_of(chance, ("", "", "", "tagged", "bare")),
    )


def _knot(steps: tuple[Step, ...], chance: Random) -> tuple[tuple[Step, ...], tuple[Fault, ...]]:
    """The worst place: the launch took effect, its answer is lost, and looking for it has trouble of its own."""
    lost = Fault(method="POST", path="/runs", first=1, last=1, action=_of(chance, LOST))
    first = chance.randint(1, 3)
    action = _of(chance, (*HARMLESS, *DOUBTFUL, "403"))
    looking = Fault(method="GET", path="/runs", first=first, last=first + chance.randint(0, 4), action=action)
    aimed = Signal(kill=chance.random() < 0.3, method="GET", path="/runs", request=chance.randint(1, 5))
    if chance.random() < 0.5:
        aimed = Signal(kill=aimed.kill, at=round(chance.uniform(0, 12), 3))
    told = given_with(steps[0].inputs, cancel_on_interrupt="true")
    return (replace(steps[0], signal=aimed, inputs=told), *steps[1:]), (lost, looking)


def _late_look(steps: tuple[Step, ...], chance: Random) -> tuple[tuple[Step, ...], tuple[Outage, ...]]:
    """A run of a minute ends while the post step waits for an answer that says that it has not."""
    at = round(chance.uniform(39, 57), 3)
    told = given_with(steps[0].inputs, cancel_on_interrupt="true", max_wait_time="600")
    killed = replace(steps[0], mode="run", signal=Signal(kill=True, at=at), trouble=None, post=True, inputs=told)
    return (killed, *steps[1:]), (_outage(at + 0.5, 2, "slow 20"),)


def _switches(chance: Random) -> dict[str, str]:
    """Inputs that have to do with nothing else."""
    switches = {
        "resume": _flag(chance, 0.8),
        "supersede": _flag(chance, 0.1),
        "cancel_on_interrupt": "true",
        "cancel_on_timeout": "false",
    }
    if chance.random() < 0.35:
        switches["junit_path"] = "reports/junit.xml"
    if chance.random() < 0.35:
        switches["json_path"] = "reports/coval.json"
    if chance.random() < 0.15:
        switches["summary"] = "false"
    if chance.random() < 0.15:
        switches["annotations"] = "false"
    if chance.random() < 0.15:
        switches["tags"] = "nightly,smoke"
    return switches


def _steps(story: str, inputs: dict[str, str], chance: Random) -> tuple[Step, ...]:
    given = tuple(inputs.items())
    pause = _of(chance, (1.0, 5.0, 40.0, 200.0))
    run = Step(mode="run", inputs=given)
    launch = replace(run, mode="launch")
    match story:
        case "launch":
            return (launch,)
        case "launch-wait":
            return (launch, replace(run, mode="wait", action="__acme_coval-gate_2", pause=pause))
        case "launch-cancel":
            return (launch, replace(run, mode="cancel", action="__acme_coval-gate_2", pause=pause))
        case "finish-cancel":
            return (run, replace(run, mode="cancel", action="__acme_coval-gate_2", pause=pause))
        case "twice":
            return (launch, replace(run, action="__acme_coval-gate_2"))
        case "rerun":
            first = replace(_of(chance, (run, run, launch)), post=chance.random() < 0.6)
            return (first, replace(run, attempt=2, pause=pause))
        case "supersede":
            supersede = _flag(chance, 0.75)
            first = replace(_of(chance, (run, launch)), workflow_run="1111111111", post=chance.random() < 0.4)
            newer = given_with(given, supersede=supersede)
            return (first, replace(run, inputs=newer, workflow_run="2222222222", pause=pause))
        case _:
            return (run,)


def given_with(given: tuple[tuple[str, str], ...], **more: str) -> tuple[tuple[str, str], ...]:
    """Inputs with others in their place."""
    return tuple((dict(given) | more).items())


def _roughened(step: Step, number: int, story: str, chance: Random) -> Step:
    """A step that may be interrupted, killed, or without one of its files."""
    first_of_two = story in ("rerun", "supersede") and number == 0
    if chance.random() < (0.85 if first_of_two else 0.4):
        step = replace(step, signal=_signal(chance, kill=chance.random() < (0.6 if first_of_two else 0.35)))
    if chance.random() < 0.1:
        file = _of(chance, ("output", "output", "state", "summary", "event"))
        what = _of(chance, ("missing", "directory") if file == "event" else ("missing", "directory", "full", "full"))
        at = 0.0 if what == "missing" else round(chance.choice((0.0, chance.uniform(0, 90))), 2)
        step = replace(step, trouble=Trouble(file=file, what=what, at=at))
    if step.post and chance.random() < 0.05:
        step = replace(step, post_signal=_signal(chance, kill=chance.random() < 0.5))
    if chance.random() < 0.1:
        step = replace(step, post=False)
    return step


def _signal(chance: Random, *, kill: bool) -> Signal:
    phase = _of(chance, ("before", "after"))
    kind = chance.random()
    if kind < 0.3:
        method, path = _of(chance, (("POST", "/runs"), ("POST", "/runs"), *ENDPOINTS[1:5]))
        return Signal(kill=kill, method=method, path=path, request=1, phase=phase)
    if kind < 0.55:
        return Signal(kill=kill, request=chance.randint(1, 12), phase=phase)
    if kind < 0.75:
        return Signal(kill=kill, check=chance.choice((1, 2, 3, chance.randint(1, 25))))
    at = chance.choice((chance.uniform(0, 3), chance.uniform(0, 90), chance.uniform(0, 600)))
    return Signal(kill=kill, at=round(at, 3))


def _quirks(chance: Random, *, most_lag: float) -> Quirks:
    """Variants that change no verdict."""
    changes: dict[str, Any] = {}

    def sometimes(share: float, name: str, *values: object) -> None:
        if chance.random() < share:
            changes[name] = chance.choice(values)

    sometimes(0.4, "status_spelling", "underscore", "lower", "running")
    sometimes(0.2, "canceled_spelling", "CANCELED")
    sometimes(0.1, "unknown_status", "WARMING UP")
    sometimes(0.1, "error_status", "null")
    sometimes(0.2, "metrics_lag", 3.0, most_lag / 2, most_lag)
    sometimes(0.1, "duplicate_values", True)
    sometimes(0.2, "failed_values", "null")
    sometimes(0.1, "superseded_outputs", True)
    sometimes(0.2, "null_progress", True)
    sometimes(0.2, "progress_counts", "simulations")
    sometimes(0.6, "launch_response", "full", "name-only", "id-field", "top-level")
    sometimes(0.4, "page_token_end", "absent", "empty")
    sometimes(0.3, "simulations_api", "legacy-only", "canonical-forbidden")
    sometimes(0.25, "ignore_tag_filter", True)
    sometimes(0.15, "blind_tag_filter", True)
    sometimes(0.2, "not_found_after_launch", 2.0, 10.0, 30.0)
    sometimes(0.2, "list_lag", 1.0, 4.0)
    sometimes(0.4, "delete_running", "deleted", "gone")
    return replace(DEFAULT, **changes)


def _rough_quirks(chance: Random) -> Quirks:
    quirks = _quirks(chance, most_lag=400.0)
    changes: dict[str, Any] = {}
    if chance.random() < 0.15:
        changes["missing_values"] = _of(chance, (0.02, 0.5, 1.0))
    if chance.random() < 0.05:
        changes["error_status"] = "SIMULATION_TIMEOUT"
    if chance.random() < 0.05:
        changes["repeat_page_token"] = True
    if chance.random() < 0.05:
        changes["not_found_after_launch"] = 90.0
    if chance.random() < 0.1:
        changes["list_lag"] = _of(chance, (15.0, 45.0))
    return replace(quirks, **changes)


def _fault(chance: Random, actions: Sequence[str], *, most: int) -> Fault:
    method, path = _of(chance, ENDPOINTS)
    first = chance.choice((1, 1, chance.randint(1, 12)))
    return Fault(
        method=method,
        path=path,
        first=first,
        last=first + chance.randint(0, most - 1),
        action=_of(chance, actions),
    )


def _rough_fault(chance: Random) -> Fault:
    actions = (HARMLESS, DOUBTFUL, DOUBTFUL, LASTING)[chance.choice((0, 1, 2, 3))]
    fault = _fault(chance, actions, most=_of(chance, (1, 2, 6)))
    return replace(fault, last=10_000) if chance.random() < 0.05 else fault


def _rough_outages(chance: Random) -> tuple[Outage, ...]:
    kind = chance.random()
    begin = round(chance.choice((0.0, chance.uniform(0, 20), chance.uniform(0, 120))), 1)
    if kind < 0.15:
        return (_outage(begin, 600, _of(chance, OUTAGES)),)
    if kind < 0.22:
        return (
            Outage(
                begin=begin,
                end=begin + 3600,
                action=_of(chance, ("429", "429 retry-after=600", "429 retry-after=3600")),
            ),
        )
    if kind < 0.4:
        return (_outage(begin, chance.uniform(1, 120), _of(chance, OUTAGES)),)
    return ()


def _outage(begin: float, length: float, action: str) -> Outage:
    return Outage(begin=round(begin, 1), end=round(begin + length, 1), action=action)


def _rough_events(chance: Random) -> tuple[Event, ...]:
    kind = chance.random()
    at = round(chance.choice((chance.uniform(0, 5), chance.uniform(0, 90))), 2)
    if kind < 0.05:
        return (Event(what="revoke", at=at),)
    if kind < 0.12:
        return (Event(what="delete", at=at),)
    return (_jump(chance),) if kind < 0.25 else ()


def _jump(chance: Random) -> Event:
    return Event(what="jump", at=round(chance.uniform(0, 60), 2), amount=_of(chance, (-3600.0, -60.0, 60.0, 3600.0)))


def _flag(chance: Random, share: float) -> str:
    return "true" if chance.random() < share else "false"


def _of(chance: Random, values: Sequence[Any]) -> Any:
    return chance.choice(values)
