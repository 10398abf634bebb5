"""Publishes a report: outputs, files, summary and log, and then the host's pages.

What a workflow relies on comes first. An output or a requested file that cannot be written changes the verdict, because
a later step waits for it; nothing else does. It is rendered beside the thread that notices signals, because a large
report takes longer than the runner waits. A signal removes nothing from a report that is ready a moment later.
"""

import math
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from coval_gate.base.clock import Clock, Interrupted
from coval_gate.base.errors import GateError, InternalError, RunnerError
from coval_gate.base.runtime import Runtime
from coval_gate.base.schedule import BackgroundCall, Procedure, Wait
from coval_gate.base.times import Times
from coval_gate.ci.host import BUG, GATE_NAME, Host, tolerant
from coval_gate.gate.judgement import errored
from coval_gate.gate.verdict import Verdict
from coval_gate.inputs.inputs import FILE, Inputs, InvalidInput
from coval_gate.report.document import Document, Documents
from coval_gate.report.document.model import Report
from coval_gate.report.formats import log, outputs, summary
from coval_gate.report.formats.outputs import FILES, File

if TYPE_CHECKING:
    from coval_gate.features.pages.publisher import PagePublisher

T = TypeVar("T")

PAGES_STATE: Final = "pages"  # the name of the state with the commit's pages, for the post step
AFTER_SIGNAL: Final = 0.75  # s for everything not yet rendered when a signal arrives
LONGEST_VERDICT: Final = 1_000  # characters of a verdict in the log
LEFT_OUT: Final = "The step was interrupted: reports that are not ready are left out."


class Published(NamedTuple):
    """A report, the paths of its files by the inputs that ask for them, and the address of its comment."""

    report: Report
    files: Mapping[str, str] = MappingProxyType({})
    comment_url: str = ""


class NotRendered(Interrupted):
    """The step is ending, and this was not rendered in time."""


