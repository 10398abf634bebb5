"""A fuzz of damaged responses: part of a response is lost, empty or of another type (see `coval_sandbox.damage`).

Lasting damage on a bad run never makes a step pass. Passing damage on a good run never makes a step fail. Both hold for
a run that is good or bad only beside its baseline, too.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Final

sys.path.insert(0, str(Path(__file__).parent.parent))

from campaign.baselines import SETTLED
from campaign.generate import EVER, undisturbed_schedule, with_transcripts
from campaign.oracle import is_good
from campaign.pool import Rules, describe, run_campaign
from campaign.schedule import BASELINE_GATES, GATES, Event, Fault, Schedule, Step
from campaign.simulate import simulate

if TYPE_CHECKING:
    from campaign.simulate import History, ProcessResult

LASTING: Final = 2000  # schedules with lasting damage on a bad run
PASSING: Final = 500  # schedules with passing damage on a good run
COMPARED_LASTING: Final = 1000  # the same for runs that are compared with a baseline
COMPARED_PASSING: Final = 500
ENDPOINTS: Final = ("/runs/*", "/runs/*", "/conversations/simulated", "/simulations", "/metrics/*", "/agents/*", "*")
BAD_RUNS: Final = (  # test set and gate
    ("failing1", "thresholds"),
    ("failing1", "targets"),
    ("failing1", "pass_rate"),
    ("someFail", "default"),
    ("allFail1", "half"),
)
# Of runs that are compared with an earlier one. Every good run meets this, and no bad one.
COMPARED: Final = {"thresholds": "Latency: avg <= baseline * 1.3\nResolved: rate(YES) >= baseline - 20pp"}
BASELINES: Final = ("baseline of branch", "baseline of tag")
REPLAY: Final = ".venv/bin/python tests/campaign/fuzz.py --seed {}"


def lasting(seed: int) -> Schedule:
    """Return a schedule of one step and a bad run, in which every response of an endpoint is damaged in one way."""
    random = Random(f"lasting/{seed}")
    test_set, gate = random.choice(BAD_RUNS)
    schedule = _one_step(seed, random, test_set, gate)
    damage = Fault(method="GET", path=random.choice(ENDPOINTS), first=1, last=EVER, action=f"damage {seed}")
    return replace(schedule, severity="rough", faults=(*schedule.faults, damage))


def passing(seed: int) -> Schedule:
    """Return a schedule of one step and a good run, in which a few responses are damaged."""
    random = Random(f"passing/{seed}")
    faults = []
    for number in range(random.randint(1, 3)):
        first = random.randint(1, 12)
        path, last = random.choice(ENDPOINTS), first + random.randint(0, 2)
        faults.append(Fault(method="GET", path=path, first=first, last=last, action=f"damage {seed + number}"))
    schedule = _one_step(seed, random, "passing1", random.choice(tuple(GATES)))
    return replace(schedule, severity="mild", faults=(*schedule.faults, *faults))


def compared_lasting(seed: int) -> Schedule:
    """Return a schedule of a bad run after a good one, in which every response of an endpoint is damaged in one way."""
    random = Random(f"compared lasting/{seed}")
    schedule = _compared(seed, random)
    damage = Fault(method="GET", path=random.choice(ENDPOINTS), first=1, last=EVER, action=f"damage {seed}")
    worse = Event(kind="regress", at=SETTLED / 2)
    return replace(schedule, severity="rough", faults=(damage,), events=(worse,))


def compared_passing(seed: int) -> Schedule:
    """Return a schedule of a good run after another one, in which a few responses are damaged."""
    random = Random(f"compared passing/{seed}")
    faults = []
    for number in range(random.randint(1, 3)):
        first = random.randint(3, 25)  # nothing repairs what the earlier launch noted in its metadata
        path, last = random.choice((*ENDPOINTS, "/runs")), first + random.randint(0, 2)
        faults.append(Fault(method="GET", path=path, first=first, last=last, action=f"damage {seed + number}"))
    return replace(_compared(seed, random), severity="mild", faults=tuple(faults))


def _compared(seed: int, random: Random) -> Schedule:
    """Return a schedule of a step whose run another step compares with its own later."""
    schedule = _one_step(seed, random, "passing1", random.choice(BASELINES))
    inputs = dict(schedule.steps[0].inputs) | COMPARED | {"tags": "nightly", "supersede": "false"}
    for name in ("sub_sample_size", "sub_sample_seed"):  # two conversations differ by more than the gate allows
        inputs.pop(name, None)
    pairs = tuple(inputs.items())
    earlier = Step(mode="launch", inputs=pairs, workflow_run="1000000000", branch="main")
    step = Step(mode="run", inputs=pairs, pause=SETTLED)
    return replace(schedule, steps=(earlier, step), fate="there")


def _one_step(seed: int, random: Random, test_set: str, gate: str = "") -> Schedule:
    schedule = replace(undisturbed_schedule(seed, random, workflow="run", gate=gate), test_set=test_set)
    return with_transcripts(schedule, Random(f"transcripts/{seed}"))


def bad_runs_do_not_pass(history: History) -> list[str]:
    """Return that a step passed on a bad run, if it did."""
    step, schedule = _judging(history), history.schedule
    if schedule.gate not in BASELINE_GATES:
        for record in history.runs.values():
            assert not is_good(record, schedule.gate, schedule.quirks, history.coval_time(history.ended))
    return [f"passed on a bad run: {step.outputs['reason']}"] if step.exit_code == 0 else []


def good_runs_pass(history: History) -> list[str]:
    """Return that a step did not pass on a good run, if it did not."""
    step = _judging(history)
    return [] if step.exit_code == 0 else [f"{step.verdict} on a good run: {step.outputs['reason']}"]


def _judging(history: History) -> ProcessResult:
    """Return the last step, whose verdict counts."""
    return [result for result in history.results if not result.is_post][-1]


KINDS: Final = {
    "lasting": Rules(lasting, bad_runs_do_not_pass, REPLAY),
    "passing": Rules(passing, good_runs_pass, REPLAY),
    "compared_lasting": Rules(compared_lasting, bad_runs_do_not_pass, REPLAY),
    "compared_passing": Rules(compared_passing, good_runs_pass, REPLAY),
}


def run(arguments: list[str]) -> int:
    """Run the fuzz; return 1 if a step passed or failed that must not."""
    parser = ArgumentParser(prog="python tests/campaign/fuzz.py", description=__doc__)
    parser.add_argument("--lasting", type=int, default=LASTING, help=f"schedules with lasting damage ({LASTING:,})")
    parser.add_argument("--passing", type=int, default=PASSING, help=f"schedules with passing damage ({PASSING:,})")
    parser.add_argument(
        "--compared-lasting",
        type=int,
        default=COMPARED_LASTING,
        help=f"the same for runs that are compared with a baseline ({COMPARED_LASTING:,})",
    )
    parser.add_argument(
        "--compared-passing",
        type=int,
        default=COMPARED_PASSING,
        help=f"the same for runs that are compared with a baseline ({COMPARED_PASSING:,})",
    )
    parser.add_argument("--first", type=int, default=0, help="the first seed of each kind (0)")
    parser.add_argument("--seed", type=int, help="simulate this schedule of each kind only, and describe it in full")
    options = parser.parse_args(arguments)
    failures = 0
    for kind, rules in KINDS.items():
        if options.seed is not None:
            sys.stdout.write(describe(simulate(rules.generate(options.seed)), rules) + "\n")
            continue
        tally = run_campaign(range(options.first, options.first + getattr(options, kind)), rules=rules)
        for outcome in tally.failures:
            sys.stdout.write(f"{_named(kind)}, seed {outcome.seed}: {'; '.join(outcome.violations)}\n")
        sys.stdout.write(f"{_named(kind)}: {tally}\n")
        failures += len(tally.failures)
    return 1 if failures else 0


def _named(kind: str) -> str:
    return f"{kind.replace('_', ', ')} damage"


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
