"""Bitbucket's page: a Code Insights report on the tested commit, written through the proxy of its pipelines.

The proxy accepts plain HTTP for Bitbucket's API only, and adds the credential itself: the gate sends none. It listens
on the step's own machine, and so a container reaches it by another name. A pipeline on a runner of one's own may lack
it.

Sources: "Reports" in Bitbucket Cloud's REST API reference; "Code insights" in Bitbucket Cloud's documentation.
"""

import re
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import quote

from coval_gate.base import titles
from coval_gate.base.errors import HostError
from coval_gate.base.runtime import Runtime
from coval_gate.base.secret import Secret
from coval_gate.base.text import quoted
from coval_gate.base.transport import NetworkError, Request, Response, Server, Timeouts, Transport
from coval_gate.ci.host import IN_PROGRESS, Annotation, Context, Host, Page, PageText
from coval_gate.features.systems.plain import PlainHost
from coval_gate.inputs.inputs import Inputs

REPORT_INPUT: Final = "code_insights"  # no input turns the report on or off
REPORTING_MODES: Final = ("run", "wait")  # those that reach a verdict
API: Final = "http://api.bitbucket.org"
PROXIES: Final = ("http://localhost:29418", "http://host.docker.internal:29418")  # in the step, in a container of it
PROXY_TIMEOUTS: Final = Timeouts(connect=1.0, response=3.0, final=0.5)
REPORT_TIMEOUT: Final = 3.0  # s for all requests before the launch, and again after the verdict
SLUG: Final = re.compile(r"[\w.{}-]{1,128}", re.ASCII)
DATA_TYPES: Final = {"count": "NUMBER", "percentage": "PERCENTAGE", "duration": "DURATION"}  # of figures
NO_PROXY: Final = (
    "Reports go through the proxy of Bitbucket's own pipelines, which does not answer here. "
    "The verdict does not depend on it."
)
LEFT_TO_POST: Final = "The verdict does not depend on it. coval-gate post, in the step's after-script, tries again."


class BitbucketHost(PlainHost):
    """It always shows a report on the commit, which needs no input and no token."""

    def has_pages(self, inputs: Inputs) -> bool:
        return inputs.mode in REPORTING_MODES or super().has_pages(inputs)

    def pages(self, inputs: Inputs, context: Context) -> Sequence[Page]:
        pages = super().pages(inputs, context)
        if inputs.mode not in REPORTING_MODES:
            return pages
        names = [self._environ.get(name, "").strip() for name in ("BITBUCKET_WORKSPACE", "BITBUCKET_REPO_SLUG")]
        missing = not all(map(SLUG.fullmatch, names))
        obstacle = "BITBUCKET_WORKSPACE and BITBUCKET_REPO_SLUG do not name a repository" if missing else ""
        repository = "/".join(quote(name, safe="") for name in names)
        return [*pages, InsightsReport(REPORT_INPUT, obstacle, self, repository, self._runtime)]


