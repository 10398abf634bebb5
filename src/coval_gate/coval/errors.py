"""Turns an answer that is no success, or no answer at all, into one readable error.

Coval and the gateways before it use four shapes: an `error` object with code, message and details; an `error` that is
text; a bare `message`; and whatever a proxy puts in the way, usually HTML.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final

from coval_gate.errors import CovalError, NotFound, Rejected, Unavailable
from coval_gate.text import one_line

if TYPE_CHECKING:
    from collections.abc import Mapping

    from coval_gate.network import NetworkError
    from coval_gate.transport import Request, Response

API_GUIDE: Final = "https://docs.coval.dev"
LONGEST_WAIT: Final = 10.0**7  # s; no clock sleeps longer at a time
STATUS_PAGE: Final = "https://status.coval.dev"
REQUEST_ID_HEADERS: Final = ("x-request-id", "x-amzn-requestid")
PASSING_STATUSES: Final = frozenset({408, 429})  # beside 500 and above
ODD_STATUSES: Final = frozenset({304, 409, 421, 425})  # for a read of something that is there

ADVICE: Final = {
    400: ("Request refused", "Correct what Coval finds wrong with the request."),
    401: (
        "API key refused",
        "Check that api_key holds a current key of the right Coval organization, whole and not revoked.",
    ),
    403: (
        "Permission missing",
        "Give the API key the permissions runs:read and runs:write, or use a key with full access.",
    ),
    412: ("Workspace missing", "Set workspace_id to a workspace that the API key belongs to."),
}
LAUNCH_NOT_FOUND: Final = (
    "Check agent_id, persona_id, test_set_id, metric_ids and mutation_ids: each must exist in the organization and "
    "workspace of the API key. If all do, check api_base_url."
)
RUN_NOT_FOUND: Final = (
    "Check run_id: the run must exist in the organization and workspace of the API key. If it does, check api_base_url."
)
LASTING: Final = {  # by the trouble that waiting cannot mend: title and advice
    "certificate": (
        "Certificate not trusted",
        "Check api_base_url. Behind a proxy that reads traffic, set REQUESTS_CA_BUNDLE to its certificate.",
    ),
    "bundle": (
        "Certificate file unusable",
        "The action runs in a container: name a file inside the workspace (/github/workspace/…).",
    ),
    "address": ("Wrong address", "Check api_base_url, and the proxy variables if there are any."),
}
NOT_COVAL: Final = "Something other than Coval answered: check api_base_url, and the proxies on the way."


@dataclass(frozen=True, slots=True)
class Said:
    """What an error answer says, whatever its shape; every part on one line and possibly empty."""

    message: str = ""
    code: str = ""
    fields: tuple[str, ...] = ()
    request_id: str = ""
    is_json: bool = True
    is_coval: bool = False  # in the shape that only Coval itself uses

    def __str__(self) -> str:
        told = ": ".join(part for part in (self.code, self.message.rstrip(".")) if part)
        return "; ".join(part for part in (told, self.request_id and f"request id {self.request_id}") if part)


def read_error(body: bytes, headers: Mapping[str, str]) -> Said:
    """Read an error answer in any of its shapes."""
    request_id = next((headers[name] for name in REQUEST_ID_HEADERS if headers.get(name)), "")
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        kind = headers.get("content-type", "").partition(";")[0]
        found = f"no JSON but {one_line(kind, 40) or 'an unknown type'}" if body else ""
        return Said(found, request_id=one_line(request_id, 80), is_json=False)
    request_id = request_id or _text(answer.get("request_id"))
    error = answer.get("error")
    if isinstance(error, dict):
        return Said(
            one_line(_text(error.get("message"))),
            one_line(_text(error.get("code")), 60),
            _fields(error.get("details")),
            one_line(request_id, 80),
            is_coval=bool(error.get("code")),
        )
    return Said(one_line(_text(error) or _text(answer.get("message"))), request_id=one_line(request_id, 80))


def response_problem(request: Request, response: Response, *, now: float, reached: bool) -> CovalError:
    """Return the error that a response other than 2xx stands for.

    `now`: seconds since the epoch. `reached`: Coval has answered before, so that a response which is not Coval's is a
    disturbance on the way, and not a wrong address.
    """
    status = response.status
    said = read_error(response.body, response.headers)
    what = f"{request} answered {status}" + (f" ({said})." if str(said) else ".")
    if status in PASSING_STATUSES or status >= 500:
        return Unavailable(
            "Coval unavailable",
            what,
            # Only Coval itself can say that it did nothing; a proxy's 503 may follow on a launch that arrived.
            arrived=not (status == 429 or (status == 503 and said.is_coval)),
            retry_after=seconds_to_wait(response.headers.get("Retry-After"), now),
            advice="See whether Coval has an incident, and run the job again later.",
            link=STATUS_PAGE,
        )
    launches = request.method == "POST"
    if reached and not launches and (not said.is_json or status in ODD_STATUSES or status < 200):
        return Unavailable("Coval unavailable", what, arrived=True, advice=NOT_COVAL)
    if 300 <= status < 400:
        return Rejected(
            status,
            "Redirect refused",
            f"{what[:-1]}, a redirect to {one_line(response.headers.get('Location', 'nowhere'), 120)}.",
            advice="Set api_base_url to where the API really is; the API key is never sent on to another place.",
        )
    if not said.is_json:
        return Rejected(status, "Not Coval's answer", what, advice=NOT_COVAL)
    if status == 404:
        advice = LAUNCH_NOT_FOUND if launches else RUN_NOT_FOUND
        return NotFound(status, "Not found", what, advice=advice, link=API_GUIDE)
    title, advice = ADVICE.get(status, ("Request refused", "The same request would be refused again."))
    advice = "\n".join([advice, *(f"- {field}" for field in said.fields)])
    return Rejected(status, title, what, advice=advice, link=API_GUIDE)


def network_problem(request: Request, error: NetworkError) -> CovalError:
    """Return the error that a request without a response stands for."""
    if error.trouble == "passing":
        return unavailable(request, error.what, arrived=error.arrived)
    title, advice = LASTING[error.trouble]
    return CovalError(title, f"{request} {error.what}", advice=advice)


def unavailable(request: Request | str, what: str, *, arrived: bool) -> Unavailable:
    """No usable answer for now; `what` ends the sentence that begins with the request."""
    return Unavailable(
        "Coval unavailable",
        f"{request} {what}",
        arrived=arrived,
        advice="Check api_base_url and the network, and whether Coval has an incident.",
        link=STATUS_PAGE,
    )


def seconds_to_wait(retry_after: str | None, now: float) -> float | None:
    """Read a `Retry-After` header: seconds or an HTTP date (RFC 9110, section 10.2.3). None if it says nothing."""
    if not retry_after:
        return None
    try:
        plain = re.fullmatch(r"\s*\d+\s*", retry_after, re.ASCII)
        seconds = float(retry_after) if plain else parsedate_to_datetime(retry_after).timestamp() - now
    except (ValueError, OverflowError):
        return None
    return min(seconds, LONGEST_WAIT) if seconds > 0 else None


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _fields(details: object) -> tuple[str, ...]:
    if not isinstance(details, list):
        return ()
    told = [
        ": ".join(
            one_line(part, 200) for part in (_text(detail.get("field")), _text(detail.get("description"))) if part
        )
        for detail in details
        if isinstance(detail, dict)
    ]
    return tuple(each for each in told if each)[:10]