class Rendering:
    """Renders formats until shortly after a signal ends the step."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until = math.inf
        self._signalled = False

    def check(self) -> None:
        if self._signalled:
            raise Interrupted

    def end_at(self, until: float) -> None:
        """Render only what is ready by `until`, a time of the clock."""
        self._until = min(self._until, until)

    async def of(self, work: Callable[[], T]) -> T:
        """Raises NotRendered if it takes too long, and what `work` raises."""
        if self._clock.now() >= self._until:
            raise NotRendered
        call = BackgroundCall(work)
        while not call.ended:
            try:
                await Wait(max(0.0, self._until - self._clock.now()), (call,))
            except Interrupted:
                self._signalled = True
                self.end_at(self._clock.now() + AFTER_SIGNAL)
                continue
            if not call.ended:
                self._signalled = True
                raise NotRendered
        return call.result


class Publisher:
    def __init__(self, host: Host, runtime: Runtime) -> None:
        self._host = host
        self._runtime = runtime
        self._rendering = Rendering(runtime.clock)
        self._places: dict[str, str] = {}  # paths of files, by the input that asks for them
        self.is_interrupted = False  # by a signal while it published
        self._documents = Documents()
        self._pages: PagePublisher | None = None

    def pages(self, inputs: Inputs) -> "PagePublisher | None":
        """Return what publishes the pages that the inputs request, or the host always shows; None if there are none."""
        if self._pages is None and self._host.has_pages(inputs):
            from coval_gate.features.pages.publisher import PagePublisher

            self._pages = PagePublisher(self._host, self._runtime, self._documents)
        return self._pages

    def prepare(self, inputs: Inputs) -> list[InvalidInput]:
        """Check, before anything costs money, that every file can be written. Return the problems with their paths.

        Remove the reports of an earlier step: if this one is killed, they must not pass for its own.
        """
        problems: list[InvalidInput] = []
        for file in FILES:
            name = file.input
            if not (path := getattr(inputs, name)) or (inputs.mode == "history" and not file.is_written_in("history")):
                continue
            try:
                place = self._host.workspace.prepare(path, file.example)
            except ValueError as problem:
                problems.append(InvalidInput(name, str(problem)))
                continue
            if place == inputs.config_path:
                problems.append(InvalidInput(name, f"is the same as {FILE}, which the report would overwrite."))
                continue
            if namesake := next((other for other, taken in self._places.items() if taken == place), ""):
                problems.append(InvalidInput(name, f"is the same as {namesake}; give each its own file."))
            self._places[name] = place
        if inputs.mode == "plan":  # it has no run to report, and leaves the reports of other steps alone
            self._places.clear()
        for place in self._places.values():
            self._host.workspace.remove(place)
        return problems

    def write_verdict(self, published: Published) -> None:
        """Write the outputs, and save the same for the pages: a kill leaves both or neither. Raises RunnerError."""
        written = self._outputs(published)
        if pages := self.pages(published.report.inputs):
            pages.owe(published.report)
        self._host.set_outputs(written)

    def _outputs(self, published: Published) -> dict[str, str]:
        document = self._documents.of(published.report, brief=True)
        return outputs.render(document, files=published.files, comment_url=published.comment_url)

    def _rendered(self, report: Report, render: Callable[[Document], T]) -> Procedure[T]:
        return self._rendering.of(lambda: render(self._documents.of(report)))

    async def publish(self, report: Report, times: Times) -> Published:
        """Return the report with files, comment and errors, as far as `times` allow."""
        self._rendering.end_at(times.rendering_ends)
        published = await self._write(Published(report))
        tell_verdict: Callable[[], None] = partial(self._tell_briefly, published.report)
        try:
            if report.inputs.summary:
                with tolerant(self._host):
                    self._host.add_summary(await self._rendered(published.report, _summary(published.report)))
            tell_verdict = await self._log(published)
        except NotRendered:
            self._host.log(LEFT_OUT)
        try:
            if pages := self.pages(report.inputs):
                published = await self._conclude(pages, published, times)
            return published
        finally:
            tell_verdict()  # the last line of the log

    async def _conclude(self, pages: "PagePublisher", published: Published, times: Times) -> Published:
        """Even after an interrupt, the pages get the verdict."""
        with suppress(RunnerError):
            try:
                self._rendering.check()
                url = await pages.conclude(published.report, times)
            except Interrupted:
                self.is_interrupted = True
                return published
            if url:
                published = published._replace(comment_url=url)
                self._host.set_outputs(self._outputs(published))
        return published

    async def _write(self, published: Published) -> Published:
        """If anything cannot be written, the verdict is an error; the first error counts."""
        written = published
        for file in (None, *FILES):  # the outputs come first
            try:
                if file is None:
                    self.write_verdict(written)
                else:
                    written = await self._write_file(file, written)
            except NotRendered:
                break
            except GateError as error:
                written = self._with_error(written, error)
            except Exception as error:  # noqa: BLE001 - a format that fails must not stop the others
                self._host.fold(BUG, traceback.format_exc().splitlines())
                written = self._with_error(written, InternalError(error))
        if written is not published:
            with suppress(RunnerError):
                self.write_verdict(written)
        return written

    def _with_error(self, published: Published, error: GateError) -> Published:
        """A report that is red already stays, with a warning about another cause."""
        report, judgement = published.report, errored(error)
        if report.judgement.passes_gate:
            return published._replace(report=report._replace(judgement=judgement))
        if report.judgement.cause != judgement.cause:
            self._host.annotate("warning", GATE_NAME, error.what)
        return published

    async def _write_file(self, file: File, published: Published) -> Published:
        if not (path := self._places.get(file.input)):
            return published
        render = _renderer(file, published.report)
        text = await self._rendered(published.report, lambda document: self._host.redact(render(document)))
        self._host.workspace.write(path, text)
        return published._replace(files={**published.files, file.input: path})

    def _tell_briefly(self, report: Report) -> None:
        document = self._documents.of(report, brief=True)
        if self._annotates(report) and not document.passes:
            self._host.annotate("error", f"{GATE_NAME}: {document.title}", document.reason)
        else:
            self._host.log(document.headline(LONGEST_VERDICT))

    def _annotates(self, report: Report) -> bool:
        return self._host.annotates and report.inputs.annotations

    async def _log(self, published: Published) -> Callable[[], None]:
        """End short and unfolded: readers of a failing step's log start at its end.

        Return the function that logs the verdict. Messages about the pages come before it.
        """
        report, judgement = published.report, published.report.judgement
        closing = await self._rendered(report, log.Closing)
        annotates = self._annotates(report)
        fails = not judgement.passes_gate
        # Each page may fail with a warning of its own; the host has reserved one.
        pages = self.pages(report.inputs)
        room = self._host.room_for_warnings - max(0, pages.outstanding(report) - 1 if pages else 0)
        first = closing.annotations(max(0, room)) if annotates and fails else []
        worst = closing.worst_lines() if fails and not first else []
        shown = len(closing.worst) if worst else len(first)
        with tolerant(self._host):
            self._host.show_outputs(self._outputs(published))
        groups = [lines for lines in (closing.simulation_lines(after=shown), closing.flips) if lines]
        for title, *lines in groups if not self._host.folds else ():  # the worst would be far above the end
            self._host.fold(title, lines)
        for annotation in reversed(first):  # the worst comes last, where readers of a log start
            self._host.annotate("warning", *annotation)
        self._host.quote(*worst)
        for title, *lines in groups if self._host.folds else ():
            self._host.fold(title, lines)
        self._host.quote(*closing.legs)
        if closing.repeat:
            self._host.log(closing.repeat)
        if annotates and fails:
            return partial(self._host.annotate, "error", *closing.verdict_beside(len(first)))
        if annotates and (judgement.is_tolerated or judgement.passed_flaky or closing.is_doubtful):
            return partial(self._host.annotate, "warning", *closing.verdict)
        if annotates and (judgement.verdict is Verdict.SKIPPED or judgement.passed_unjudged):
            return partial(self._host.annotate, "notice", *closing.verdict)
        write = self._host.log_error if judgement.verdict is Verdict.ERROR else self._host.log
        for line in closing.explanation:
            write(line)
        return partial(self._host.log, closing.last_line)


def _renderer(file: File, report: Report) -> Callable[[Document], str]:
    if past := report.history:
        from coval_gate.features.nights.formats import RENDERERS as OF_HISTORY

        return lambda _: OF_HISTORY[file.name](past)
    from coval_gate.features.files import RENDERERS

    return RENDERERS[file.name]


def _summary(report: Report) -> Callable[[Document], str]:
    if past := report.history:
        from coval_gate.features.nights.formats import summary as of_history

        return lambda _: of_history(past)
    return summary.render
