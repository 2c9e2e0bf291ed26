"""Bodies that carry what must never move: refused as a whole, and nothing changes."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client
from drf_spectacular.generators import SchemaGenerator

from apps.audit.models import AuditEvent
from apps.core.actor import Actor
from apps.core.models import Change
from apps.services.models import Service
from apps.tenancy.models import Tenant, User
from tests.conftest import Cast
from tests.console.session import signed_in
from tests.console.test_routes import AUDIT, World, everything, make_world
from tests.contract.isolation import MATRIX
from tests.contract.test_isolation import METHODS, PREFIX, address, ask, filled, ids_of

# Columns of rows, and what they are called in other programs. In a shape of its own each may stand;
# everywhere else it means nothing, and a body that has it is wrong.
NEVER: dict[str, Any] = {
    "id": "$tenant",
    "pk": "$tenant",
    "public_id": "$tenant",
    "tenant": "$tenant",
    "tenant_id": "$tenant",
    "project": "$project",
    "project_id": "$project",
    "service": "$umbrella",
    "service_id": "$umbrella",
    "umbrella_id": "$umbrella",
    "kind": "frontend",
    "environment": "develop",
    "slug": "moved",
    "role": "owner",
    "project_role": "owner",
    "user": "$account",
    "user_id": "$account",
    "is_active": True,
    "is_staff": True,
    "is_superuser": True,
    "is_service_account": False,
    "password": "x",
    "must_change_password": False,
    "version": 1,
    "active_version": 1,
    "row_version": 1,
    "generation": 1,
    "revision": 1,
    "created_by": "somebody",
    "created_at": "2020-01-01T00:00:00Z",
    "updated_at": "2020-01-01T00:00:00Z",
    "deleted_at": None,
    "purge_after": None,
    "disabled_at": None,
    "suspended_at": None,
    "accepted_at": None,
    "revoked_at": None,
    "last_used_at": None,
    "granted_by": "$account",
    "invited_by": "$account",
    "is_final": True,
    "digest": "00",
    "mac": "00",
    "pepper_id": "$tenant",
    "sealed": "00",
    "data_key": "$tenant",
    "definition_json": "{}",
    "value_json": "1",
}
# Superusers' own; of all others an owner may most.
BY_SUE = {
    "POST operators",
    "POST operators/{operator_id}/deactivate",
    "POST operators/{operator_id}/reactivate",
    "POST tenants",
    "POST tenants/{tenant_id}/break-glass",
}
SESSION = {*AUDIT, "core_idempotencyrecord"}


def shapes() -> dict[str, set[str]]:
    """The members that each operation takes, of those that may take a body: POST, PUT and PATCH."""
    schema: Any = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
    found = {}
    for path, item in schema["paths"].items():
        for method in METHODS:
            if path.startswith(PREFIX) and method in item and method in ("post", "put", "patch"):
                content = item[method].get("requestBody", {}).get("content", {})
                name = next((each["schema"]["$ref"] for each in content.values()), "").rpartition("/")[2]
                members = schema["components"]["schemas"][name].get("properties", {}) if name else {}
                found[f"{method.upper()} {path.removeprefix(PREFIX)}"] = set(members)
    return found


def doors(world: World) -> Iterator[tuple[str, set[str], Client, dict[str, str]]]:
    """Each operation with its members, who may do it, and the ids of what is there."""
    ids = ids_of(world)
    carol, sue = signed_in(world.cast, "carol"), signed_in(world.cast, "sue")
    for operation, members in shapes().items():
        yield operation, members, sue if operation in BY_SUE else carol, ids


@pytest.fixture
def world(cast: Cast, command: Actor) -> World:
    return make_world(cast, command)


def test_no_member_that_a_shape_lacks_is_taken_and_nothing_moves(world: World) -> None:
    wrong, tried = {}, 0
    before: dict[str, Any] | None = None
    for operation, members, client, ids in doors(world):
        before = before or everything(without=SESSION)
        path, body = address(operation, ids), filled(MATRIX[operation].body, ids) or {}

        for name, value in NEVER.items():
            if name in members:
                continue
            answer = ask(client, operation, path, {**body, name: filled(value, ids)})
            tried += 1
            if (answer.status_code, answer.json().get("code")) != (422, "invalid_input"):
                wrong[f"{operation} {name}"] = (answer.status_code, answer.content)

    assert wrong == {}
    assert tried > 1_500
    assert everything(without=SESSION) == before


def test_no_item_of_a_bulk_write_takes_one_either(world: World) -> None:
    ids = ids_of(world)
    client = signed_in(world.cast, "carol")
    before = everything(without=SESSION)

    for kind, item in (
        ("secrets", {"key": "a", "value": "x"}),
        ("configs", {"key": "a", "value": "x"}),
        ("flags", {"key": "a", "definition": {}}),
    ):
        operation = f"PATCH services/{{service_id}}/{kind}"
        for name in NEVER.keys() - {"row_version", "is_final"}:
            for body in (
                {"write": [{**item, name: filled(NEVER[name], ids)}]},
                {"delete": [{"key": "a", name: filled(NEVER[name], ids)}]},
            ):
                answer = ask(client, operation, address(operation, ids), body)
                assert answer.status_code == 422, (kind, body, answer.content)

    assert everything(without=SESSION) == before


def test_nobody_raises_or_moves_themselves(world: World) -> None:
    cast = world.cast
    services = list(Service.objects.order_by("pk").values("pk", "kind", "environment", "project", "slug"))
    ids = ids_of(world)
    own = str(cast.project.members.get(user=cast.users["mona"]).pk)
    tenant_own = str(cast.tenant.members.get(user=cast.users["vic"]).pk)
    mona, vic = signed_in(cast, "mona"), signed_in(cast, "vic")
    events = AuditEvent.objects.exclude(action="action.denied").count()
    changes = Change.objects.count()
    tried = [
        # A manager gives roles up to developer, to nobody a higher one, and their own stays theirs.
        (mona, "PATCH", f"projects/{ids['project_id']}/members/{own}", {"role": "owner"}, {403}),
        (mona, "POST", f"projects/{ids['project_id']}/members", _member("mona"), {403}),
        (mona, "POST", f"projects/{ids['project_id']}/grants", _grant("mona"), {403}),
        (mona, "POST", f"tenants/{ids['tenant_id']}/members", _member("mona"), {403}),
        (mona, "POST", f"tenants/{ids['tenant_id']}/invitations", _member("mona"), {403}),
        (mona, "POST", f"tenants/{ids['tenant_id']}/break-glass", {"role": "owner", "reason": "x"}, {403}),
        (vic, "PATCH", f"tenants/{ids['tenant_id']}/members/{tenant_own}", {"role": "owner"}, {404}),
        (vic, "POST", f"projects/{ids['project_id']}/grants", _grant("vic"), {403}),
        (vic, "POST", "operators", {"email": "vic2@example.org", "is_superuser": True}, {403}),
    ]

    for client, method, path, body, statuses in tried:
        answer = client.generic(method, PREFIX + path, json.dumps(body), content_type="application/json")
        assert answer.status_code in statuses, (path, answer.content)

    found = list(Service.objects.order_by("pk").values("pk", "kind", "environment", "project", "slug"))
    assert found == services
    assert cast.project.members.get(pk=own).role == "manager"
    assert cast.tenant.members.get(pk=tenant_own).role == "member"
    assert list(User.objects.filter(is_superuser=True)) == [cast.users["sue"]]
    assert Tenant.objects.count() == 2
    assert AuditEvent.objects.exclude(action="action.denied").count() == events
    assert Change.objects.count() == changes


def _member(name: str) -> dict[str, str]:
    return {"email": f"{name}@example.org", "role": "owner"}


def _grant(name: str) -> dict[str, str]:
    return {"email": f"{name}@example.org", "permission": "secret:reveal"}
