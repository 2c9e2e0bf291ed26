"""Extra grants on a project and its services through the management API."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from apps.audit.models import AuditEvent
from apps.core.access import ProjectRole
from apps.core.actor import Actor
from apps.projects.memberships import operator_actor
from apps.projects.models import ProjectGrant
from apps.projects.operations import set_project_member
from apps.services.models import Service, ServiceGrant
from apps.tenancy.automation import create_service_account
from apps.tenancy.models import User
from tests.conftest import Cast
from tests.projects.manage import NOBODY, send, session_client, token_client

PEOPLE = ["alice", "mona", "bob", "tess", "vic", "carol", "finn", "mallory", "sue"]
SEES = {"alice", "mona", "bob", "tess", "vic", "carol"}
MANAGES = {"alice", "mona", "carol"}
FIELDS = {"id", "email", "permission", "service", "granted_by", "created_at", "ends_at"}


def path_of(cast: Cast) -> str:
    return f"projects/{cast.project.pk}/grants"


def holds(cast: Cast, name: str, permission: str, service: Service) -> tuple[bool, bool]:
    """As `has_perm` and `visible_to` have it."""
    user = User.objects.get(pk=cast.users[name].pk)
    seen = Service.objects.visible_to(operator_actor(user), permission).filter(pk=service.pk).exists()
    return user.has_perm(permission, service), seen


@pytest.mark.parametrize("name", PEOPLE)
def test_who_lists_gives_and_revokes_grants(cast: Cast, name: str) -> None:
    client = session_client(cast, name)
    kept = send(
        session_client(cast, "alice"),
        "post",
        path_of(cast),
        {"email": "tess@example.org", "permission": "audit:read"},
    )
    sees, manages = name in SEES, name in MANAGES

    listed = send(client, "get", path_of(cast))
    given = send(client, "post", path_of(cast), {"email": "bob@example.org", "permission": "secret:list"})
    revoked = send(client, "delete", f"{path_of(cast)}/{kept.json()['id']}")

    assert listed.status_code == (200 if manages else 403 if sees else 404)
    assert given.status_code == (201 if manages else 403 if sees else 404)
    assert revoked.status_code == (204 if manages else 404)
    assert ProjectGrant.objects.filter(user=cast.users["tess"]).exists() is not manages


def test_a_grant_opens_one_service_until_its_end_by_every_door(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = timezone.now() + timedelta(minutes=30)
    body = {
        "email": "vic@example.org",
        "permission": "member:read",
        "ends_at": ends.isoformat(),
    }
    alice, vic = session_client(cast, "alice"), session_client(cast, "vic")
    members = f"projects/{cast.project.pk}/members"
    before = send(vic, "get", members)

    on_project = send(alice, "post", path_of(cast), body)
    on_service = send(
        alice,
        "post",
        path_of(cast),
        {**body, "permission": "secret:reveal", "service": str(cast.backend.pk)},
    )
    open_now = send(vic, "get", members)
    held = holds(cast, "vic", "secret:reveal", cast.backend), holds(cast, "vic", "secret:reveal", cast.child)
    later = timezone.now() + timedelta(hours=1)
    monkeypatch.setattr(timezone, "now", lambda: later)

    assert on_project.status_code == on_service.status_code == 201
    assert on_project.json().keys() == FIELDS
    assert on_service.json()["service"] == str(cast.backend.pk)
    assert on_service.json()["granted_by"] == "alice@example.org"
    assert (before.status_code, open_now.status_code) == (403, 200)
    assert held == ((True, True), (False, False))
    assert send(vic, "get", members).status_code == 403
    assert holds(cast, "vic", "secret:reveal", cast.backend) == (False, False)
    assert send(alice, "get", path_of(cast)).json()["results"] == []
    gone = send(alice, "delete", f"{path_of(cast)}/{on_service.json()['id']}")
    assert gone.status_code == 404
    # What has ended makes room for a new one.
    again = send(alice, "post", path_of(cast), {**body, "ends_at": None})
    assert again.status_code == 201


def test_what_nobody_may_grant(cast: Cast) -> None:
    alice, mona = session_client(cast, "alice"), session_client(cast, "mona")
    good = {"email": "vic@example.org", "permission": "audit:read"}
    past = (timezone.now() - timedelta(seconds=1)).isoformat()
    stranger = create_service_account(actor=cast.actor("mallory"), tenant=cast.other_tenant, name="ci").user
    User.objects.filter(pk=cast.users["tess"].pk).update(is_active=False)

    wrong: list[dict[str, Any]] = [
        {**good, "permission": "project:delete"},
        {**good, "permission": "member:manage"},
        {**good, "permission": "project:change_tier"},
        {**good, "permission": "canary:canary"},
        {**good, "permission": "segment:write", "service": str(cast.backend.pk)},
        {**good, "ends_at": past},
        {**good, "email": "mallory@example.org"},
        {**good, "email": "nobody@example.org"},
        {**good, "email": "tess@example.org"},
        {**good, "email": stranger.email},
        {**good, "canary": 1},
    ]
    answers = [send(alice, "post", path_of(cast), body) for body in wrong]
    myself = send(mona, "post", path_of(cast), {**good, "email": "mona@example.org"})
    # No role but the tester's has it, so that nobody who manages members can hand it on.
    lacking = send(mona, "post", path_of(cast), {**good, "permission": "audit:read_non_secret"})
    elsewhere = send(alice, "post", path_of(cast), {**good, "service": NOBODY})

    assert [answer.status_code for answer in answers] == [422] * len(wrong)
    assert not any(b"canary:canary" in answer.content for answer in answers)
    assert (myself.status_code, lacking.status_code, elsewhere.status_code) == (403, 403, 404)
    assert not ProjectGrant.objects.exists()
    assert not ServiceGrant.objects.exists()


def test_the_same_grant_is_not_given_twice(cast: Cast) -> None:
    client = session_client(cast, "mona")
    body = {"email": "vic@example.org", "permission": "secret:list"}
    on_service = {**body, "service": str(cast.backend.pk)}

    first = send(client, "post", path_of(cast), body, **{"Idempotency-Key": "k"})
    replay = send(client, "post", path_of(cast), body, **{"Idempotency-Key": "k"})
    second = send(client, "post", path_of(cast), body)
    elsewhere = send(client, "post", path_of(cast), on_service)
    twice = send(client, "post", path_of(cast), on_service)

    assert (first.status_code, replay.json()) == (201, first.json())
    assert [each.status_code for each in (second, elsewhere, twice)] == [409, 201, 409]
    assert second.json()["code"] == "already_exists"


def test_given_and_revoked_grants_are_told(cast: Cast) -> None:
    client = session_client(cast, "mona")
    body = {"email": "vic@example.org", "permission": "secret:list", "service": str(cast.backend.pk)}

    made = send(client, "post", path_of(cast), body).json()
    ended = send(client, "delete", f"{path_of(cast)}/{made['id']}")
    again = send(client, "delete", f"{path_of(cast)}/{made['id']}")

    assert (ended.status_code, again.status_code) == (204, 404)
    given, revoked = AuditEvent.objects.filter(object_type="grant").order_by("sequence")
    assert (given.action, revoked.action) == ("grant.given", "grant.revoked")
    assert given.object_id == revoked.object_id == made["id"]
    assert (given.object_key, given.service_id) == ("vic@example.org", cast.backend.pk)
    assert given.changed == {"permission": [None, "secret:list"], "ends_at": [None, None]}
    assert holds(cast, "vic", "secret:list", cast.backend) == (False, False)


def test_a_service_account_of_the_tenant_takes_grants(cast: Cast) -> None:
    account = create_service_account(actor=cast.actor("carol"), tenant=cast.tenant, name="ci")
    body = {"email": account.user.email, "permission": "config:read"}

    assert send(session_client(cast, "alice"), "post", path_of(cast), body).status_code == 201
    assert account.user.has_perm("config:read", cast.backend)


def test_no_token_gives_grants(cast: Cast) -> None:
    client = token_client(cast, "alice", "project:read", "secret:list", "audit:read")

    assert send(client, "get", path_of(cast)).status_code == 403
    body = {"email": "vic@example.org", "permission": "secret:list"}
    assert send(client, "post", path_of(cast), body).status_code == 403


def test_both_kinds_stand_in_one_list_whose_pages_skip_nothing(cast: Cast, command: Actor) -> None:
    set_project_member(actor=command, project=cast.project, user=cast.users["sue"], role=ProjectRole.VIEWER)
    client = session_client(cast, "alice")
    made = []
    for name in ("vic", "tess", "sue"):
        for service in (None, str(cast.backend.pk), str(cast.child.pk)):
            body = {"email": f"{name}@example.org", "permission": "audit:read", "service": service}
            made.append(send(client, "post", path_of(cast), body).json())

    for ordering in ("created_at", "-created_at"):
        seen: list[dict[str, Any]] = []
        cursor = ""
        while True:
            page = send(client, "get", f"{path_of(cast)}?limit=2&ordering={ordering}{cursor}").json()
            seen += page["results"]
            if page["next"] is None:
                break
            cursor = f"&cursor={page['next']}"
        assert seen == (made if ordering == "created_at" else made[::-1])
    found = send(client, "get", f"{path_of(cast)}?search=TESS").json()["results"]
    assert [each["email"] for each in found] == ["tess@example.org"] * 3
    assert send(client, "get", f"{path_of(cast)}?cursor=canary").status_code == 422
