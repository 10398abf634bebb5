"""What GitLab's REST API takes and returns, for exactly the calls that the gate sends, and checks against it.

The facts are from GitLab's OpenAPI document of version 19.5 (doc/api/openapi/openapi_v3.yaml in gitlab-org/gitlab),
whose operations have the ids named below. It is generated from the code, and silent about three things, which are from
there: the fields that a response always has (lib/api/entities), the lengths (app/models/commit_status.rb and
generic_commit_status.rb), and the success of a POST, which is 201 (spec/requests/api/commit_statuses_spec.rb), where
the document says 200. It also types the list of notes as a single note.

GitLab ignores a parameter that it does not know. Here it is a problem: what the gate sends must have an effect.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import unquote

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

Schema = Mapping[str, Any]


JSON: Final = "application/json"
MOST_CHARACTERS: Final = 255  # of a status's texts, but not of its name

INTEGER: Final[Schema] = {"type": "integer"}
TEXT: Final[Schema] = {"type": "string"}
FLAG: Final[Schema] = {"type": "boolean"}
TIME: Final[Schema] = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$"}
SHA: Final[Schema] = {"type": "string", "pattern": "^[0-9a-f]{40}([0-9a-f]{24})?$"}
WEB_ADDRESS: Final[Schema] = {"type": "string", "maxLength": MOST_CHARACTERS, "pattern": "^https?://[^\\s/]"}


def one_of(*words: str) -> Schema:
    return {"type": "string", "enum": list(words)}


def or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def fields(always: Mapping[str, Schema], **sometimes: Schema) -> Schema:
    """Return the schema of an object with these fields and no others."""
    properties = {**always, **sometimes}
    return {"type": "object", "properties": properties, "required": list(always), "additionalProperties": False}


def parameters(required: Mapping[str, Schema] | None = None, **optional: Schema) -> Schema:
    return fields(required or {}, **optional)


PAGES: Final[Mapping[str, Schema]] = {
    "page": {"type": "integer", "minimum": 1},
    "per_page": {"type": "integer", "minimum": 1},
}
# Of the many fields of each object, those that tell it apart, and those that the gate reads.
USER: Final = fields({"id": INTEGER, "username": TEXT})
MERGE_REQUEST: Final = fields(
    {
        "id": INTEGER,
        "iid": INTEGER,
        "project_id": INTEGER,
        "state": one_of("opened", "closed", "merged", "locked"),
        "sha": or_null(SHA),
        "web_url": TEXT,
    }
)
NOTE: Final = fields(
    {
        "id": INTEGER,
        "body": TEXT,
        "author": USER,
        "created_at": TIME,
        "system": FLAG,
    }
)
STATE: Final = one_of("pending", "running", "success", "failed", "canceled", "skipped")
STATUS: Final = fields(
    {
        "id": INTEGER,
        "sha": SHA,
        "status": STATE,
        "name": TEXT,
        "target_url": or_null(TEXT),
        "description": or_null(TEXT),
        "created_at": TIME,
        "pipeline_id": INTEGER,
        "author": USER,
    }
)
# Errors of a model name its fields; errors of a parameter are one text in `error`.
ERROR: Final[Schema] = {
    "anyOf": [
        fields({"message": TEXT}),
        fields({"message": {"type": "object", "additionalProperties": {"type": ["string", "array"]}}}),
        fields({"error": TEXT}, error_description=TEXT, scope=TEXT),
    ]
}


class Call(NamedTuple):
    """A call, under GitLab's id of the operation. A path's parts in braces are its parameters."""

    operation: str
    method: str
    path: str
    parts: Mapping[str, Schema]
    responses: Mapping[int, Schema]
    query: Schema = parameters()
    body: Schema | None = None


PROJECT: Final[Mapping[str, Schema]] = {"id": {"anyOf": [INTEGER, TEXT]}}
MERGE_REQUEST_PATH: Final[Mapping[str, Schema]] = {**PROJECT, "noteable_id": INTEGER}
COMMIT_PATH: Final[Mapping[str, Schema]] = {**PROJECT, "sha": TEXT}
REFUSED: Final[Mapping[int, Schema]] = dict.fromkeys((400, 401, 403, 404), ERROR)
REFUSED_CHANGE: Final[Mapping[int, Schema]] = {**REFUSED, 429: ERROR}

CALLS: Final = (
    Call(
        "getApiV4ProjectsIdMergeRequestsMergeRequestIid",
        "GET",
        "/projects/{id}/merge_requests/{merge_request_iid}",
        {**PROJECT, "merge_request_iid": INTEGER},
        {200: MERGE_REQUEST, **REFUSED},
        query=parameters(render_html=FLAG),
    ),
    Call(
        "getApiV4ProjectsIdMergeRequestsNoteableIdNotes",
        "GET",
        "/projects/{id}/merge_requests/{noteable_id}/notes",
        MERGE_REQUEST_PATH,
        {200: {"type": "array", "items": NOTE}, **REFUSED},
        query=parameters(
            order_by=one_of("created_at", "updated_at"),
            sort=one_of("asc", "desc"),
            **PAGES,
        ),
    ),
    Call(
        "postApiV4ProjectsIdMergeRequestsNoteableIdNotes",
        "POST",
        "/projects/{id}/merge_requests/{noteable_id}/notes",
        MERGE_REQUEST_PATH,
        {201: NOTE, **REFUSED_CHANGE},
        body=parameters({"body": TEXT}, internal=FLAG),
    ),
    Call(
        "putApiV4ProjectsIdMergeRequestsNoteableIdNotesNoteId",
        "PUT",
        "/projects/{id}/merge_requests/{noteable_id}/notes/{note_id}",
        {**MERGE_REQUEST_PATH, "note_id": INTEGER},
        {200: NOTE, **REFUSED_CHANGE},
        body=parameters(body={"type": "string", "minLength": 1}),
    ),
    Call(
        "getApiV4ProjectsIdRepositoryCommitsShaStatuses",
        "GET",
        "/projects/{id}/repository/commits/{sha}/statuses",
        COMMIT_PATH,
        {200: {"type": "array", "items": STATUS}, **REFUSED},
        query=parameters(
            name=TEXT,
            pipeline_id=INTEGER,
            all=FLAG,
            order_by=one_of("id", "pipeline_id"),
            sort=one_of("asc", "desc"),
            **PAGES,
        ),
    ),
    Call(
        "postApiV4ProjectsIdStatusesSha",
        "POST",
        "/projects/{id}/statuses/{sha}",
        COMMIT_PATH,
        {201: STATUS, **REFUSED_CHANGE, 409: ERROR},
        body=parameters(
            {"state": STATE},
            target_url=WEB_ADDRESS,
            description={"type": "string", "maxLength": MOST_CHARACTERS},
            name={"type": "string", "minLength": 1},
            pipeline_id=INTEGER,
        ),
    ),
)


class Problem(NamedTuple):
    """What is wrong with a parameter. `from_model`: GitLab finds it only as it saves."""

    name: str
    text: str
    from_model: bool = False

    def __str__(self) -> str:
        return f"{self.name} {self.text}".strip()


def call_of(method: str, path: str) -> tuple[Call, dict[str, str]] | None:
    """Return the call that a path, below the root of the API, belongs to, and its parts."""
    for call in CALLS:
        match = re.fullmatch(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", call.path), path)
        if match and call.method == method:
            return call, {name: unquote(part) for name, part in match.groupdict().items()}
    return None


def request_problems(
    method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], body: Any
) -> list[Problem]:
    """Return what GitLab would reject, or ignore, in a request. `body`: its JSON; None without one."""
    found = call_of(method, path)
    if found is None:
        return [Problem("", "is none of the calls")]
    call, parts = found
    problems = [*_mistakes(fields(call.parts), _typed(call.parts, parts))]
    problems += _mistakes(call.query, _typed(call.query["properties"], query))
    if call.body is None:
        return problems if body is None else [*problems, Problem("body", "is not taken")]
    if headers.get("content-type", "").partition(";")[0] != JSON:
        problems.append(Problem("content-type", f"is not {JSON}"))
    return [*problems, *_mistakes(call.body, body)]


def response_problems(method: str, path: str, status: int, body: Any) -> list[Problem]:
    """Return what GitLab would not answer to a request."""
    found = call_of(method, path)
    responses = found[0].responses if found else {404: ERROR}
    if status not in responses:
        return [Problem("", "has no such status")]
    return [*_mistakes(responses[status], body)]


def _typed(schemas: Mapping[str, Schema], texts: Mapping[str, str]) -> dict[str, Any]:
    """Return texts of an address as the values that GitLab reads in them, where it can."""
    return {name: _value(schemas.get(name, TEXT), text) for name, text in texts.items()}


def _value(schema: Schema, text: str) -> Any:
    if schema == FLAG:
        return {"true": True, "false": False}.get(text, text)
    return int(text) if schema.get("type") == "integer" and re.fullmatch("[0-9]+", text) else text


def _mistakes(schema: Schema, value: Any) -> list[Problem]:
    errors = Draft202012Validator(schema).iter_errors(value)
    return list(dict.fromkeys(problem for error in errors for problem in _problems(error)))


def _problems(error: ValidationError) -> Iterator[Problem]:
    """Yield what an error is about, in words as GitLab's."""
    path = [str(part) for part in error.absolute_path]
    given: Any = error.instance
    rule: Any = error.validator_value
    match error.validator:
        case "additionalProperties":
            known: Any = error.schema
            for name in given.keys() - known["properties"].keys():
                yield Problem(".".join([*path, name]), "is unknown")
        case "required":
            for name in [name for name in rule if name not in given]:
                yield Problem(".".join([*path, name]), "is missing")
        case "enum":
            yield Problem(".".join(path), "does not have a valid value")
        case "minLength":
            yield Problem(".".join(path), "is empty")
        case "maxLength":
            yield Problem(".".join(path), f"is too long (maximum is {rule} characters)", from_model=True)
        case "pattern" if error.schema == WEB_ADDRESS:
            yield Problem(".".join(path), "is blocked: Only allowed schemes are http, https", from_model=True)
        case _:
            yield Problem(".".join(path), "is invalid")
