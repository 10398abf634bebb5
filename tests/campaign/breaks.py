"""Deliberate mistakes in the gate, each of which the campaign must catch (`python tests/campaign --break NAME`).

They reach in by the faces of packages: inputs, Coval's client, the host, the judge, the search of earlier runs.
`python tests/campaign/breaks.py` shows which schedule catches each of them.
"""

import os
import pkgutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any, Final, NamedTuple

import coval_gate
from coval_gate.ci.host import IN_PROGRESS

MOST: Final = 2000  # schedules that may miss a break

Replacement = Callable[..., Any]  # gets the original, and then its arguments


class Break(NamedTuple):
    """What is replaced (`module:name` or `module:Class.name`), by what, and the only dimension in which it shows."""

    target: str
    new: Replacement
    dimension: str = ""

    def apply(self) -> None:
        """Break the code of this process. Raises LookupError if there is no such target."""
        _import_everything()
        owner, name, original = self.find()
        new = self.new(original) if not callable(original) else _instead(original, self.new)
        if isinstance(owner, type):
            is_bound = isinstance(vars(owner)[name], (classmethod, staticmethod))
            setattr(owner, name, staticmethod(new) if is_bound else new)
            return
        for module in [*sys.modules.values()]:
            if module.__name__.startswith(("coval_gate", "campaign")) and vars(module).get(name) is original:
                setattr(module, name, new)

    def find(self) -> tuple[Any, str, Any]:
        """Return the owner of what is replaced, its name and itself. Raises LookupError if there is none."""
        module, _, path = self.target.partition(":")
        owner: Any = import_module(f"coval_gate.{module}")
        *outer, name = path.split(".")
        try:
            for part in outer:
                owner = vars(owner)[part]
            vars(owner)[name]
        except KeyError as missing:
            raise LookupError(f"{self.target}: there is no {missing}") from None
        return owner, name, getattr(owner, name)


def _import_everything() -> None:
    for module in pkgutil.walk_packages(coval_gate.__path__, "coval_gate."):
        if not module.name.endswith("__main__"):
            import_module(module.name)


def _instead(original: Callable[..., Any], new: Replacement) -> Callable[..., Any]:
    def replacement(*args: Any, **kwargs: Any) -> Any:
        return new(original, *args, **kwargs)

    return replacement


def _given(**inputs: str) -> Replacement:
    """Read these inputs in place of what the user gave."""
    changed = {f"INPUT_{name.upper()}": value for name, value in inputs.items()}
    return lambda original, environ: original({**environ, **changed})


def _returns(value: Any) -> Replacement:
    return lambda *_, **__: value


def _with_result(change: Callable[[Any], Any]) -> Replacement:
    """Change what a procedure returns."""

    async def procedure(original: Any, *args: Any, **kwargs: Any) -> Any:
        return change(await original(*args, **kwargs))

    return procedure


def _with_verdict(now: str, instead: str) -> Replacement:
    """Judge one verdict as another."""

    def judged(original: Any, *args: Any, **kwargs: Any) -> Any:
        judgement = original(*args, **kwargs)
        verdict = type(judgement.verdict)
        return judgement._replace(verdict=verdict(instead)) if judgement.verdict == verdict(now) else judgement

    return judged


async def _leaves(*_: Any) -> None:
    """Do nothing."""


async def _first_slice(original: Any, session: Any, _: Any) -> Any:
    """Judge the first slice in place of a later one."""
    return await original(session, session.leg.first)


async def _shown_once(original: Any, self: Any, text: Any, *args: Any, **kwargs: Any) -> None:
    """Show a page only while the step goes on."""
    if text.state == IN_PROGRESS:
        await original(self, text, *args, **kwargs)


async def _added(original: Any, self: Any, run_id: str, tags: Any, **kwargs: Any) -> None:
    """Add tags, and remove none."""
    run = await self.get_run(run_id, until=kwargs["until"])
    await original(self, run_id, tuple(dict.fromkeys((*run.tags, *tags))), **kwargs)


def _unfinished(original: Any, *args: Any) -> Any:
    """Take over unfinished runs only."""
    run = original(*args)
    return None if run and run.is_over else run