class InsightsReport(Page):
    """Its id stays the same, so that a later attempt, or pipeline, replaces it."""

    on_commit = True

    def __init__(self, input_: str, obstacle: str, host: Host, repository: str, runtime: Runtime) -> None:
        super().__init__(input_, obstacle)
        self._host = host
        self._repository = repository
        self._clock = runtime.clock
        self._proxies = [_transport(proxy, runtime) for proxy in PROXIES]  # those that may be there
        self._problem: HostError | None = None

    def takes(self, state: str) -> bool:
        """Return False for a step that evaluated nothing: its report would be pending for ever."""
        return state != "skipped"

    async def show(self, text: PageText, context: Context, *, until: float) -> None:  # noqa: ARG002
        """A problem before the verdict is raised only then, so that it shows once."""
        try:
            if self._problem:
                raise self._problem
            await self._show(text, min(until, self._clock.now() + REPORT_TIMEOUT))
        except HostError as error:
            if text.state != IN_PROGRESS:
                raise
            self._problem = error

    async def _show(self, text: PageText, until: float) -> None:
        if not text.sha:
            raise HostError(titles.NO_BITBUCKET_REPORT, "The tested commit is unknown.", forbidden=True)
        id_ = self.made or text.name
        sha, id_in_path = quote(text.sha, safe=""), quote(id_, safe="")
        path = f"/2.0/repositories/{self._repository}/commit/{sha}/reports/{id_in_path}"
        if not self.made:  # what an earlier attempt reported; its annotations would stay beside the new ones
            await self._send("DELETE", path, until)
        await self._send("PUT", path, until, json=report_body(text))
        self.made, self.certain = id_, True  # there is one of each id, whatever became of earlier calls
        annotations = [
            annotation_body(annotation, f"{id_}-{number}") for number, annotation in enumerate(text.annotations, 1)
        ]
        if annotations:
            try:
                await self._send("POST", f"{path}/annotations", until, json=annotations)
            except HostError as error:
                self._host.log(f"The report in Bitbucket lacks its annotations: {error.what}")

    async def _send(self, verb: str, path: str, until: float, json: Any = None) -> None:
        """Try each proxy until one can be reached. Raises HostError unless it is done, or deletes."""
        call = f"{verb} {path}"
        while self._proxies and self._clock.now() < until:
            try:
                response = await self._proxies[0].send(Request(verb, path, json=json), until=until)
            except NetworkError as error:
                if error.arrived:
                    raise HostError(titles.NO_BITBUCKET_REPORT, f"{call} {error.what}", advice=LEFT_TO_POST) from None
                del self._proxies[0]
            else:
                if not (response.ok or verb == "DELETE"):
                    raise _refused(call, response)
                return
        if self._proxies:
            raise HostError(
                titles.NO_BITBUCKET_REPORT, f"{call} was not sent: no time is left for it.", advice=LEFT_TO_POST
            )
        raise HostError(titles.NO_BITBUCKET_REPORT, f"{call} could not be sent.", forbidden=True, advice=NO_PROXY)


def report_body(text: PageText) -> dict[str, Any]:
    body = {
        "title": text.title,
        "details": text.summary,
        "report_type": "TEST",
        "reporter": "Coval Gate",
        "result": "PENDING" if text.state == IN_PROGRESS else "PASSED" if text.passes else "FAILED",
        "data": [
            # Durations are in ms.
            {"title": name, "type": DATA_TYPES[kind], "value": value * 1000 if kind == "duration" else value}
            for name, value, kind in text.figures
        ],
    }
    return body | ({"link": text.link} if text.link.startswith(("https://", "http://")) else {})


def annotation_body(annotation: Annotation, id_: str) -> dict[str, Any]:
    return {
        "external_id": id_,
        "annotation_type": "BUG",
        "summary": annotation.title,
        "details": annotation.message,
        "result": "FAILED",
        "severity": "HIGH",
    }


def _refused(call: str, response: Response) -> HostError:
    payload = response.content
    error = payload.get("error", payload) if isinstance(payload, dict) else None
    message = error.get("message") if isinstance(error, dict) else None
    said = f" ({quoted(message, 200)})" if isinstance(message, str) and message else ""
    forbidden = response.status < 500 and response.status != 429
    advice = "The verdict does not depend on it." if forbidden else LEFT_TO_POST
    what = f"{call} returned {response.status}{said}."
    return HostError(titles.NO_BITBUCKET_REPORT, what, forbidden=forbidden, advice=advice)


def _transport(proxy: str, runtime: Runtime) -> Transport:
    def new_session() -> Any:
        session = runtime.new_session()
        session.trust_env = False
        session.proxies = {"http": proxy}
        return session

    server = Server(root=API, credential=Secret(""), credential_header="", timeouts=PROXY_TIMEOUTS)
    return Transport(server, clock=runtime.clock, new_session=new_session)
