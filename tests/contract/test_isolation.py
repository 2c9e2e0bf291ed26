"""Every door of the management API, as somebody whom what is behind it is none of the business of."""

import json
import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from drf_spectacular.generators import SchemaGenerator

from apps.audit.models import AuditEvent
from apps.core.actor import Actor
from apps.core.ids import uuid7
from apps.projects.invitations import create_invitation
from apps.projects.models import ProjectMember
from apps.projects.operations import activate_add_on
from apps.services.grants import give_grant
from apps.services.models import ApiKey
from apps.tenancy.automation import create_service_account, issue_access_token
from apps.tenancy.invitations import token_of
from apps.tenancy.models import TenantMember
from tests.conftest import Cast
from tests.console.session import signed_in
from tests.console.test_routes import AUDIT, World, everything, make_world, marks_of
from tests.contract.isolation import (
    ACCOUNT,
    INVITATION,
    MATRIX,
    PROJECT,
    SERVICE,
    TENANT,
    UMBRELLA,
)
from tests.services.test_identities import identity_of

PREFIX = "/api/v1/manage/"
METHODS = ("get", "post", "put", "patch", "delete")
# What only counts requests or tells of them, and what a session keeps.
UNSEEN = {*AUDIT, "tenancy_user", "core_serverkey", "core_idempotencyrecord"}


def operations() -> list[str]:
    """Every operation of the schema below the prefix, as `METHOD path`."""
    schema: Any = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
    return [
        f"{method.upper()} {path.removeprefix(PREFIX)}"
        for path, item in schema["paths"].items()
        if path.startswith(PREFIX)
        for method in item
        if method in METHODS
    ]


@pytest.fixture
def world(cast: Cast, command: Actor) -> World:
    return make_world(cast, command)


def test_every_operation_of_the_schema_has_its_line_and_every_line_its_operation() -> None:
    assert sorted(MATRIX) == sorted(operations())


def filled(value: Any, ids: dict[str, str]) -> Any:
    """A body with the ids of the world in place of their names."""
    if isinstance(value, dict):
        return {name: filled(member, ids) for name, member in value.items()}
    if isinstance(value, list):
        return [filled(element, ids) for element in value]
    return ids.get(value, value) if isinstance(value, str) else value


def ask(client: Client, operation: str, path: str, body: Any) -> Any:
    method = operation.split(" ")[0].lower()
    data = "" if body is None else json.dumps(body)
    return client.generic(method.upper(), PREFIX + path, data, content_type="application/json")


def said(answer: Any) -> Any:
    """The body without what differs from request to request."""
    if not answer.content:
        return None
    document = answer.json()
    if isinstance(document, dict):
        document.pop("request_id", None)
    return document


def address(operation: str, ids: dict[str, str]) -> str:
    path = operation.split(" ")[1]
    scope = "tenant" if path.startswith("tenants/") else "project"
    names = {**ids, "member_id": ids[f"{scope}_member_id"], "event_id": ids[f"{scope}_event_id"]}
    kind = next((kind for kind in ("secret", "config", "flag") if f"/{kind}s/" in path), "")
    if kind:
        names["key"] = ids[f"{kind}_key"]
    # What an address cannot be asked without.
    query = "?left=1&right=1" if path.endswith("/diff") and operation.startswith("GET") else ""
    return path.format_map(names) + query


