"""Members of a project through the management API."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from apps.audit.models import AuditEvent
from apps.core.access import ProjectRole
from apps.core.actor import Actor
from apps.core.errors import NexusError
from apps.projects.members import change_project_member, remove_member_by_id
from apps.projects.models import ProjectGrant, ProjectMember
from apps.projects.operations import create_project, set_project_member
from apps.services.grants import give_grant
from apps.tenancy.automation import create_service_account
from apps.tenancy.models import Invitation, TenantMember
from apps.tenancy.operations import create_operator
from tests.conftest import Cast
from tests.projects.manage import NOBODY, send, session_client, token_client

InThread = Callable[[Callable[[], Any]], Callable[[], Any]]
PEOPLE = ["alice", "mona", "bob", "tess", "vic", "carol", "finn", "mallory", "sue"]
SEES = {"alice", "mona", "bob", "tess", "vic", "carol"}
# By hand from SPEC 3: which roles somebody may give, in the order of the role table.
GIVES = {
    "alice": ["owner", "manager", "developer", "tester", "viewer"],
    "carol": ["owner", "manager", "developer", "tester", "viewer"],
    "mona": ["developer", "tester", "viewer"],
}


def member_of(cast: Cast, name: str) -> ProjectMember:
    return ProjectMember.objects.get(project=cast.project, user=cast.users[name])


def role_of(cast: Cast, name: str) -> str | None:
    return (
        ProjectMember.objects.filter(project=cast.project, user=cast.users[name])
        .values_list("role", flat=True)
        .first()
    )


@pytest.mark.parametrize("name", PEOPLE)
def test_who_reads_gives_changes_and_takes_roles(cast: Cast, name: str) -> None:
    client = session_client(cast, name)
    path = f"projects/{cast.project.pk}/members"
    vic = f"{path}/{member_of(cast, 'vic').pk}"
    sees, manages = name in SEES, name in GIVES

    assert send(client, "get", path).status_code == (200 if manages else 403 if sees else 404)
    assert send(client, "get", vic).status_code == (200 if manages else 404)
    for role in ("owner", "manager", "developer", "tester", "viewer"):
        may = role in GIVES.get(name, [])
        refused = 403 if sees else 404
        added = send(client, "post", path, {"email": "sue@example.org", "role": role})
        assert added.status_code == (201 if may and name != "sue" else refused), role
        changed = send(client, "patch", vic, {"role": role})
        # Back to the viewer, by the host: a manager could not lower an owner again.
        assert changed.status_code == (200 if may else 403 if manages else 404), role
        set_project_member(
            actor=Actor.command("tester"),
            project=cast.project,
            user=cast.users["vic"],
            role=ProjectRole.VIEWER,
        )
        ProjectMember.objects.filter(user=cast.users["sue"]).delete()
    assert send(client, "delete", vic).status_code == (204 if manages else 404)
    assert role_of(cast, "vic") == (None if manages else "viewer")


def test_managers_do_not_touch_those_above_them_and_nobody_themselves(cast: Cast) -> None:
    mona, alice = session_client(cast, "mona"), session_client(cast, "alice")
    path = f"projects/{cast.project.pk}/members"

    for client, name in ((mona, "alice"), (mona, "mona"), (alice, "alice")):
        at = f"{path}/{member_of(cast, name).pk}"
        assert send(client, "patch", at, {"role": "viewer"}).status_code == 403
    assert send(mona, "delete", f"{path}/{member_of(cast, 'alice').pk}").status_code == 403
    assert (role_of(cast, "alice"), role_of(cast, "mona")) == ("owner", "manager")


def test_a_member_from_joining_to_leaving(cast: Cast, command: Actor) -> None:
    create_operator(actor=command, email="new@example.org", name="New")
    client = session_client(cast, "alice")
    path = f"projects/{cast.project.pk}/members"
    body = {"email": "New@Example.org", "role": "tester"}

    made = send(client, "post", path, body, **{"Idempotency-Key": "k"})
    replay = send(client, "post", path, body, **{"Idempotency-Key": "k"})
    twice = send(client, "post", path, {**body, "role": "owner"})
    at = f"{path}/{made.json()['id']}"
    raised = send(client, "patch", at, {"role": "developer"}, **{"If-Match": made["ETag"]})
    stale = send(client, "patch", at, {"role": "viewer"}, **{"If-Match": made["ETag"]})
    stale_end = send(client, "delete", at, **{"If-Match": made["ETag"]})
    ended = send(client, "delete", at, **{"If-Match": raised["ETag"]})

    assert made.status_code == 201, made.content
    assert (made.json()["email"], made.json()["role"]) == ("new@example.org", "tester")
    assert replay.json() == made.json()
    assert (twice.status_code, twice.json()["code"]) == (409, "already_exists")
    assert (raised.status_code, raised.json()["role"]) == (200, "developer")
    assert (stale.status_code, stale_end.status_code, ended.status_code) == (412, 412, 204)
    assert send(client, "get", at).status_code == 404
    told = AuditEvent.objects.filter(object_key="new@example.org", object_type="project_member")
    assert list(told.order_by("sequence").values_list("action", flat=True)) == [
        "project_member.added",
        "project_member.role_changed",
        "project_member.removed",
    ]
    assert TenantMember.objects.get(tenant=cast.tenant, user__email="new@example.org").role == "member"


def test_who_cannot_be_added_and_what_is_refused(cast: Cast) -> None:
    account = create_service_account(actor=cast.actor("carol"), tenant=cast.tenant, name="ci")
    foreign = create_service_account(actor=cast.actor("mallory"), tenant=cast.other_tenant, name="ci")
    client = session_client(cast, "alice")
    path = f"projects/{cast.project.pk}/members"

    answers = {
        body["email"]: send(client, "post", path, body)
        for body in (
            {"email": "nobody@example.org", "role": "viewer"},
            {"email": foreign.user.email, "role": "viewer"},
            {"email": "no-address", "role": "viewer"},
            {"email": "sue@example.org", "role": "king"},
        )
    }
    own = send(client, "post", path, {"email": account.user.email, "role": "owner"})
    fits = send(client, "post", path, {"email": account.user.email, "role": "manager"})

    assert {answer.status_code for answer in answers.values()} == {422}
    # Whether somebody else's account has an address is not told.
    texts = {
        answers[email].json()["errors"]["email"][0] for email in ("nobody@example.org", foreign.user.email)
    }
    assert len(texts) == 1
    assert "nobody@" not in str(texts)
    assert (own.status_code, fits.status_code) == (422, 201)
    assert fits.json()["is_service_account"] is True


def test_no_token_manages_members(cast: Cast) -> None:
    client = token_client(cast, "alice", "project:read", "member:read")
    path = f"projects/{cast.project.pk}/members"

    assert send(client, "get", path).status_code == 200
    assert send(client, "post", path, {"email": "sue@example.org", "role": "viewer"}).status_code == 403
    assert send(client, "delete", f"{path}/{member_of(cast, 'vic').pk}").status_code == 403


def test_the_cap_of_members_is_told(cast: Cast, command: Actor) -> None:
    project = create_project(actor=command, tenant=cast.tenant, slug="tiny")
    for name in ("alice", "mona", "bob"):
        set_project_member(actor=command, project=project, user=cast.users[name], role=ProjectRole.VIEWER)
    path = f"projects/{project.pk}/members"

    refused = send(
        session_client(cast, "carol"), "post", path, {"email": "vic@example.org", "role": "viewer"}
    )

    assert (refused.status_code, refused.json()["code"]) == (409, "quota_exceeded")
    assert (refused.json()["quota"], refused.json()["cap"]) == ("members", 3)


@pytest.mark.parametrize("by", ["lowered", "removed"])
def test_who_leaves_or_is_lowered_leaves_grants_and_invitations_behind(
    cast: Cast, by: str, command: Actor
) -> None:
    other = create_project(actor=command, tenant=cast.tenant, slug="other", tier="m")
    set_project_member(actor=command, project=other, user=cast.users["mona"], role=ProjectRole.MANAGER)
    for service in (None, cast.backend):
        give_grant(
            actor=cast.actor("alice"),
            project=cast.project,
            email="mona@example.org",
            permission="audit:read",
            service=service,
        )
    mona = session_client(cast, "mona")
    for project in (cast.project, other):
        body = {"email": "friend@example.org", "project": str(project.pk), "project_role": "viewer"}
        assert send(mona, "post", f"tenants/{cast.tenant.pk}/invitations", body).status_code == 201
    at = f"projects/{cast.project.pk}/members/{member_of(cast, 'mona').pk}"
    client = session_client(cast, "alice")

    answer = send(client, "patch", at, {"role": "viewer"}) if by == "lowered" else send(client, "delete", at)

    assert answer.status_code in (200, 204)
    user = cast.users["mona"]
    assert not user.has_perm("audit:read", cast.project)
    assert not user.has_perm("audit:read", cast.backend)
    assert not ProjectGrant.objects.filter(user=user).exists()
    revoked = Invitation.objects.exclude(revoked_at=None)
    assert [each.project_id for each in revoked] == [cast.project.pk]
    told = AuditEvent.objects.filter(action="invitation.revoked")
    assert [event.object_id for event in told] == [str(revoked.get().pk)]


def test_being_raised_takes_nothing(cast: Cast) -> None:
    give_grant(
        actor=cast.actor("alice"), project=cast.project, email="vic@example.org", permission="audit:read"
    )

    send(
        session_client(cast, "alice"),
        "patch",
        f"projects/{cast.project.pk}/members/{member_of(cast, 'vic').pk}",
        {"role": "tester"},
    )

    assert cast.users["vic"].has_perm("audit:read", cast.project)


def test_a_member_is_found_under_their_own_project_alone(cast: Cast, command: Actor) -> None:
    other = create_project(actor=command, tenant=cast.tenant, slug="other")
    client = session_client(cast, "carol")
    vic = member_of(cast, "vic").pk

    assert send(client, "get", f"projects/{other.pk}/members/{vic}").status_code == 404
    assert send(client, "delete", f"projects/{other.pk}/members/{vic}").status_code == 404
    assert (
        send(client, "patch", f"projects/{cast.project.pk}/members/{NOBODY}", {"role": "viewer"}).status_code
        == 404
    )


def test_the_list_is_filtered_and_costs_the_same_for_many(cast: Cast, command: Actor) -> None:
    client = session_client(cast, "alice")
    path = f"projects/{cast.project.pk}/members"
    with CaptureQueriesContext(connection) as few:
        send(client, "get", path)
    for number in range(8):
        user, _ = create_operator(actor=command, email=f"p{number}@example.org")
        set_project_member(actor=command, project=cast.project, user=user, role=ProjectRole.TESTER)

    with CaptureQueriesContext(connection) as many:
        listed = send(client, "get", path).json()["results"]

    assert len(listed) == 13
    assert len(many) == len(few) <= 12
    testers = send(client, "get", f"{path}?role=tester&search=P1@").json()["results"]
    assert [each["email"] for each in testers] == ["p1@example.org"]
    assert send(client, "get", f"{path}?role=king").status_code == 422


def at_once(calls: list[Callable[[], Any]], in_thread: InThread) -> list[str]:
    """The code that each of the calls side by side was refused with, or `done`."""

    def attempt(call: Callable[[], Any]) -> str:
        try:
            call()
        except NexusError as refusal:
            return refusal.code
        return "done"

    with ThreadPoolExecutor(len(calls)) as pool:
        futures = [pool.submit(in_thread(lambda call=call: attempt(call))) for call in calls]
        return sorted(future.result() for future in futures)


@pytest.mark.parametrize("by", ["lowering", "removing"])
def test_two_owners_cannot_leave_the_project_without_one(
    committed_cast: Cast, command: Actor, in_thread: InThread, by: str
) -> None:
    cast = committed_cast
    set_project_member(actor=command, project=cast.project, user=cast.users["bob"], role=ProjectRole.OWNER)
    members = {name: member_of(cast, name).pk for name in ("alice", "bob")}
    actors = {name: cast.actor(name) for name in ("alice", "bob")}

    def call(by_whom: str, whom: str) -> Callable[[], Any]:
        if by == "removing":
            return lambda: remove_member_by_id(
                actor=actors[by_whom], project=cast.project, member_id=members[whom]
            )
        return lambda: change_project_member(
            actor=actors[by_whom], project=cast.project, member_id=members[whom], role=ProjectRole.VIEWER
        )

    outcomes = at_once([call("alice", "bob"), call("bob", "alice")], in_thread)

    # Who comes second and was lowered meanwhile is no owner any more, and so lowers nobody.
    assert outcomes == ["done", "last_owner" if by == "removing" else "not_permitted"]
    assert ProjectMember.objects.filter(project=cast.project, role="owner").count() == 1


def test_a_membership_that_ends_keeps_no_project_owned(cast: Cast) -> None:
    ProjectMember.objects.filter(user=cast.users["mona"]).update(
        role="owner", ends_at=timezone.now() + timedelta(hours=4)
    )
    at = f"projects/{cast.project.pk}/members/{member_of(cast, 'alice').pk}"

    answer = send(session_client(cast, "carol"), "delete", at)

    assert (answer.status_code, answer.json()["code"]) == (409, "last_owner")
