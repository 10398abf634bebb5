"""A job of GitLab as a host: sections of its log, and reports that GitLab reads from the workspace.

Sources: GitLab's "Custom collapsible sections", "CI/CD artifacts reports types" (dotenv, annotations), and GitLab's
`ParseDotenvArtifactService`, which reads a dotenv report line by line.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from coval_gate.base.runtime import Runtime
from coval_gate.base.text import json_in, one_line
from coval_gate.ci.host import Context, Page
from coval_gate.ci.plain import PlainHost
from coval_gate.ci.workspace import Workspace
from coval_gate.inputs.checks import wanted_pages
from coval_gate.inputs.inputs import Inputs

DOTENV: Final = "coval-gate.env"
DOTENV_LIMIT: Final = 5 * 1024  # bytes; GitLab drops a report of this size or more
REPORTED: Final = ("run_id", "run_url", "verdict", "status", "passed")  # outputs in the dotenv report
RUNS: Final = "run_ids"  # the same for all runs, for a later job that waits for them
PLAIN: Final = re.compile(r"[\w.,:/?&=%+@~-]*", re.ASCII)  # GitLab takes no spaces, and expands what follows a $
ANNOTATIONS: Final = "coval-gate-annotations.json"
ANNOTATED: Final = "Coval"  # the heading of the links
MOST_LINKS: Final = 20
LONGEST_LABEL: Final = 100  # characters
SECTION: Final = re.compile(r"section_(?=(?:start|end):)")
TO_LINE_START: Final = "\x1b[0K"  # what GitLab's own sections begin and end with


class GitLabHost(PlainHost):
    """Later jobs read its dotenv report as variables, and its page links to the run in Coval."""

    folds = True

    def __init__(self, runtime: Runtime) -> None:
        super().__init__(runtime)
        self._sections = 0
        root = self._environ.get("CI_PROJECT_DIR", "")
        # A script begins there. Tools that run jobs on a laptop may name a directory of the container.
        self.workspace = Workspace(root if Path(root).is_dir() else "")
        self._token = self._environ.get("GITLAB_TOKEN", "").strip()
        self.mask(self._token)

    def pages(self, inputs: Inputs, context: Context) -> Sequence[Page]:
        if not wanted_pages(inputs):  # as in most steps, whose launch waits for nothing of theirs
            return ()
        from coval_gate.ci.gitlab_pages import pages_of

        return pages_of(self, self._token, self._environ, inputs, context, self._runtime)

    def _clean(self, text: str) -> str:
        """Break markers of sections, too. Without carriage returns and escapes, which are gone, they have no effect."""
        return SECTION.sub("section\u200b_", super()._clean(text))

    @contextmanager
    def group(self, title: str) -> Iterator[None]:
        """Leave the section open: people watch the run's progress in it."""
        with self._section(title):
            yield

    def fold(self, title: str, lines: Iterable[str]) -> None:
        with self._section(title, "[collapsed=true]"):
            self.quote(*lines)

    @contextmanager
    def _section(self, title: str, option: str = "") -> Iterator[None]:
        self._sections += 1
        # Names must differ within the log, which the post step writes to, too.
        name = f"coval_gate_{self._time()}_{self._sections}"
        heading = self._clean(one_line(title))
        self._emit(f"{TO_LINE_START}section_start:{self._time()}:{name}{option}\r{TO_LINE_START}{heading}")
        try:
            yield
        finally:
            self._emit(f"{TO_LINE_START}section_end:{self._time()}:{name}\r{TO_LINE_START}")

    def _time(self) -> int:
        return int(self._runtime.clock.time())

    def set_outputs(self, outputs: Mapping[str, str]) -> None:
        """Write those that GitLab can show or hand over. Raises RunnerError."""
        super().set_outputs(outputs)
        self.workspace.write(DOTENV, dotenv(self._outputs))
        links = links_in(self._outputs)
        if links:
            self.workspace.write(ANNOTATIONS, json.dumps({ANNOTATED: links}, ensure_ascii=False) + "\n")
        else:
            self.workspace.remove(ANNOTATIONS)  # an earlier step's, or one of the repository


def dotenv(outputs: Mapping[str, str]) -> str:
    """Leave a value with special characters empty, because a changed id or URL would be a wrong one."""
    runs = json_in(outputs.get(RUNS, ""))
    values = {name: outputs.get(name, "") for name in REPORTED}
    values[RUNS] = ",".join(map(str, runs)) if isinstance(runs, list) else ""
    lines, room = [], DOTENV_LIMIT - 1
    for left, (name, value) in enumerate(values.items(), 1 - len(values)):
        line = f"{name.upper()}={value if PLAIN.fullmatch(value) else ''}\n"
        # Each of the lines that follow needs room at least for its name.
        if len(line) > room + left * len("PASSED=\n") * 2:
            line = f"{name.upper()}=\n"
        lines.append(line)
        room -= len(line)
    return "".join(lines)


def links_in(outputs: Mapping[str, str]) -> list[dict[str, Any]]:
    """Link the first run, or the run of each leg."""
    legs = json_in(outputs.get("legs", ""))
    of_legs = [leg for leg in legs if isinstance(leg, dict)] if isinstance(legs, list) else []
    named = {f"Run of {leg.get('name')}": str(leg.get("run_url") or "") for leg in of_legs[:MOST_LINKS]}
    urls = named if len(of_legs) > 1 else {"Run in Coval": outputs.get("run_url", "")}
    return [
        {"external_link": {"label": one_line(label, LONGEST_LABEL), "url": url}} for label, url in urls.items() if url
    ]
