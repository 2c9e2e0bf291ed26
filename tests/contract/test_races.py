"""What several do through the management API in the same moment."""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from apps.audit.models import AuditEvent
from apps.core.access import ProjectRole, TenantRole
from apps.core.actor import Actor
from apps.core.models import Change
from apps.projects.invitations import create_invitation
from apps.projects.models import ProjectMember
from apps.projects.operations import create_project, set_project_member
from apps.services.models import Kind
from apps.services.operations import create_service
from apps.tenancy.invitations import token_of
from apps.tenancy.models import TenantMember
from apps.tenancy.operations import create_operator, set_tenant_member
from apps.vault.models import Secret, SecretVersion
from apps.vault.operations import set_secret
from tests.conftest import Cast
from tests.console.session import PASSWORD, sign_in, signed_in
from tests.services.test_races import at_once
from tests.tenancy.test_manage_api import BASE, by_token, post
from tests.tenancy.test_manage_api import token_of as access_token_of

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "reader"])

InThread = Callable[[Callable[[], Any]], Callable[[], Any]]
CREATES, THREADS = 50, 8


def test_the_last_place_for_a_secret_is_given_once_to_fifty_who_ask(
    committed_cast: Cast, command: Actor, in_thread: InThread
) -> None:
    cast = committed_cast
    project = create_project(actor=command, tenant=cast.tenant, slug="tiny", tier="free")
    service = create_service(
        actor=command, project=project, environment="develop", slug="one", kind=Kind.BACKEND
    )
    for number in range(24):
        set_secret(actor=command, service=service, key=f"old-{number}", value=b"x")
    text = access_token_of(cast, "carol", "secret:list", "secret:write")

    def create(number: int) -> Any:
        return post(by_token(text), f"services/{service.pk}/secrets", {"key": f"new-{number}", "value": "x"})

    with ThreadPoolExecutor(THREADS) as pool:
        futures = [pool.submit(in_thread(lambda number=number: create(number))) for number in range(CREATES)]
        answers = [future.result() for future in futures]

    assert Counter(answer.status_code for answer in answers) == {201: 1, 409: CREATES - 1}
    for answer in answers:
        if answer.status_code == 409:
            problem = answer.json()
            assert problem["code"] == "quota_exceeded"
            assert (problem["quota"], problem["cap"], problem["tier"]) == ("secrets", 25, "free")
    assert Secret.objects.filter(service=service).count() == 25
    assert AuditEvent.objects.filter(action="secret.created", service_id=service.pk).count() == 25


@pytest.mark.parametrize("scope", ["tenants", "projects"])
def test_of_two_last_owners_who_remove_each_other_at_once_one_stays(
    committed_cast: Cast, command: Actor, in_thread: InThread, scope: str
) -> None:
    cast = committed_cast
    if scope == "tenants":
        first, second = "carol", "finn"
        set_tenant_member(actor=command, tenant=cast.tenant, user=cast.users[second], role=TenantRole.OWNER)
        rows: Any = TenantMember.objects.filter(tenant=cast.tenant)
        base = f"{BASE}/tenants/{cast.tenant.pk}/members"
    else:
        first, second = "alice", "bob"
        set_project_member(
            actor=command, project=cast.project, user=cast.users[second], role=ProjectRole.OWNER
        )
        rows = ProjectMember.objects.filter(project=cast.project)
        base = f"{BASE}/projects/{cast.project.pk}/members"
    members = {name: rows.get(user=cast.users[name]).pk for name in (first, second)}
    clients = {name: signed_in(cast, name) for name in (first, second)}

    answers = at_once(
        in_thread,
        [
            lambda: clients[first].delete(f"{base}/{members[second]}"),
            lambda: clients[second].delete(f"{base}/{members[first]}"),
        ],
    )

    statuses = sorted(answer.status_code for answer in answers)
    # The other was removed meanwhile: of their own role nothing is left (403, 404), or they are the last.
    assert statuses[0] == 204 and statuses[1] in (403, 404, 409), [answer.content for answer in answers]
    assert rows.filter(role="owner").count() == 1
    assert AuditEvent.objects.filter(action=f"{scope[:-1]}_member.removed").count() == 1


