"""Updates the host's pages: at the launch, with the verdict, and in the post step if it has to.

Pages only inform: no problem with them changes the verdict.
"""

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Literal

from coval_gate.base.errors import HostError, RunnerError
from coval_gate.base.runtime import Runtime
from coval_gate.base.text import in_words, json_in
from coval_gate.base.times import Times
from coval_gate.ci.host import GATE_NAME, IN_PROGRESS, Annotation, Context, Host, Page, PageText, tolerant
from coval_gate.features.pages import texts
from coval_gate.gate.judgement import UNFINISHED_RUN
from coval_gate.gate.verdict import NoneSelected, Verdict
from coval_gate.inputs.checks import COMMIT_PAGES
from coval_gate.inputs.inputs import Inputs, InvalidInput
from coval_gate.report.document import Documents
from coval_gate.report.document.model import Report
from coval_gate.step.publish import PAGES_STATE


class KeptPage:
    """`owed`: what the post step must show if this step cannot. `is_done`: nothing is left to do."""

    def __init__(self, page: Page, saved: dict[str, Any]) -> None:
        """Read what can be read of the saved state."""
        made = saved.get("made")
        self.page = page
        self.page.made = made if isinstance(made, str) else ""
        self.owed = read_owed(saved.get("owed"))
        self.is_done = saved.get("is_done") is True
        self.shown: PageText | None = None

    @property
    def state(self) -> dict[str, Any]:
        owed = self.owed and self.owed._asdict()
        return {"input": self.page.input, "made": self.page.made, "is_done": self.is_done, "owed": owed}


class PagePublisher:
    def __init__(self, host: Host, runtime: Runtime, documents: Documents) -> None:
        self._host = host
        self._clock = runtime.clock
        self._kept: list[KeptPage] | None = None
        self._saved = ""
        self._references: tuple[str, ...] = ()
        self._skipped: set[str] = set()  # reasons that were logged
        self._documents = documents

    def problems(self, inputs: Inputs, context: Context) -> list[InvalidInput]:
        pages = [kept.page for kept in self._pages(inputs, context)]
        return [InvalidInput(page.input, page.problem) for page in pages if page.problem]

    async def locate(self, context: Context, inputs: Inputs, *, until: float) -> Context:
        """Return `context` with the tested commit, if the event does not name it and a page needs it."""
        pages = self._pages(inputs, context)
        if not pages or context.sha_is_known or not self._is_reachable(pages[0].page):
            return context
        with tolerant(self._host):
            return await pages[0].page.locate(context, until=until)
        return context

    def owe(self, report: Report) -> None:
        """Save the final state of the commit's pages for the post step, in case this step cannot show it.

        If the run is only launched, a later step shows it, perhaps before the post step runs.
        """
        for kept in self._pages_of_commit(report):
            if report.judgement.verdict is None:
                kept.is_done = True
            elif _takes(kept.page, report) and _may_be_located(report):
                kept.owed = self._text(kept.page, report, brief=True)
        self._save()

    async def announce(self, report: Report, *, until: float) -> None:
        self.owe(report._replace(judgement=UNFINISHED_RUN))
        for kept in self._pages_of_commit(report):
            await self._set(kept, report, brief=True, until=until)

    async def conclude(self, report: Report, times: Times) -> str:
        """Return the URL of the first page that has one; empty if none has."""
        first = self._clock.now()
        kept_pages = sorted(self._pages(report.inputs, report.context), key=lambda kept: not kept.page.on_commit)
        for kept in kept_pages:
            if await self._set(kept, report, until=times.updating_of(self._clock.now(), first)):
                kept.is_done = True
                self._save()
        return next((kept.page.url for kept in kept_pages if kept.page.url), "")

    def outstanding(self, report: Report) -> int:
        """Return how many pages are yet to show the report."""
        pages = [kept.page for kept in self._pages(report.inputs, report.context)]
        return sum(_takes(page, report) and not page.obstacle for page in pages)

    def is_open(self, inputs: Inputs, context: Context) -> bool:
        """Return whether one of the commit's pages still lacks its final state."""
        return any(not kept.is_done for kept in self._pages(inputs, context) if kept.page.on_commit)

    @property
    def are_saved(self) -> bool:
        """Whether the main step saved the final state, with the commit, of every page that still lacks it."""
        return all(kept.is_done or (kept.owed and kept.owed.sha) for kept in self._kept or () if kept.page.on_commit)

    async def close(self, report: Report, times: Times) -> None:
        """If the main step saved nothing, show the `report`."""
        first = self._clock.now()
        for kept in self._pages_of_commit(report):
            if kept.is_done:
                continue
            owed = kept.owed
            if owed and not owed.sha:
                if not report.context.sha_is_known:
                    continue  # the main step has logged it
                here = self._text(kept.page, report, brief=True)
                owed = owed._replace(sha=here.sha, name=here.name)
            kept.page.certain = False
            until = times.updating_of(self._clock.now(), first)
            if await self._set(kept, report, owed=owed, brief=True, until=until):
                kept.is_done = True
                self._save()

    def _pages(self, inputs: Inputs, context: Context) -> list[KeptPage]:
        if self._kept is None:
            saved = read_saved(self._host.read_state(PAGES_STATE))
            pages = self._host.pages(inputs, context)
            self._kept = [KeptPage(page, saved.get(page.input, {})) for page in pages]
        return self._kept

    def _pages_of_commit(self, report: Report) -> list[KeptPage]:
        return [kept for kept in self._pages(report.inputs, report.context) if kept.page.on_commit]

    async def _set(
        self, kept: KeptPage, report: Report, *, until: float, brief: bool = False, owed: PageText | None = None
    ) -> bool:
        """Show the report, or what is `owed`, on a page. Return False if a later attempt may succeed."""
        page = kept.page
        if owed is None and not _takes(page, report):
            return True
        if owed is None and not self._has_place(page, report.context):
            return not _may_be_located(report)
        if not self._is_reachable(page):
            return True
        forbidden = False
        with tolerant(self._host):
            text = owed or self._text(page, report, brief=brief)
            if text != kept.shown:
                try:
                    await page.show(text, report.context, until=until)
                except HostError as error:
                    forbidden = error.forbidden
                    raise
                kept.shown = text
                self._save()
            return page.certain
        return forbidden and page.certain

    def _has_place(self, page: Page, context: Context) -> bool:
        """Return whether the page has its commit or pull request; log if it has none."""
        if page.on_commit:
            return context.sha_is_known or self._skip("the tested commit is unknown", lambda other: other.on_commit)
        is_known = context.pull_request is not None or context.head is not None
        if not is_known:
            self._host.log("There is no pull request to comment on.")
        return is_known

    def _is_reachable(self, page: Page) -> bool:
        return not page.obstacle or self._skip(page.obstacle, lambda other: other.obstacle == page.obstacle)

    def _skip(self, why: str, concerns: Callable[[Page], bool]) -> Literal[False]:
        """Log once why the pages that it concerns are skipped."""
        if why not in self._skipped:
            self._skipped.add(why)
            names = [kept.page.input.replace("_", " ") for kept in self._kept or () if concerns(kept.page)]
            self._host.annotate("notice", GATE_NAME, f"Skipping {in_words(names)}: {why}.")
        return False

    def _text(self, page: Page, report: Report, *, brief: bool) -> PageText:
        """Return the report for the page, without secrets, and with all references so far."""
        redact = self._host.redact
        document = self._documents.of(report, brief=brief)
        text = texts.render(document, page.input, brief=brief)
        if text.references:
            new = tuple(map(redact, text.references))
            self._references = (*(reference for reference in self._references if reference not in new), *new)
        return text._replace(
            name=redact(text.name),
            title=redact(text.title),
            summary=redact(text.summary),
            link=redact(text.link),
            annotations=tuple(Annotation(*map(redact, annotation)) for annotation in text.annotations),
            references=self._references if text.references else (),
        )

    def _save(self) -> None:
        saved = json.dumps([kept.state for kept in self._kept or () if kept.page.on_commit])
        if saved not in (self._saved, "[]"):
            self._saved = saved
            with suppress(RunnerError):
                self._host.save_state({PAGES_STATE: saved})


