"""The OpenAPI document of what both control and delivery answer."""

from collections.abc import Iterable
from typing import Any

_PROBLEM = {"$ref": "#/components/schemas/Problem"}


def only_public_api(
    endpoints: Iterable[tuple[str, str, str, Any]], **_: Any
) -> list[tuple[str, str, str, Any]]:
    return [endpoint for endpoint in endpoints if endpoint[0].startswith("/api/v1/")]


def _response(description: str, schema: dict[str, Any] | None = None) -> dict[str, Any]:
    if schema is None:
        return {"description": description}
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _refusal(description: str) -> dict[str, Any]:
    return {"description": description, "content": {"application/problem+json": {"schema": _PROBLEM}}}


_ENTRY = {"type": "object", "additionalProperties": True}
_ENTRIES = {"type": "object", "additionalProperties": _ENTRY}
_SNAPSHOT = {
    "type": "object",
    "required": ["service", "revision", "edge", "configs", "flags", "errors"],
    "properties": {
        "service": _ENTRY,
        "revision": {"type": "integer"},
        "edge": {
            "type": "integer",
            "description": "Unix second of the last schedule edge that passed, or 0.",
        },
        "secrets": {**_ENTRIES, "description": "Backend services only."},
        "configs": _ENTRIES,
        "flags": _ENTRIES,
        "errors": {"type": "array", "items": _ENTRY},
    },
}


def _read(operation_id: str, summary: str, schema: dict[str, Any], *, keyed: bool = False) -> dict[str, Any]:
    parameters: list[dict[str, Any]] = [
        {"name": "If-None-Match", "in": "header", "schema": {"type": "string"}}
    ]
    if keyed:
        parameters.append({"name": "key", "in": "path", "required": True, "schema": {"type": "string"}})
    responses = {
        "200": _response("What is in effect now, with a strong ETag.", schema),
        "304": _response("Unchanged since the ETag that was sent."),
        "401": _refusal("No credential, or one that is not accepted."),
        "402": _refusal("The tenant is suspended."),
        "503": _refusal("The database is away and nothing is known in memory."),
    }
    if keyed:
        responses["404"] = _refusal("No such entry.")
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
    result["paths"].update(
        {
            "/api/v1/sync": _read("sync", "The snapshot of the service", _SNAPSHOT),
            "/api/v1/configs": _read(
                "list_configs", "All configs", {"type": "object", "properties": {"configs": _ENTRIES}}
            ),
            "/api/v1/configs/{key}": _read("read_config", "One config", _ENTRY, keyed=True),
            "/api/v1/flags": _read(
                "list_flags", "All flags", {"type": "object", "properties": {"flags": _ENTRIES}}
            ),
            "/api/v1/flags/{key}": _read("read_flag", "One flag", _ENTRY, keyed=True),
        }
    )
    return result