def test_an_invitation_that_is_accepted_twice_at_once_lets_in_once(
    committed_cast: Cast, command: Actor, in_thread: InThread
) -> None:
    cast = committed_cast
    user, _ = create_operator(actor=command, email="new@example.org", must_change_password=False)
    user.set_password(PASSWORD)
    user.save()
    invitation = create_invitation(
        actor=cast.actor("alice"),
        tenant=cast.tenant,
        email=user.email,
        project=cast.project,
        project_role=ProjectRole.VIEWER,
    )
    token = token_of(invitation)
    clients = [sign_in(user), sign_in(user)]

    answers = at_once(
        in_thread,
        [lambda client=client: post(client, "invitations/accept", {"token": token}) for client in clients],
    )

    assert sorted(answer.status_code for answer in answers) == [200, 409]
    assert {answer.json().get("code") for answer in answers} == {None, "already_used"}
    assert ProjectMember.objects.filter(project=cast.project, user=user).count() == 1
    assert TenantMember.objects.filter(tenant=cast.tenant, user=user).count() == 1
    assert AuditEvent.objects.filter(action="invitation.accepted").count() == 1


def test_one_idempotency_key_twice_at_once_makes_one_secret_and_answers_both(
    committed_cast: Cast, in_thread: InThread
) -> None:
    cast = committed_cast
    text = access_token_of(cast, "mona", "secret:list", "secret:write")
    path, body = f"services/{cast.backend.pk}/secrets", {"key": "a", "value": "x"}
    key = {"Idempotency-Key": "7f1c0d1e-0000-4000-8000-000000000002"}

    answers = at_once(in_thread, [lambda: post(by_token(text), path, body, **key) for _ in range(2)])

    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[0].json() == answers[1].json()
    assert sorted(answer.has_header("Idempotent-Replayed") for answer in answers) == [False, True]
    assert SecretVersion.objects.filter(secret__service=cast.backend).count() == 1
    assert AuditEvent.objects.filter(action="secret.created").count() == 1


def test_no_write_comes_after_the_role_of_who_writes_was_taken(
    committed_cast: Cast, in_thread: InThread
) -> None:
    cast = committed_cast
    text = access_token_of(cast, "mona", "secret:list", "secret:write")
    member = ProjectMember.objects.get(project=cast.project, user=cast.users["mona"])
    alice = signed_in(cast, "alice")
    path = f"services/{cast.backend.pk}/secrets"

    # Several writes, so that some are at the door, and some under way, when the role goes.
    answers = at_once(
        in_thread,
        [
            lambda: alice.delete(f"{BASE}/projects/{cast.project.pk}/members/{member.pk}"),
            *(
                lambda number=number: post(by_token(text), path, {"key": f"k{number}", "value": "x"})  # type: ignore[misc]
                for number in range(7)
            ),
        ],
    )

    removed, *writes = answers
    assert removed.status_code == 204
    assert {answer.status_code for answer in writes} <= {201, 403, 404}, [each.content for each in writes]
    written = {answer.json()["key"] for answer in writes if answer.status_code == 201}
    # Each that was answered stands, with its event and its change, and no other does.
    assert set(Secret.objects.filter(service=cast.backend).values_list("key", flat=True)) == written
    events = AuditEvent.objects.filter(action="secret.created", service_id=cast.backend.pk)
    assert set(events.values_list("object_key", flat=True)) == written
    assert set(Change.objects.filter(event="secret.updated").values_list("key", flat=True)) == written
    # And all of them came before: both are in one chain, which numbers them under the project's lock.
    taken = AuditEvent.objects.get(action="project_member.removed")
    assert all(event.chain_id == taken.chain_id for event in events)
    assert all(event.sequence < taken.sequence for event in events)
