"""The way to GitLab's REST API with the token of GITLAB_TOKEN: rate limits, and errors that say what to do.

Sources: GitLab's "REST API" ("Pagination response headers"), "Notes API", "Commits API" and "Rate limits".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from coval_gate.base import titles
from coval_gate.base.transport import Server, Timeouts
from coval_gate.ci.calls import LIMIT_PAUSE, HostApi, Service, pause_in

if TYPE_CHECKING:
    from coval_gate.base.runtime import Runtime
    from coval_gate.base.schedule import Procedure
    from coval_gate.base.secret import Secret
    from coval_gate.base.transport import Response

NEXT_PAGE: Final = "x-next-page"  # a response's header: a number, empty on the last page
CREDENTIAL_HEADER: Final = "PRIVATE-TOKEN"
TIMEOUTS: Final = Timeouts(connect=10.0, response=15.0, final=1.0)  # GitLab may hold a status for its lock for 10 s
BODY_LIMIT: Final = 32 * 1024 * 1024  # bytes; a page has at most 100 notes, most of them short
CONFLICT: Final = 409  # another request changes the same status


def _pause(response: Response, message: str, now: float) -> float | None:  # noqa: ARG001
    if response.status not in (CONFLICT, 429) and response.status < 500:
        return None
    pause = pause_in(response, response.headers.get("ratelimit-reset", ""), now)
    return LIMIT_PAUSE if pause is None and response.status == 429 else pause


SERVICE: Final = Service(
    name="GitLab",
    too_late=titles.GITLAB_TOO_LATE,
    unavailable=titles.GITLAB_UNAVAILABLE,
    limit=titles.GITLAB_LIMIT,
    rejected=titles.GITLAB_REJECTED,
    pause=_pause,
    has_next=lambda headers: bool(headers.get(NEXT_PAGE)),
    most_pages=50,  # GitLab allows at most 5,000 comments
    forbidden={
        401: "GitLab does not accept GITLAB_TOKEN: set a current token. ",
        403: "",
        404: "Either it does not exist, or the token cannot read it: GitLab returns 404 for both. ",
    },
    permission="GITLAB_TOKEN needs the scope api and the role {}.",
    moved="If the project was moved after the job began, start a new pipeline.",
    address="Check CI_API_V4_URL, the network and any proxies.",
    left="The post step sets the commit status.",
    conflicts=(CONFLICT,),
)


class GitLab(HostApi):
    def __init__(self, api_url: str, token: Secret, runtime: Runtime) -> None:
        server = Server(
            root=api_url.rstrip("/"),
            credential=token,
            credential_header=CREDENTIAL_HEADER,
            headers={"Accept": "application/json"},
            timeouts=TIMEOUTS,
            body_limit=BODY_LIMIT,
        )
        super().__init__(SERVICE, server, runtime)

    def merge_request_head(self, project: str, number: int, *, until: float) -> Procedure[str]:
        return self.text_at(merge_request_path(project, number), "sha", permission="Reporter", until=until)


def project_path(project: str) -> str:
    return f"/projects/{quote(project, safe='')}"


def merge_request_path(project: str, number: int) -> str:
    return f"{project_path(project)}/merge_requests/{number}"
