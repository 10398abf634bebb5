"""Shows that the campaign has teeth: breaks the code in ways that must not go unnoticed, one at a time.

Each mutant is a copy of src with one text replaced. The campaign plays against it until a promise is broken.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from argparse import ArgumentParser
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
MOST: Final = 1000  # schedules that a mutant may survive, as many as `make test` plays
VIOLATION: Final = re.compile(r"^seed (\d+): (\w+): ", re.MULTILINE)
PLAYED: Final = re.compile(r"^campaign: ([\d,]+) schedules", re.MULTILINE)


@dataclass(frozen=True)
class Mutant:
    """One way to break the code: in `file` (below src/coval_gate), `old` becomes `new`. `promises` may catch it.

    `also`: a second file, old and new text, where two guards stand behind each other.
    """

    name: str
    file: str
    old: str
    new: str
    promises: tuple[str, ...]
    also: tuple[str, str, str] | None = None

    @property
    def edits(self) -> tuple[tuple[str, str, str], ...]:
        """Every file, its old and its new text."""
        return ((self.file, self.old, self.new), *([self.also] if self.also else []))


@dataclass(frozen=True)
class Fate:
    """What became of a mutant: caught by which promises at which seed after how many schedules, or in trouble."""

    mutant: Mutant
    promises: tuple[str, ...] = ()
    seed: str = ""
    schedules: str = ""
    trouble: str = ""

    @property
    def well(self) -> bool:
        """Whether it was caught, and by a promise that is about it."""
        return not self.trouble and any(each in self.mutant.promises for each in self.promises)

    def __str__(self) -> str:
        how = self.trouble or f"{', '.join(self.promises)} (seed {self.seed}, schedule {self.schedules})"
        mark = "caught  " if self.well else "SURVIVED" if not self.promises else "BY CHANCE"
        return f"{mark} {self.mutant.name:<58} {how}"


MUTANTS: Final = (
    Mutant(
        "launch again without looking",
        "runs/launch.py",
        "if run := self._lost(lost, since):",
        "if run := None:",
        ("launched_once", "no_orphan", "right_run"),
    ),
    Mutant(
        "take any listed run for ours",
        "runs/find.py",
        "if tag in run.tags or tag in run.metadata.values())",
        "if run)",
        ("right_run", "ended_only_ours"),
    ),
    Mutant(
        "trust the tag filter alone",
        "runs/find.py",
        "*([same] if same else [])",
        "*([same] if not same else [])",
        ("launched_once", "no_orphan", "resumed", "right_run", "right_verdict"),
    ),
    Mutant(
        "repeat a launch whatever happened to it",
        "coval/client.py",
        "when=lambda error: not error.arrived,",
        "when=lambda _: True,",
        ("launched_once",),
    ),
    Mutant(
        "take any 503 for Coval's own word that it did nothing",
        "coval/errors.py",
        "(status == 503 and said.is_coval)",
        "status == 503",
        ("launched_once",),
    ),
    Mutant(
        "look for a lost launch once, without patience",
        "runs/launch.py",
        "SETTLING: Final = 60.0",
        "SETTLING: Final = 0.0",
        ("launched_once",),
    ),
    Mutant(
        "resume whatever the earlier attempt launched",
        "runs/launch.py",
        "if self.identity.continues(run.tags) and not run.is_over)",
        "if self.identity.continues(run.tags))",
        ("right_run",),
    ),
    Mutant("never resume", "runs/launch.py", "launch.attempt == 1", "launch.attempt > 0", ("resumed",)),
    Mutant(
        "supersede nothing",
        "runs/launch.py",
        "if run.is_over or run.run_id == keep or not self.identity.supersedes(run.tags):",
        "if run:",
        ("superseded",),
    ),
    Mutant(
        "delete without looking",
        "runs/cancel.py",
        "            if run.is_over:\n",
        "            if False:\n",
        ("finished_stay",),
    ),
    Mutant(
        "trust a look that took long",
        "runs/cancel.py",
        "OLD: Final = 2.0",
        "OLD: Final = 1e9",
        ("finished_stay",),
    ),
    Mutant(
        "take a 404 for the end of a run that is fresh",
        "runs/guard.py",
        "FRESH: Final = 60.0",
        "FRESH: Final = -1.0",
        ("no_orphan",),
    ),
    Mutant(
        "save what is held after the launch only",
        "runs/launch.py",
        "        hold.save(end=end)\n        if earlier:",
        "        if earlier:",
        ("no_orphan",),
    ),
    Mutant(
        "leave the run alone when interrupted",
        "runs/cleanup.py",
        "return not self.inputs.cancel_on_interrupt\n",
        "return True\n",
        ("no_orphan",),
    ),
    Mutant(
        "leave the run alone after a timeout",
        "runs/cleanup.py",
        "return not self.inputs.cancel_on_timeout\n",
        "return True\n",
        ("no_orphan",),
    ),
    Mutant(
        "end the run after every timeout",
        "runs/cleanup.py",
        "return not self.inputs.cancel_on_timeout\n",
        "return False\n",
        ("left_alone",),
    ),
    Mutant(
        "let the post step do nothing",
        "post.py",
        'if environ.get(f"STATE_{HELD}") != "true":',
        'if environ.get(f"STATE_{HELD}") != "yes":',
        ("no_orphan",),
    ),
    Mutant(
        "let the post step act after every main step",
        "post.py",
        'if environ.get(f"STATE_{HELD}") != "true":',
        'if not environ.get(f"STATE_{HELD}"):',
        ("post_is_quiet", "left_alone"),
    ),
    Mutant(
        "take one's time when interrupted",
        "runs/cleanup.py",
        "(HURRIED_ENDING if self.hurry else ENDING)",
        "ENDING",
        ("in_time",),
    ),
    Mutant(
        "do not ask for signals while a request is under way",
        "clock.py",
        "            self._thread.join(min(left, SLICE))\n            clock.check()\n",
        "            self._thread.join(min(left, SLICE))\n",
        ("in_time",),
    ),
    Mutant(
        "drop the final look",
        "runs/watch.py",
        "        clock.sleep(min(next_pause(history, longest=longest), at - now))\n",
        "        clock.sleep(min(next_pause(history, longest=longest), at - now))\n"
        "        if clock.now() >= at:\n"
        "            return seen, limit\n",
        ("not_late",),
    ),
    Mutant(
        "wait past the deadline",
        "main.py",
        "deadline = self._began + inputs.max_wait_time",
        "deadline = self._began + 2 * inputs.max_wait_time + 60",
        ("in_time",),
    ),
    Mutant(
        "take a 5xx for an answer",
        "coval/errors.py",
        "if status in PASSING_STATUSES or status >= 500:",
        "if status in PASSING_STATUSES:",
        ("right_verdict",),
    ),
    Mutant(
        "give up on a run that is not known yet",
        "runs/watch.py",
        "NOT_FOUND_PATIENCE: Final = 60.0",
        "NOT_FOUND_PATIENCE: Final = 0.0",
        ("right_verdict",),
    ),
    Mutant(
        "treat missing as pass",
        "judge/gate.py",
        "if lacking > max(0, max_failed.of(variant.total) - variant.failed):",
        "if lacking > 1e9:",
        ("no_pass_without_data",),
    ),
    Mutant(
        "do not wait for values that lag behind",
        "runs/collect.py",
        "give_up = min(deadline, began + grace)",
        "give_up = began",
        ("right_verdict",),
    ),
    Mutant(
        "overlook what Coval complains of",
        "judge/gate.py",
        "    if result.complaint:\n",
        "    if False:\n",
        ("no_pass_without_data",),
    ),
    Mutant(
        "pass a step that timed out",
        "judge/verdict.py",
        "return self.verdict in (None, Verdict.PASSED, Verdict.SKIPPED)",
        "return self.verdict in (None, Verdict.PASSED, Verdict.SKIPPED, Verdict.TIMED_OUT)",
        ("complete",),
    ),
    Mutant(
        "tell of the run at the end only",
        "main.py",
        '        self._runner.set_outputs({"run_id": run_id, "run_url": self._run_url})\n',
        "",
        ("complete",),
    ),
    Mutant(
        "repeat the key that an answer repeats",
        "ci/github/host.py",
        '            text = text.replace(secret, "***")\n',
        "            text = text\n",
        ("no_secret",),
        also=("coval/transport.py", 'body.replace(form.encode(), b"***")', "body"),
    ),
)


def run(arguments: list[str]) -> int:
    """Try every mutant; 1 if one survives."""
    parser = ArgumentParser(prog="python tests/campaign/mutants.py", description=__doc__)
    parser.add_argument("names", nargs="*", help="words of those to try (all)")
    parser.add_argument("--schedules", type=int, default=MOST, help=f"that one may survive ({MOST:,})")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="mutants at a time (one for each core)")
    given = parser.parse_args(arguments)
    chosen = [each for each in MUTANTS if not given.names or any(word in each.name for word in given.names)]
    fates = []
    with ThreadPoolExecutor(given.jobs) as pool:
        for fate in pool.map(lambda each: try_out(each, given.schedules), chosen):
            fates.append(fate)
            sys.stdout.write(f"{fate}\n")
            sys.stdout.flush()
    caught = sum(fate.well for fate in fates)
    sys.stdout.write(f"mutants: {caught} of {len(fates)} caught\n")
    return 0 if fates and caught == len(fates) else 1


def try_out(mutant: Mutant, schedules: int) -> Fate:
    """Play against a mutant until it is caught."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as directory:
        source = Path(directory) / "src"
        shutil.copytree(ROOT / "src", source, ignore=shutil.ignore_patterns("__pycache__"))
        for name, old, new in mutant.edits:
            file = source / "coval_gate" / name
            text = file.read_text(encoding="utf-8")
            if text.count(old) != 1:
                return Fate(mutant, trouble=f"its text is in {name} {text.count(old)} times; it is out of date")
            file.write_text(text.replace(old, new), encoding="utf-8")
        command = [sys.executable, str(Path(__file__).parent), "--jobs", "1", "--stop", "--schedules", str(schedules)]
        environ = os.environ | {"PYTHONPATH": str(source), "PYTHONDONTWRITEBYTECODE": "1"}
        ended = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    return _fate(mutant, ended)


def _fate(mutant: Mutant, ended: subprocess.CompletedProcess[str]) -> Fate:
    played = PLAYED.search(ended.stdout)
    if not played:
        return Fate(mutant, trouble=f"the campaign broke down: {ended.stderr.strip().splitlines()[-1:]}")
    found = VIOLATION.findall(ended.stdout)
    if not found:
        return Fate(mutant, trouble=f"survived {played[1]} schedules")
    promises = tuple(dict.fromkeys(promise for _, promise in found))
    return Fate(mutant, promises, found[0][0], played[1])


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
