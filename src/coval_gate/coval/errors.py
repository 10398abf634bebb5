"""Turns an unsuccessful or missing response into a readable error.

Coval and its gateways use four formats: an `error` object with code, message and details; an `error` text; a bare
`message`; and a proxy's page, usually HTML.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from coval_gate.base import titles
from coval_gate.base.errors import CovalError, NotFound, Rejected, TooLarge, Unavailable
from coval_gate.base.text import in_words, one_line
from coval_gate.base.transport import NetworkError, Request, Response
from coval_gate.inputs.inputs import declared

LONGEST_RETRY_AFTER: Final = 60.0  # s, even if Retry-After asks for more; a longer pause could hide the end of the run
INVALID_STATUSES: Final = frozenset({400, 413, 422})  # the request itself must change
ODD_STATUSES: Final = frozenset({304, 409, 421, 425})  # odd for a read of an existing resource

ADVICE: Final[Mapping[int | str, tuple[str, str]]] = {  # title and advice by status, or by a more specific code
    400: (titles.REQUEST_REJECTED, "Correct what Coval reports as invalid."),
    401: (titles.KEY_REJECTED, "Check that api_key contains a complete, current key of the right Coval organization."),
    402: (titles.PLAN_LIMIT, "Look at the plan and billing in Coval: extend the plan, or wait until it renews."),
    412: (titles.WORKSPACE_MISSING, "Set workspace_id to a workspace of the API key, or leave it empty."),
    413: (titles.REQUEST_TOO_LARGE, "Shorten metadata, config_overrides and the lists of ids."),
    "MODEL_TIER_ACCESS_DENIED": (
        titles.MODEL_NOT_INCLUDED,
        "Choose an agent and metrics whose models are included in the organization's plan.",
    ),
}
LASTING: Final = {  # title and advice for each problem that a retry cannot solve
    "certificate": (
        titles.UNTRUSTED_CERTIFICATE,
        "Check api_base_url. Behind a proxy that inspects TLS, set REQUESTS_CA_BUNDLE to a file in the workspace with "
        "its certificate.",
    ),
    "bundle": (
        titles.UNUSABLE_CERTIFICATES,
        "The action runs in a container: use a file in the workspace (/github/workspace/…).",
    ),
    "address": (titles.INVALID_ADDRESS, "Check api_base_url, HTTPS_PROXY and NO_PROXY."),
}
MOST_FIELDS: Final = 3  # invalid fields that the first sentence describes
LARGE: Final = "Launch runs with fewer simulations, or set metric_ids to the metrics that the gate needs."
NOT_COVAL: Final = "The response is not from Coval: check api_base_url and any proxies."
INPUTS_BY_FIELD: Final = {"customer": "metadata", "template_name": "metadata"}  # fields set by an input of another name


class CallRights(NamedTuple):
    """The `permission` that a call needs, and the `inputs` that may name a missing resource."""

    permission: str = ""
    inputs: tuple[str, ...] = ()


RESOURCES: Final = {  # by the first part of the path, the inputs that may name a missing one
    "runs": ("run_id",),
    "scheduled-runs": ("run_id",),
    "metrics": ("metric_ids", "thresholds"),
    "agents": ("agent_id",),
    "personas": ("persona_id",),
    "test-sets": ("test_set_id",),
    "test-cases": ("test_case_ids",),
    "run-templates": ("run_template_id",),
    "simulations": (),
}
LAUNCH_RIGHTS: Final = CallRights("runs:write", ("agent_id", "persona_id", "test_set_id", "metric_ids", "mutation_ids"))


class ErrorBody(NamedTuple):
    """Each text is one line, and may be empty. `fields`: the invalid ones, each with what is wrong."""

    message: str = ""
    code: str = ""
    fields: tuple[tuple[str, str], ...] = ()
    request_id: str = ""
    is_json: bool = True
    is_coval: bool = False  # in the format that only Coval itself uses

    def __str__(self) -> str:
        message = ": ".join(part for part in (self.code, self.message.rstrip(".")) if part)
        return "; ".join(part for part in (message, self.request_id and f"request id {self.request_id}") if part)


def read_error(response: Response) -> ErrorBody:
    headers, content = response.headers, response.content
    request_id = next((headers[name] for name in ("x-request-id", "x-amzn-requestid") if headers.get(name)), "")
    if not isinstance(content, dict):
        media_type = headers.get("content-type", "").partition(";")[0]
        message = f"{one_line(media_type, 40) or 'an unknown type'} instead of JSON"
        return ErrorBody("" if response.is_empty else message, request_id=one_line(request_id, 80), is_json=False)
    request_id = request_id or _text(content.get("request_id"))
    error = content.get("error")
    if isinstance(error, dict):
        return ErrorBody(
            one_line(_text(error.get("message"))),
            one_line(_text(error.get("code")), 60),
            _fields(error.get("details")),
            one_line(request_id, 80),
            is_coval=bool(_text(error.get("code"))),
        )
    return ErrorBody(
        one_line(_text(error) or _text(content.get("message"))),
        request_id=one_line(request_id, 80),
        is_coval=bool(_text(error) and content.get("timestamp")),
    )


def response_problem(request: Request, response: Response, *, reached: bool) -> CovalError:
    """`reached`: Coval has responded before, so a foreign response is transient."""
    status = response.status
    body = read_error(response)
    what = f"{request} returned {status}" + (f" ({body})." if str(body) else ".")
    launches = request.method == "POST"
    if status in (408, 429) or status >= 500:
        return Unavailable(
            titles.COVAL_UNAVAILABLE,
            what,
            # Only Coval can confirm that a launch had no effect. A proxy may return 503 after passing it on.
            arrived=not ((status == 429 and body.is_json) or (status == 503 and body.is_coval)),
            retry_after=min(response.retry_after or 0.0, LONGEST_RETRY_AFTER),
            advice="Check whether Coval has an incident, and re-run the job later.",
            is_limit=launches and status == 429,
        )
    interim = status < 200  # the final response would have followed, but the connection is closed
    if interim or (reached and not launches and (not body.is_json or status in ODD_STATUSES)):
        return Unavailable(titles.COVAL_UNAVAILABLE, what, arrived=True, advice=NOT_COVAL)
    if 300 <= status < 400:
        return Rejected(
            status,
            titles.REDIRECT_REJECTED,
            f"{what[:-1]}, a redirect to {one_line(response.headers.get('Location', 'nowhere'), 120)}.",
            by_coval=False,
            advice="Set api_base_url to the API's actual address. The step never sends the API key to another one.",
        )
    if not body.is_json:
        return Rejected(status, titles.UNEXPECTED_RESPONSE, what, by_coval=False, advice=NOT_COVAL)
    if body.fields:
        fields = "; ".join(_described(*field) for field in body.fields[:MOST_FIELDS])
        cause = ", ".join(part for part in (f"{request} returned {status}", str(body)) if part)
        what = f"Coval rejected {fields} ({cause})."
    if status == 404:
        error = NotFound if operation_of(request).inputs else Rejected
        advice = _what_to_check(request, body)
        return error(status, titles.NOT_FOUND, what, by_coval=body.is_coval, advice=advice)
    title, advice = ADVICE.get(body.code) or _title_and_advice(request, status, body)
    advice = "\n".join([advice, *(f"- {_described(*field)}" for field in body.fields[MOST_FIELDS:])])
    return Rejected(status, title, what, by_coval=body.is_coval, advice=advice)


def _described(field: str, description: str) -> str:
    return ": ".join(part for part in (shown(field), description.rstrip(".") or "no reason given") if part)


def _what_to_check(request: Request, body: ErrorBody) -> str:
    names = inputs_of(field for field, _ in body.fields) or operation_of(request).inputs
    if not names or not body.is_coval:
        return NOT_COVAL if not body.is_coval else "Check api_base_url."
    subject, all_do = ("each", "all do") if len(names) > 1 else ("it", "it does")
    where = "must exist in the organization and workspace of the API key"
    return f"Check {in_words(names)}: {subject} {where}. If {all_do}, check api_base_url."


def _title_and_advice(request: Request, status: int, body: ErrorBody) -> tuple[str, str]:
    if status == 403:
        permission = operation_of(request).permission
        needed = f"Give the API key the permission {permission}" if permission else "Give the API key more permissions"
        return titles.PERMISSION_MISSING, f"{needed}, or use a key with full access."
    title, advice = ADVICE.get(status, (titles.REQUEST_REJECTED, "A retry would be rejected, too."))
    names = inputs_of(field for field, _ in body.fields) if status in INVALID_STATUSES else ()
    return title, f"Correct {in_words(names)}." if names else advice


def network_problem(request: Request, error: NetworkError) -> CovalError:
    if error.cause == "size" and request.method == "GET":
        return TooLarge(titles.RESPONSE_TOO_LARGE, f"{request} {error.what}", advice=LARGE)
    if error.cause in ("transient", "size"):
        return unavailable(request, error.what, arrived=error.arrived)
    title, advice = LASTING[error.cause]
    return CovalError(title, f"{request} {error.what}", advice=advice)


def unavailable(request: Request | str, what: str, *, arrived: bool, too_late: bool = False) -> Unavailable:
    """`what` ends a sentence about the request."""
    return Unavailable(
        titles.COVAL_UNAVAILABLE,
        f"{request} {what}",
        arrived=arrived,
        advice="Check api_base_url and the network, and whether Coval has an incident.",
        too_late=too_late,
    )


def operation_of(request: Request) -> CallRights:
    match request.method, request.path.strip("/").split("/"):
        case "POST", ["runs"]:
            return LAUNCH_RIGHTS
        case "DELETE" | "PATCH", ["runs", _]:
            return CallRights("runs:write", ("run_id",))
        case "GET", ["conversations", "simulated", *_]:
            return CallRights("simulated-conversations:read")
        case "GET", [kind, *more] if kind in RESOURCES:
            # Only a 404 about one thing shows which id is wrong. The list of a schedule's runs is about the schedule.
            is_one = len(more) == 1 or kind == "scheduled-runs"
            return CallRights(f"{kind}:read", RESOURCES[kind] if is_one else ())
    return CallRights()


def shown(field: str) -> str:
    """`iteration_count` for `options.iteration_count`."""
    names = {declaration.name for declaration in declared()}
    inner = field.partition(".")[2]
    return inner if inner.partition(".")[0] in names else field


def inputs_of(fields: Iterable[str]) -> tuple[str, ...]:
    """Return the inputs that set `fields` such as `options.iteration_count` or `metric_ids[0]`."""
    names = {declaration.name for declaration in declared()}
    inputs = []
    for field in fields:
        parts = [INPUTS_BY_FIELD.get(part, part) for part in re.split(r"[.\[\]/]+", field)]
        inputs += [next((part for part in reversed(parts) if part in names), "")]
    return tuple(dict.fromkeys(filter(None, inputs)))


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _fields(details: object) -> tuple[tuple[str, str], ...]:
    if not isinstance(details, list):
        return ()
    described = [
        (one_line(_text(detail.get("field")), 100), one_line(_text(detail.get("description")), 200))
        for detail in details
        if isinstance(detail, dict)
    ]
    return tuple(pair for pair in described if any(pair))[:10]
