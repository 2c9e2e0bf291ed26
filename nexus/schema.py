"""The OpenAPI document of what both control and delivery answer, made as strict as the doors are.

The generator knows shapes; what all doors have in common is said here once: which refusals they have,
that these are problem documents, that bodies take no unknown members, and which headers there are.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from apps.core import errors
from apps.core.names import KEY_MAX_LENGTH, KEY_PATTERN, SLUG_PATTERN
from nexus.schema_examples import EXAMPLES

_MANAGE = "/api/v1/manage/"
_METHODS = ("get", "post", "put", "patch", "delete")
_VERSION_TAG = r'^"[1-9][0-9]{0,9}"$'
_KEY = {"type": "string", "minLength": 1, "maxLength": KEY_MAX_LENGTH, "pattern": KEY_PATTERN}
_HEADERS: dict[str, Any] = {
    "ETag": {
        "description": "The version in quotes, for If-Match. On a replay: as it was when the row was made.",
        "schema": {"type": "string", "pattern": _VERSION_TAG},
    },
    "Idempotent-Replayed": {
        "description": "true: this answers a repeat, and nothing was made.",
        "schema": {"type": "string", "enum": ["true"]},
    },
    "WWW-Authenticate": {"description": "How to authenticate.", "schema": {"type": "string"}},
    "Allow": {"description": "The methods of the address.", "schema": {"type": "string"}},
}
_PARAMETERS: dict[str, dict[str, Any]] = {
    "If-Match": {"type": "string", "pattern": r'^(\*|"[1-9][0-9]{0,9}")$', "example": '"3"'},
    "If-None-Match": {"type": "string", "enum": ["*"]},
    "Idempotency-Key": {"type": "string", "pattern": "^[!-~]{1,255}$", "maxLength": 255},
}


def only_public_api(
    endpoints: Iterable[tuple[str, str, str, Any]], **_: Any
) -> list[tuple[str, str, str, Any]]:
    return [endpoint for endpoint in endpoints if endpoint[0].startswith("/api/v1/")]


def _kinds(kind: type[errors.NexusError] = errors.NexusError) -> Iterator[type[errors.NexusError]]:
    # What only a start or a command can meet is told there.
    if kind.__module__.startswith("apps.core."):
        yield kind
    for narrower in kind.__subclasses__():
        yield from _kinds(narrower)


def codes() -> dict[str, int]:
    """Every `code` that a problem document may carry → its status, in the order of the statuses."""
    found = {kind.code: kind.status for kind in _kinds()}
    return dict(sorted(found.items(), key=lambda each: (each[1], each[0])))


# What each status means where no code says it better.
_REFUSALS = {
    400: "The body is no JSON or deeper than 64 levels, or the address holds U+0000.",
    401: "No credential, or one that is not accepted.",
    402: "The tenant is suspended.",
    403: "Seen, but not to be done by this credential.",
    404: "Not there, or not for this credential to see.",
    406: "Answers are application/json.",
    409: "The present state does not allow it; `code` says why.",
    412: "The precondition does not hold: somebody wrote in between.",
    413: "The body is larger than 1 MiB.",
    415: "The body is no application/json.",
    422: "Understood, but wrong: `errors` maps the path of each wrong field to its messages.",
    503: "Cannot be answered right now.",
}


def _problem_components() -> dict[str, Any]:
    """One answer for each status, restricted to the codes of it."""
    by_status: dict[int, list[str]] = {}
    for code, status in codes().items():
        by_status.setdefault(status, []).append(code)
    found = {}
    for status, said in _REFUSALS.items():
        body = {
            "allOf": [
                {"$ref": "#/components/schemas/Problem"},
                {"properties": {"code": {"enum": by_status[status]}, "status": {"const": status}}},
            ]
        }
        answer: dict[str, Any] = {
            "description": f"{said} Codes: {', '.join(by_status[status])}.",
            "content": {errors.PROBLEM_CONTENT_TYPE: {"schema": body}},
        }
        if status == 401:
            answer["headers"] = {"WWW-Authenticate": _HEADERS["WWW-Authenticate"]}
        found[f"Problem{status}"] = answer
    return found


def _problem_schema() -> dict[str, Any]:
    table = "\n".join(f"- `{code}` ({status})" for code, status in codes().items())
    text = {"type": "string"}
    return {
        "type": "object",
        "description": f"RFC 9457. `code` is stable:\n\n{table}",
        "required": ["type", "title", "status", "detail", "code", "request_id"],
        "properties": {
            "type": {"type": "string", "pattern": "^urn:nexus:problem:[a-z_]+$"},
            "title": text,
            "status": {"type": "integer", "minimum": 400, "maximum": 599},
            "detail": {**text, "description": "What the caller can do about it."},
            "code": {"type": "string", "enum": list(codes())},
            "request_id": {**text, "description": "As in X-Request-Id; the audit log has it too."},
            "errors": {
                "type": "object",
                "description": "With invalid_input: path of the field → messages.",
                "additionalProperties": {"type": "array", "items": text},
            },
            "quota": {**text, "description": "With quota_exceeded, as cap and tier."},
            "cap": {"type": "integer"},
            "tier": text,
            "blockers": {"description": "With downgrade_blocked: what is in the way.", "type": "array"},
            "dependants": {"description": "With has_dependants: what refers to it.", "type": "array"},
            "limit_bytes": {"type": "integer", "description": "With snapshot_too_large."},
        },
    }


def _refusal(status: int) -> dict[str, Any]:
    return {"$ref": f"#/components/responses/Problem{status}"}


_ENTRY = {"type": "object", "additionalProperties": True}
_ENTRIES = {"type": "object", "additionalProperties": _ENTRY}
_SNAPSHOT = {
    "type": "object",
    "required": ["service", "revision", "edge", "configs", "flags", "errors"],
    "properties": {
        "service": _ENTRY,
        "revision": {"type": "integer", "minimum": 1},
        "edge": {
            "type": "integer",
            "description": "Unix second of the last schedule edge that passed, or 0.",
        },
        "secrets": {**_ENTRIES, "description": "Backend services only."},
        "configs": _ENTRIES,
        "flags": _ENTRIES,
        "errors": {
            "type": "array",
            "description": "Entries that cannot be served, each with its code.",
            "items": _ENTRY,
        },
    },
}


def _read(operation_id: str, summary: str, schema: dict[str, Any], *, keyed: bool = False) -> dict[str, Any]:
    parameters: list[dict[str, Any]] = [
        {
            "name": "If-None-Match",
            "in": "header",
            "description": "ETags that are at hand.",
            "schema": {"type": "string"},
        }
    ]
    if keyed:
        parameters.append({"name": "key", "in": "path", "required": True, "schema": _KEY})
    headers = {
        "ETag": {"required": True, "description": "Strong.", "schema": {"type": "string"}},
        "X-Nexus-Revision": {"schema": {"type": "string", "pattern": "^[0-9]+$"}},
        "X-Nexus-Stale": {
            "description": "Seconds since the database was last seen; there only while it is away.",
            "schema": {"type": "string", "pattern": "^[0-9]+$"},
        },
    }
    responses: dict[str, Any] = {
        "200": {
            "description": "What is in effect now, with a strong ETag.",
            "headers": headers,
            "content": {"application/json": {"schema": schema}},
        },
        "304": {"description": "Unchanged since the ETag that was sent.", "headers": headers},
    }
    for status in (400, 401, 402, 403, *((404,) if keyed else ()), 503):
        responses[str(status)] = _refusal(status)
    return {
        "get": {
            "operationId": operation_id,
            "summary": summary,
            "tags": ["delivery"],
            "security": [{"ApiKey": []}],
            "parameters": parameters,
            "responses": responses,
        }
    }


def add_delivery_paths(result: dict[str, Any], generator: Any, request: Any, public: bool) -> dict[str, Any]:
    """Add what delivery answers: it stands before Django, where no schema generator looks."""

    def all_of(kind: str) -> dict[str, Any]:
        return {"type": "object", "required": [kind], "properties": {kind: _ENTRIES}}

    result["paths"].update(
        {
            "/api/v1/sync": _read("sync", "The snapshot of the service", _SNAPSHOT),
            "/api/v1/configs": _read("list_configs", "All configs", all_of("configs")),
            "/api/v1/configs/{key}": _read("read_config", "One config", _ENTRY, keyed=True),
            "/api/v1/flags": _read("list_flags", "All flags", all_of("flags")),
            "/api/v1/flags/{key}": _read("read_flag", "One flag", _ENTRY, keyed=True),
        }
    )
    return result


def _operations(result: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in result["paths"].items():
        for method in _METHODS:
            if method in item:
                yield path, method, item[method]


def tell_what_all_share(result: dict[str, Any], generator: Any, request: Any, public: bool) -> dict[str, Any]:
    """Say of every operation what its door does before and after the view."""
    components = result["components"]
    components["schemas"]["Problem"] = _problem_schema()
    components["responses"] = _problem_components()
    components["securitySchemes"]["Session"] = {
        "type": "apiKey",
        "in": "cookie",
        "name": "sessionid",
        "description": "The console's session. What changes something needs its token as X-CSRFToken too.",
    }
    for path, method, operation in _operations(result):
        is_delivery = operation.get("tags") == ["delivery"]
        if not is_delivery:
            operation["tags"] = [_tag(path)]
            _tell_parameters(operation, path)
            _tell_answers(operation, path, method)
        for parameter in operation.get("parameters", ()):
            parameter.setdefault("description", "")
        _give_examples(operation)
    for name in _body_names(result):
        _close(components["schemas"], name)
    return result


def _tag(path: str) -> str:
    if not path.startswith(_MANAGE):
        return "workload"
    words = [word for word in path.removeprefix(_MANAGE).split("/") if not word.startswith("{")]
    return words[1] if len(words) > 1 and words[1] in _TAGS else words[0]


_TAGS = ("secrets", "configs", "flags", "api-keys", "invitations", "audit-events")


def _tell_parameters(operation: dict[str, Any], path: str) -> None:
    for parameter in operation.get("parameters", ()):
        name, where = parameter["name"], parameter["in"]
        if where == "header" and name in _PARAMETERS:
            parameter["schema"] = dict(_PARAMETERS[name])
        elif where == "query" and name in ("search", "cursor"):
            parameter["schema"] = {"type": "string", "pattern": r"^[^\x00]*$"}
        elif where == "path" and name == "key":
            parameter["schema"] = dict(_KEY)
        elif where == "path" and name == "name":
            parameter["schema"] = {"type": "string", "pattern": SLUG_PATTERN}


def _tell_answers(operation: dict[str, Any], path: str, method: str) -> None:
    answers = operation["responses"]
    has_body = "requestBody" in operation
    statuses = {int(status) for status in answers if int(status) >= 400}
    # The door may be away, and the form of the answer is negotiated before anything is read.
    statuses |= {400, 401, 403, 503, *(() if path.endswith("/export") and method == "get" else (406,))}
    if not path.startswith(_MANAGE):
        statuses.add(402)
    if has_body:
        statuses |= {413, 415, 422}
    elif any(each["in"] != "path" for each in operation.get("parameters", ())):
        statuses.add(422)
    for status in statuses:
        answers[str(status)] = _refusal(status)
    names = {each["name"] for each in operation.get("parameters", ())}
    for status, answer in answers.items():
        if not status.startswith("2"):
            continue
        headers = answer.setdefault("headers", {})
        if status == "201" or ("If-Match" in names and status == "200"):
            headers["ETag"] = _HEADERS["ETag"]
        if "Idempotency-Key" in names:
            headers["Idempotent-Replayed"] = _HEADERS["Idempotent-Replayed"]
        if not headers:
            del answer["headers"]
    operation["responses"] = dict(sorted(answers.items()))
    if path.startswith(_MANAGE):
        operation["security"] = [{"AccessToken": []}, {"Session": []}]


def _give_examples(operation: dict[str, Any]) -> None:
    request, answer = EXAMPLES.get(operation["operationId"], (None, None))
    if request is not None:
        operation["requestBody"]["content"]["application/json"]["example"] = request
    if answer is not None:
        status = min(status for status in operation["responses"] if status.startswith("2"))
        operation["responses"][status]["content"]["application/json"]["example"] = answer


def _body_names(result: dict[str, Any]) -> set[str]:
    """The components that bodies of requests consist of."""
    found: set[str] = set()

    def walk(part: Any) -> None:
        match part:
            case {"$ref": str(address)}:
                name = address.rpartition("/")[2]
                if name not in found:
                    found.add(name)
                    walk(result["components"]["schemas"][name])
            case dict():
                for inner in part.values():
                    walk(inner)
            case list():
                for inner in part:
                    walk(inner)

    for _, _, operation in _operations(result):
        walk(operation.get("requestBody", {}))
    return found


def _close(schemas: dict[str, Any], name: str) -> None:
    if schemas[name].get("type") == "object" and "properties" in schemas[name]:
        schemas[name]["additionalProperties"] = False