def ids_of(world: World) -> dict[str, str]:
    """What there is to name in acme, one row of each kind: names of the addresses, and of the bodies."""
    cast = world.cast
    carol, alice = cast.actor("carol"), cast.actor("alice")
    account = create_service_account(actor=carol, tenant=cast.tenant, name="zyx-robot")
    token, _ = issue_access_token(
        actor=carol,
        bearer=account.user,
        name="zyx",
        scopes=["config:read"],
        expires_at=timezone.now() + timedelta(days=1),
    )
    invitation = create_invitation(actor=carol, tenant=cast.tenant, email="zyx@example.org")
    add_on = activate_add_on(actor=carol, project=cast.project, name="ab_testing")
    grant = give_grant(actor=alice, project=cast.project, email="tess@example.org", permission="config:write")
    identity = identity_of(cast.backend)
    events = AuditEvent.objects.filter(tenant_id=cast.tenant.pk)
    rows: dict[str, Any] = {
        "tenant_id": cast.tenant.pk,
        "project_id": cast.project.pk,
        "service_id": cast.backend.pk,
        "operator_id": cast.users["bob"].pk,
        "token_id": token.pk,
        "account_id": account.pk,
        "invitation_id": invitation.pk,
        "grant_id": grant.public_id,
        "key_id": ApiKey.objects.get(service=cast.backend).pk,
        "identity_id": identity.pk,
        "tenant_member_id": TenantMember.objects.get(tenant=cast.tenant, user=cast.users["finn"]).pk,
        "project_member_id": ProjectMember.objects.get(project=cast.project, user=cast.users["bob"]).pk,
        "tenant_event_id": events.filter(project_id=None).latest("time").pk,
        "project_event_id": events.filter(project_id=cast.project.pk).latest("time").pk,
        "name": add_on.name,
        "version": 1,
        "secret_key": "zyx.production.token",
        "config_key": "zyx.production.host",
        "flag_key": "zyx.production.flag",
        TENANT: cast.tenant.pk,
        PROJECT: cast.project.pk,
        SERVICE: cast.backend.pk,
        UMBRELLA: cast.umbrella.pk,
        ACCOUNT: account.pk,
        INVITATION: token_of(invitation),
    }
    return {name: str(value) for name, value in rows.items()}


def random_ids(real: dict[str, str]) -> dict[str, str]:
    """As many ids, of nothing; names stay names."""
    return {
        name: value if name.endswith("_key") or name in ("name", "version") else str(uuid7())
        for name, value in real.items()
    }


def test_a_stranger_finds_nothing_and_what_is_there_looks_like_what_is_not(world: World) -> None:
    client = signed_in(world.cast, "mallory")
    real = ids_of(world)
    nowhere = random_ids(real)
    # The ends of keys are four hex digits: ids of one's own have them too.
    marks = {mark for mark in marks_of(world.cast) if not re.fullmatch("[0-9a-f]{4}", mark)}
    before = everything(without=UNSEEN)
    wrong = {}

    for operation, line in MATRIX.items():
        there = ask(client, operation, address(operation, real), filled(line.body, real))
        random = ask(client, operation, address(operation, nowhere), filled(line.body, nowhere))
        text = there.content.decode()
        told = {mark for mark in marks if mark in text}
        if there.status_code != line.mallory or told or (line.mallory >= 400 and said(there) != said(random)):
            wrong[operation] = (there.status_code, told, said(there), said(random))

    assert wrong == {}
    assert everything(without=UNSEEN) == before


def test_a_viewer_gets_what_the_matrix_says_and_changes_nothing(world: World) -> None:
    client = signed_in(world.cast, "vic")
    real = ids_of(world)
    before = everything(without=UNSEEN)

    found = {
        operation: ask(client, operation, address(operation, real), filled(line.body, real)).status_code
        for operation, line in MATRIX.items()
    }

    assert found == {operation: line.vic for operation, line in MATRIX.items()}
    assert everything(without=UNSEEN) == before


@pytest.mark.parametrize("who", ["nobody", "key", "token of nothing"])
def test_nobody_and_a_workloads_key_get_one_401_everywhere(world: World, who: str) -> None:
    key = world.cast.keys["backend"]
    headers = {
        "nobody": {},
        "key": {"Authorization": f"Bearer {key}"},
        "token of nothing": {"Authorization": "Bearer nxp_" + "0" * 64},
    }[who]
    client = Client(headers=headers)
    real = ids_of(world)
    before = everything(without=UNSEEN)

    answers = {
        operation: ask(client, operation, address(operation, real), filled(line.body, real))
        for operation, line in MATRIX.items()
    }

    assert {answer.status_code for answer in answers.values()} == {401}
    assert len({json.dumps(said(answer), sort_keys=True) for answer in answers.values()}) == 1
    assert everything(without=UNSEEN) == before