BREAKS: Final = {
    "retry a launch after any error": Break("coval.client:uncertain_after", _returns(None)),
    "never resume": Break("inputs.inputs:parse_inputs", _given(resume="false")),
    "never supersede": Break("inputs.inputs:parse_inputs", _given(supersede="false")),
    "treat the jobs of a matrix as one": Break("inputs.inputs:parse_inputs", _given(matrix="")),
    "cancel nothing after a signal": Break("inputs.inputs:parse_inputs", _given(cancel_on_interrupt="false")),
    "accept missing data": Break("inputs.inputs:parse_inputs", _given(max_failed_simulations="100%")),
    "set no limit to simulations": Break("inputs.inputs:parse_inputs", _given(max_simulations=""), "legs"),
    "launch all legs at a time": Break("inputs.inputs:parse_inputs", _given(max_parallel_runs=""), "legs"),
    "evaluate legs that are not selected": Break("inputs.inputs:parse_inputs", _given(only_legs=""), "legs"),
    "skip the post step": Break("step.post:post", _returns(0)),
    "write no output before the end": Break(
        "step.step:Step.record_id", lambda _, step, __: (step.save(), step.changed.happen())
    ),
    "allow as much time after a signal as ever": Break(
        "base.times:Times.for_interrupted", lambda original, *now: original(now[-1] + 20)
    ),
    "trust an outdated poll": Break("step.cancel:MAX_POLL_AGE", _returns(1e9)),
    "treat a 5xx as a 400": Break(
        "coval.errors:response_problem",
        lambda original, request, response, **rest: original(
            request, response._replace(status=400) if response.status >= 500 else response, **rest
        ),
    ),
    "treat inconclusive as passed": Break("gate.judge:judge", _with_verdict("inconclusive", "passed")),
    "treat an error as passed": Break("gate.judge:judge", _with_verdict("error", "passed")),
    "ignore errors that Coval reports": Break(
        "coval.client:Client.get_run", _with_result(lambda run: run._replace(error_status=""))
    ),
    "count a run that a comparison failed": Break("history.tags:is_marked", _returns(value=False), "baseline"),
    "treat a pull request as the branch main": Break(
        "ci.github:read_context",
        lambda original, *args: original(*args)._replace(pull_request=None, for_pull_request=False, branch="main"),
        "baseline",
    ),
    "remove no tag": Break("coval.client:Client.set_tags", _added, "baseline"),
    "use the oldest run as the newest": Break(
        "history.search:search", _with_result(lambda found: found._replace(runs=found.runs[::-1])), "newest"
    ),
    "treat a part as a run": Break("history.tags:part_of", _returns(""), "newest"),
    "judge before the tag comes": Break("step.own_build:TAG_LAG", _returns(0.0), "attach"),
    "leave runs whose request has changed": Break("features.reruns.step:end_earlier", _leaves, "changed"),
    "guard a run of an earlier attempt in its turn only": Break(
        "step.step:Step.guard_leftovers",
        lambda original, step, runs: (original(step, runs), [trial.release() for trial in step.leftovers.values()]),
        "left",
    ),
    "guard a given run before it is read": Break(
        "step.leg:Trial.identify",
        lambda original, trial, *args, **rest: (
            original(trial, *args, **rest),
            trial.is_given and trial.guard(cancel=True),
        ),
    ),
    "use an unfinished slice as the first": Break(
        "features.reruns.takeover:run_for",
        lambda _, session, __: next(iter(session.leg.taken_over[::-1]), None),
        "slices",
    ),
    "launch what completed again": Break("features.reruns.takeover:run_for", _unfinished, "rerun"),
    "call a slice before its turn": Break(
        "features.spending.step:judge_trial",
        _first_slice,
        "slices",
    ),
    "repeat an API key in the log": Break("base.secret:Redactor.redact", lambda _, __, text: text),
    "leave the commit status as it was": Break("features.pages.github:CommitStatus.show", _shown_once),
}


def catch(name: str) -> str:
    """Run the campaign against a break until it is caught; return what caught it, or an empty string."""
    command = [sys.executable, str(Path(__file__).parent), "--break", name, "--stop", "--schedules", str(MOST)]
    only = ["--only", BREAKS[name].dimension] if BREAKS[name].dimension else []
    process = subprocess.run([*command, *only], capture_output=True, text=True, check=False)
    if process.stderr:  # the break itself does not work any more
        raise RuntimeError(process.stderr)
    return next((line[:100] for line in process.stdout.splitlines() if line.startswith("seed ")), "")


def run() -> int:
    """Run all breaks; return 1 if the campaign misses one."""
    missed = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for name, caught in zip(BREAKS, pool.map(catch, BREAKS), strict=True):
            missed += not caught
            sys.stdout.write(f"{name:<60} {caught or 'MISSED'}\n")
            sys.stdout.flush()
    sys.stdout.write(f"breaks: {len(BREAKS) - missed} of {len(BREAKS)} caught\n")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(run())