def read_saved(text: str) -> dict[str, dict[str, Any]]:
    """Return states by input; empty if nothing was saved, or nothing readable."""
    saved = json_in(text)
    entries = [item for item in saved if isinstance(item, dict)] if isinstance(saved, list) else []
    return {entry["input"]: entry for entry in entries if isinstance(entry.get("input"), str)}


def with_owed(inputs: Inputs, text: str) -> Inputs:
    """Return the post step's inputs with the pages that the main step owes: its command line may have named them."""
    named: dict[str, Any] = {}
    for name, entry in read_saved(text).items():
        owed = read_owed(entry.get("owed"))
        if name in COMMIT_PAGES and owed and not getattr(inputs, name):
            named[name] = owed.name
    return inputs._replace(**named)


def read_owed(saved: Any) -> PageText | None:
    """Return None if it cannot be read."""
    try:
        text = PageText(**saved | {"annotations": (), "figures": (), "references": tuple(saved["references"])})
    except (TypeError, KeyError):
        return None
    texts = (text.state, text.name, text.title, text.summary, text.link, text.sha, *text.references)
    return text if all(isinstance(part, str) for part in texts) and isinstance(text.passes, bool) else None


def _takes(page: Page, report: Report) -> bool:
    is_met = isinstance(report.judgement.cause, NoneSelected)
    return not page.problem and page.takes(Verdict.PASSED if is_met else report.judgement.verdict or IN_PROGRESS)


def _may_be_located(report: Report) -> bool:
    """Return whether the commit is known, or the post step may learn it from the run that the step waits for."""
    return report.context.sha_is_known or report.inputs.mode == "wait"
