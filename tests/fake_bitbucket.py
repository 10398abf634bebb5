"""A fake of the proxy of Bitbucket's pipelines, and behind it of the reports of one repository, with faults.

It gets requests as proxies do, with the whole URL. Sources: "Reports" in Bitbucket Cloud's REST API reference, and its
error messages.
"""

import re
from dataclasses import dataclass, field
from typing import Any

import requests

from coval_gate.base.transport import HttpSession
from coval_sandbox.http import SeenRequest
from fake_host import FakeHost, Response

ROOT = "http://api.bitbucket.org/2.0/repositories/acme/voice-agent/commit/"
PATH = re.compile(rf"{re.escape(ROOT)}([0-9a-f]{{12,40}})/reports/([\w.-]+)(/annotations)?")
NOWHERE = "http://127.0.0.1:1"  # a port that nothing listens on
LIMITS = {"title": 450, "details": 2000, "reporter": 450, "link": 2000, "summary": 450, "external_id": 450}
REPORT = {"title", "details", "report_type", "reporter", "link", "result", "data"}
ANNOTATION = {"external_id", "annotation_type", "summary", "details", "result", "severity"}
WORDS = {
    "report_type": {"SECURITY", "COVERAGE", "TEST", "BUG"},
    "annotation_type": {"VULNERABILITY", "CODE_SMELL", "BUG"},
    "severity": {"CRITICAL", "HIGH", "MEDIUM", "LOW"},
}
FIGURES = {"NUMBER", "PERCENTAGE", "DURATION"}


@dataclass
class Report:
    """A report on a commit: its fields, and its annotations by their id."""

    fields: dict[str, Any]
    annotations: dict[str, dict[str, Any]] = field(default_factory=dict)


class FakeBitbucket(FakeHost):
    """The proxy. `reports`: by commit and id. `refused`: a status by method. `results`: of every report written."""

    def __init__(self, **refused: int) -> None:
        super().__init__("")
        self.refused = refused
        self.reports: dict[tuple[str, str], Report] = {}
        self.results: list[str] = []

    def perform(self, request: SeenRequest, path: str) -> Response:
        if status := self.refused.get(request.method):
            text = "Something went wrong: <b>::error::x</b>\n::set-x"
            return Response(status, {"type": "error", "error": {"message": text}})
        place = PATH.fullmatch(path)
        if not place:
            return Response(404, {"type": "error", "error": {"message": f"Not found: {path}"}})
        problem = self._perform(request, (place[1], place[2]), annotations=bool(place[3]))
        if problem:
            return Response(400, {"key": "report-service.general.bad-request", "message": problem})
        return Response(200, {})

    def _perform(self, request: SeenRequest, key: tuple[str, str], *, annotations: bool) -> str:
        """Answer a request, and return what is wrong with it."""
        match request.method, annotations:
            case "DELETE", False:
                self.reports.pop(key, None)
                return ""
            case "PUT", False:
                body = request.json
                if problem := problem_with(body, REPORT, {"PASSED", "FAILED", "PENDING"}):
                    return problem
                if len(body["data"]) > 10 or not {figure["type"] for figure in body["data"]} <= FIGURES:
                    return "The data field is not valid."
                self.reports.setdefault(key, Report({})).fields = body
                self.results.append(body["result"])
                return ""
            case "POST", True if key in self.reports:
                given = request.json
                if not 0 < len(given) <= 100:
                    return "At most 100 annotations."
                problems = [problem_with(one, ANNOTATION, {"PASSED", "FAILED", "SKIPPED", "IGNORED"}) for one in given]
                if any(problems):
                    return next(filter(None, problems))
                self.reports[key].annotations |= {one["external_id"]: one for one in given}
                return ""
        return "Not allowed."


def problem_with(body: dict[str, Any], known: set[str], results: set[str]) -> str:
    """Return what Bitbucket would refuse in a report or an annotation; empty if nothing."""
    if unknown := set(body) - known:
        return f"Unknown fields: {unknown}"
    for name, most in LIMITS.items():
        if name in body and not 0 < len(body[name]) <= most:
            return f"The {name} field cannot contain more than {most} characters."
    for name, words in {**WORDS, "result": results}.items():
        if name in body and body[name] not in words:
            return f"The {name} field is not valid."
    return ""


class Session(HttpSession):
    """A session that reaches a proxy at the address of a fake. `proxies_used`: each proxy's own address."""

    fakes: dict[str, str] = {}  # noqa: RUF012 - replaced in a subclass
    proxies_used: list[str] = []  # noqa: RUF012

    def send(self, request: requests.PreparedRequest, **settings: Any) -> requests.Response:
        if proxy := settings.get("proxies", {}).get("http"):
            self.proxies_used.append(proxy)
            settings["proxies"] = {"http": self.fakes.get(proxy, NOWHERE)}
        return super().send(request, **settings)


def session_with(**fakes: str) -> type[Session]:
    """Return a session by the names of the hosts of proxies, and the addresses of their fakes."""
    at = {f"http://{host.replace('_', '.')}:29418": url for host, url in fakes.items()}
    return type("FakedSession", (Session,), {"fakes": at, "proxies_used": []})
