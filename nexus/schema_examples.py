"""Examples for the OpenAPI document: operation id → (body of the request, body of the answer)."""

from typing import Any

_TENANT = "0198b6a2-1c00-7000-8000-000000000001"
_PROJECT = "0198b6a2-1c00-7000-8000-000000000002"
_SERVICE = "0198b6a2-1c00-7000-8000-000000000003"
_ROW = "0198b6a2-1c00-7000-8000-000000000004"
_THEN = "2026-05-04T09:30:00Z"

_PROJECT_ROW: dict[str, Any] = {
    "id": _PROJECT,
    "tenant": _TENANT,
    "slug": "shop",
    "name": "Shop",
    "tier": "s",
    "environments": ["develop", "production"],
    "add_ons": [],
    "created_at": _THEN,
    "deleted_at": None,
    "purge_after": None,
    "row_version": 1,
}
_SERVICE_ROW: dict[str, Any] = {
    "id": _SERVICE,
    "project": _PROJECT,
    "environment": "production",
    "slug": "api",
    "kind": "backend",
    "name": "API",
    "is_umbrella": False,
    "umbrella": None,
    "disabled": False,
    "revision": 1,
    "created_at": _THEN,
    "deleted_at": None,
    "purge_after": None,
    "row_version": 1,
}
_KEY_ROW: dict[str, Any] = {
    "id": _ROW,
    "slot": "primary",
    "prefix": "sk_live_",
    "last4": "9f3c",
    "scopes": ["read"],
    "allowed_networks": ["10.0.0.0/8"],
    "expires_at": None,
    "is_outgoing": False,
    "ends_at": None,
    "revoked_at": None,
    "created_at": _THEN,
    "last_used_at": None,
    "row_version": 1,
}
_ENTRY: dict[str, Any] = {
    "id": _ROW,
    "version": 1,
    "final": False,
    "description": "First version.",
    "created_by": "carol@example.org",
    "created_at": _THEN,
    "updated_at": _THEN,
    "row_version": 1,
    "deleted_at": None,
    "purge_after": None,
}
_SECRET_ROW = {
    **_ENTRY,
    "key": "database.password",
    "type": "text",
    "file_name": "",
    "size_bytes": 13,
    "expires_at": None,
    "rotate_by": None,
}
_CONFIG_ROW = {
    **_ENTRY,
    "key": "database.host",
    "type": "string",
    "value": "db.internal",
    "size_bytes": 13,
}
_DEFINITION = {"type": "boolean", "enabled": True}
_FLAG_ROW: dict[str, Any] = {
    "id": _ROW,
    "key": "new.checkout",
    "type": "boolean",
    "enabled": True,
    "starts_at": None,
    "ends_at": None,
    "final": False,
    "definition": _DEFINITION,
    "created_at": _THEN,
    "updated_at": _THEN,
    "row_version": 1,
    "deleted_at": None,
    "purge_after": None,
}
_MEMBER_ROW: dict[str, Any] = {
    "id": _ROW,
    "email": "bob@example.org",
    "name": "Bob",
    "role": "developer",
    "is_service_account": False,
    "ends_at": None,
    "created_at": _THEN,
    "row_version": 1,
}


def _page(row: dict[str, Any]) -> dict[str, Any]:
    return {"results": [row], "next": None}


def _written(key: str, version: int | None) -> dict[str, Any]:
    return {"results": [{"key": key, "version": version, "row_version": 1, "created": True}]}


EXAMPLES: dict[str, tuple[Any, Any]] = {
    "manage_list_projects": (None, _page(_PROJECT_ROW)),
    "manage_create_project": ({"tenant": _TENANT, "slug": "shop", "name": "Shop", "tier": "s"}, _PROJECT_ROW),
    "manage_list_services": (None, _page(_SERVICE_ROW)),
    "manage_create_service": (
        {"project": _PROJECT, "environment": "production", "slug": "api", "kind": "backend"},
        _SERVICE_ROW,
    ),
    "manage_issue_api_key": (
        {"scopes": ["read"], "allowed_networks": ["10.0.0.0/8"]},
        {**_KEY_ROW, "key": "sk_live_…"},
    ),
    "manage_rotate_api_key": ({"overlap_seconds": 3600}, {**_KEY_ROW, "key": "sk_live_…"}),
    "manage_list_secrets": (None, _page(_SECRET_ROW)),
    "manage_put_secret": ({"value": "correct horse"}, {**_SECRET_ROW, "warnings": []}),
    "manage_change_secrets": (
        {
            "write": [{"key": "database.password", "value": "correct horse"}],
            "delete": [{"key": "old.password"}],
        },
        _written("database.password", 1),
    ),
    "manage_reveal_secret": (
        {},
        {
            "key": "database.password",
            "type": "text",
            "version": 1,
            "file_name": "",
            "value": "correct horse",
        },
    ),
    "manage_put_config": (
        {"type": "string", "value": "db.internal", "description": "First version."},
        {**_CONFIG_ROW, "warnings": []},
    ),
    "manage_change_configs": (
        {"write": [{"key": "database.port", "type": "number", "value": 5432}]},
        _written("database.port", 1),
    ),
    "manage_put_flag": ({"definition": _DEFINITION}, _FLAG_ROW),
    "manage_change_flag": ({"enabled": True}, _FLAG_ROW),
    "manage_create_project_member": ({"email": "bob@example.org", "role": "developer"}, _MEMBER_ROW),
    "manage_create_invitation": (
        {"email": "dora@example.org", "project": _PROJECT, "project_role": "developer"},
        {
            "id": _ROW,
            "email": "dora@example.org",
            "role": "member",
            "project": _PROJECT,
            "project_role": "developer",
            "invited_by": "carol@example.org",
            "state": "pending",
            "created_at": _THEN,
            "expires_at": "2026-05-11T09:30:00Z",
            "row_version": 1,
        },
    ),
    "write_secret": ({"value": "battery staple"}, {"key": "database.password", "type": "text", "version": 2}),
    "read_secret": (
        None,
        {
            "key": "database.password",
            "type": "text",
            "version": 2,
            "source": "service",
            "value": "battery staple",
        },
    ),
    "sync": (
        None,
        {
            "service": {"id": _SERVICE, "slug": "api"},
            "revision": 7,
            "edge": 0,
            "secrets": {},
            "configs": {"database.host": {"type": "string", "value": "db.internal", "version": 1}},
            "flags": {},
            "errors": [],
        },
    ),
}
