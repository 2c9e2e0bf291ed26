"""Who belongs to a tenant: added, raised, lowered, removed with all they have; owners never all gone."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType
from django.test import Client
from django.utils import timezone

from apps.audit.models import AuditEvent
from apps.core.access import ProjectRole, TenantRole
from apps.core.actor import Actor
from apps.core.errors import LastOwner, NexusError, NotPermitted
from apps.projects.models import Project, ProjectGrant, ProjectMember
from apps.projects.operations import create_project, set_project_member
from apps.services.models import Service, ServiceGrant
from apps.tenancy.automation import create_service_account
from apps.tenancy.models import Invitation, Tenant, TenantMember, User
from apps.tenancy.operations import (
    create_operator,
    remove_tenant_member,
    revoke_sent_invitations,
    set_tenant_member,
)
from tests.conftest import Cast
from tests.console.session import signed_in
from tests.tenancy.test_manage_api import BASE, NOBODY, PEOPLE, patch, post

InThread = Callable[[Callable[[], Any]], Callable[[], Any]]


def delete(client: Client, path: str, **headers: str) -> Any:
    return client.delete(f"{BASE}/{path}", headers=headers)


def member_of(cast: Cast, name: str, tenant: Tenant | None = None) -> TenantMember:
    return TenantMember.objects.get(tenant=tenant or cast.tenant, user=cast.users[name])


def granted(user: User, target: Service | Project) -> None:
    permission = Permission.objects.get(
        codename="secret:reveal", content_type=ContentType.objects.get_for_model(type(target))
    )
    model = ServiceGrant if isinstance(target, Service) else ProjectGrant
    model.objects.create(user=user, permission=permission, content_object=target)


def invited(
    cast: Cast, by: str, *, tenant: Tenant | None = None, project: Project | None = None
) -> Invitation:
    return Invitation.objects.create(
        tenant=tenant or cast.tenant,
        email="new@example.org",
        role=TenantRole.MEMBER,
        project_id=project.pk if project else None,
        project_role=ProjectRole.VIEWER if project else "",
        invited_by=cast.users[by],
        expires_at=timezone.now() + timedelta(days=7),
    )


def actions(*, since: AuditEvent) -> list[tuple[str, str]]:
    found = AuditEvent.objects.filter(time__gt=since.time).exclude(action__startswith="login")
    return sorted(found.values_list("action", "object_key"))


def latest() -> AuditEvent:
    return AuditEvent.objects.latest("time")


# By hand from SPEC 3: the owner manages members; who sees the tenant is told 403, others 404.
LISTS = {"carol": 200, "mallory": 404}
ITEMS = {"carol": 200}


def test_owners_manage_members_and_others_are_refused(cast: Cast, command: Actor) -> None:
    create_operator(actor=command, email="new@example.org")
    path = f"tenants/{cast.tenant.pk}/members"
    vic = member_of(cast, "vic")

    for name in PEOPLE:
        client = signed_in(cast, name)
        assert client.get(f"{BASE}/{path}").status_code == LISTS.get(name, 403), name
        assert client.get(f"{BASE}/{path}/{vic.pk}").status_code == ITEMS.get(name, 404), name
        if name == "carol":
            continue
        status = LISTS.get(name, 403)
        for email in ("new@example.org", "nobody@example.org", "not an address"):
            assert post(client, path, {"email": email, "role": "member"}).status_code == status, name
        assert patch(client, f"{path}/{vic.pk}", {"role": "finance"}).status_code == 404, name
        assert delete(client, f"{path}/{vic.pk}").status_code == 404, name
    assert member_of(cast, "vic").role == "member"

    carol = signed_in(cast, "carol")
    added = post(carol, path, {"email": "New@example.org", "role": "finance"})
    again = post(carol, path, {"email": "new@example.org", "role": "owner"})
    nobody = post(carol, path, {"email": "nobody@example.org", "role": "member"})
    wrong = [
        post(carol, path, {"email": "new@example.org", "role": "member", **each})
        for each in ({"role": "admin"}, {"email": "x"}, {"email": "a@b.cd" * 60}, {"ends_at": None})
    ]
    item = f"{path}/{added.json()['id']}"
    raised = patch(carol, item, {"role": "owner"}, **{"If-Match": added["ETag"]})
    stale = patch(carol, item, {"role": "member"}, **{"If-Match": added["ETag"]})
    stale_removal = delete(carol, item, **{"If-Match": added["ETag"]})
    read = carol.get(f"{BASE}/{item}")
    owners = carol.get(f"{BASE}/{path}?role=owner&search=NEW@").json()["results"]
    removed = delete(carol, item, **{"If-Match": raised["ETag"]})

    assert (added.status_code, again.status_code, nobody.status_code) == (201, 409, 404)
    assert again.json()["code"] == "already_exists"
    assert {answer.status_code for answer in wrong} == {422}
    assert (raised.status_code, stale.status_code, stale_removal.status_code) == (200, 412, 412)
    assert read.json() == raised.json()
    assert owners == [read.json()]
    assert removed.status_code == 204
    assert delete(carol, item).status_code == 404
    assert delete(carol, f"{path}/{NOBODY}").status_code == 404
    # Another tenant's member is not found under this one.
    foreign = member_of(cast, "mallory", cast.other_tenant)
    assert delete(carol, f"{path}/{foreign.pk}").status_code == 404
    told = AuditEvent.objects.filter(object_key="new@example.org", tenant_id=cast.tenant.pk).order_by("time")
    assert [(event.action, event.changed["role"]) for event in told] == [
        ("tenant_member.added", [None, "finance"]),
        ("tenant_member.role_changed", ["finance", "owner"]),
        ("tenant_member.removed", ["owner", None]),
    ]


def test_nobody_changes_or_removes_themselves_and_service_accounts_are_deleted_instead(
    cast: Cast, command: Actor
) -> None:
    set_tenant_member(actor=command, tenant=cast.tenant, user=cast.users["alice"], role=TenantRole.OWNER)
    account = create_service_account(actor=command, tenant=cast.tenant, name="ci")
    foreign = create_service_account(actor=command, tenant=cast.other_tenant, name="ci")
    carol, path = signed_in(cast, "carol"), f"tenants/{cast.tenant.pk}/members"
    mine, robot = member_of(cast, "carol"), TenantMember.objects.get(user=account.user)

    own = [patch(carol, f"{path}/{mine.pk}", {"role": "member"}), delete(carol, f"{path}/{mine.pk}")]
    own.append(post(carol, path, {"email": "carol@example.org", "role": "member"}))
    its = [patch(carol, f"{path}/{robot.pk}", {"role": "owner"}), delete(carol, f"{path}/{robot.pk}")]
    its += [
        post(carol, path, {"email": email, "role": "member"})
        for email in (account.user.email, foreign.user.email, "cd@evil.service-account.invalid")
    ]

    assert [answer.status_code for answer in own] == [403, 403, 403]
    assert [answer.status_code for answer in its] == [422, 422, 422, 404, 404]
    assert member_of(cast, "carol").role == "owner"
    assert TenantMember.objects.filter(pk=robot.pk).exists()
    listed = carol.get(f"{BASE}/{path}?is_service_account=true").json()["results"]
    assert [each["email"] for each in listed] == [account.user.email]


def test_with_a_member_leaves_all_that_they_had_in_the_tenant_and_nothing_elsewhere(
    cast: Cast, command: Actor
) -> None:
    second = create_project(actor=command, tenant=cast.tenant, slug="second", tier="m")
    gone = create_project(actor=command, tenant=cast.tenant, slug="gone", tier="m")
    mona = cast.users["mona"]
    set_project_member(actor=command, project=second, user=mona, role=ProjectRole.VIEWER)
    set_project_member(actor=command, project=gone, user=mona, role=ProjectRole.OWNER)
    Project.objects.filter(pk=gone.pk).update(
        deleted_at=timezone.now(), purge_after=timezone.now() + timedelta(days=30)
    )
    set_project_member(actor=command, project=cast.other_project, user=mona, role=ProjectRole.VIEWER)
    for target in (cast.project, cast.backend, cast.other_project):
        granted(mona, target)
    granted(cast.users["vic"], cast.backend)
    sent = [invited(cast, "mona"), invited(cast, "mona", project=cast.project)]
    used = invited(cast, "mona")
    Invitation.objects.filter(pk=used.pk).update(accepted_at=timezone.now())
    others = [
        invited(cast, "carol"),
        invited(cast, "mona", tenant=cast.other_tenant, project=cast.other_project),
    ]
    carol, before = signed_in(cast, "carol"), latest()

    answer = delete(carol, f"tenants/{cast.tenant.pk}/members/{member_of(cast, 'mona').pk}")

    assert answer.status_code == 204
    assert not TenantMember.objects.filter(tenant=cast.tenant, user=mona).exists()
    assert [each.project_id for each in ProjectMember.objects.filter(user=mona)] == [cast.other_project.pk]
    assert [each.content_object_id for each in ProjectGrant.objects.filter(user=mona)] == [
        cast.other_project.pk
    ]
    assert not ServiceGrant.objects.filter(user=mona).exists()
    assert ServiceGrant.objects.filter(user=cast.users["vic"]).exists()
    assert all(Invitation.objects.get(pk=each.pk).revoked_at for each in sent)
    assert not any(Invitation.objects.get(pk=each.pk).revoked_at for each in [used, *others])
    assert actions(since=before) == [
        ("invitation.revoked", "new@example.org"),
        ("invitation.revoked", "new@example.org"),
        ("project_member.removed", "mona@example.org"),
        ("project_member.removed", "mona@example.org"),
        ("project_member.removed", "mona@example.org"),
        ("tenant_member.removed", "mona@example.org"),
    ]


def test_a_lowered_owner_keeps_project_roles_and_loses_grants_and_sent_invitations(
    cast: Cast, command: Actor
) -> None:
    alice = cast.users["alice"]
    set_tenant_member(actor=command, tenant=cast.tenant, user=alice, role=TenantRole.OWNER)
    granted(alice, cast.project)
    granted(alice, cast.backend)
    sent = invited(cast, "alice", project=cast.project)
    carol, path = signed_in(cast, "carol"), f"tenants/{cast.tenant.pk}/members"
    before = latest()

    lowered = patch(carol, f"{path}/{member_of(cast, 'alice').pk}", {"role": "member"})

    assert lowered.json()["role"] == "member"
    assert ProjectMember.objects.get(user=alice).role == "owner"
    assert not ProjectGrant.objects.filter(user=alice).exists()
    assert not ServiceGrant.objects.filter(user=alice).exists()
    assert Invitation.objects.get(pk=sent.pk).revoked_at is not None
    assert actions(since=before) == [
        ("invitation.revoked", "new@example.org"),
        ("tenant_member.role_changed", "alice@example.org"),
    ]


def test_the_last_owner_of_a_tenant_or_project_stays_and_everything_with_them(
    cast: Cast, command: Actor
) -> None:
    carol = signed_in(cast, "carol")
    path = f"tenants/{cast.tenant.pk}/members"
    sent = invited(cast, "alice", project=cast.project)
    granted(cast.users["alice"], cast.backend)

    of_project = delete(carol, f"{path}/{member_of(cast, 'alice').pk}")
    post(signed_in(cast, "sue"), f"tenants/{cast.tenant.pk}/break-glass", {"role": "owner", "reason": "x"})
    by_sue = signed_in(cast, "sue")
    of_tenant = [
        delete(by_sue, f"{path}/{member_of(cast, 'carol').pk}"),
        patch(by_sue, f"{path}/{member_of(cast, 'carol').pk}", {"role": "member"}),
    ]

    assert (of_project.status_code, of_project.json()["code"]) == (409, "last_owner")
    assert "acme/shop" in of_project.json()["detail"]
    assert [(each.status_code, each.json()["code"]) for each in of_tenant] == [(409, "last_owner")] * 2
    assert member_of(cast, "carol").role == "owner"
    assert ProjectMember.objects.get(user=cast.users["alice"]).role == "owner"
    assert ServiceGrant.objects.filter(user=cast.users["alice"]).exists()
    assert Invitation.objects.get(pk=sent.pk).revoked_at is None
    # With another owner of the project she may go.
    set_project_member(actor=command, project=cast.project, user=cast.users["mona"], role=ProjectRole.OWNER)
    assert delete(carol, f"{path}/{member_of(cast, 'alice').pk}").status_code == 204


def test_two_owners_who_remove_each_other_at_once_leave_one(
    committed_cast: Cast, command: Actor, in_thread: InThread
) -> None:
    cast = committed_cast
    # With a third owner neither is the last: the one who was removed must not remove any more.
    for name in ("alice", "mona"):
        set_tenant_member(actor=command, tenant=cast.tenant, user=cast.users[name], role=TenantRole.OWNER)
    set_project_member(actor=command, project=cast.project, user=cast.users["mona"], role=ProjectRole.OWNER)
    actors = {name: cast.actor(name) for name in ("carol", "alice")}
    members = {name: member_of(cast, name) for name in ("carol", "alice", "mona")}

    def remove(by: str, whom: str) -> NexusError | None:
        try:
            remove_tenant_member(actor=actors[by], member=members[whom])
        except (LastOwner, NotPermitted) as refusal:
            return refusal
        return None

    with ThreadPoolExecutor(2) as pool:
        pairs = [("carol", "alice"), ("alice", "carol")]
        futures = [pool.submit(in_thread(lambda pair=pair: remove(*pair))) for pair in pairs]
        refusals = [future.result() for future in futures]

    assert sorted(type(each).__name__ for each in refusals) == ["NoneType", "NotPermitted"]
    left = TenantMember.objects.filter(tenant=cast.tenant, role="owner").values_list("user__email", flat=True)
    assert len(left) == 2
    assert AuditEvent.objects.filter(action="tenant_member.removed").count() == 1


def test_of_two_last_owners_removed_at_once_one_stays(
    committed_cast: Cast, command: Actor, in_thread: InThread
) -> None:
    cast = committed_cast
    set_tenant_member(actor=command, tenant=cast.tenant, user=cast.users["finn"], role=TenantRole.OWNER)
    members = [member_of(cast, name) for name in ("carol", "finn")]

    def remove(member: TenantMember) -> bool:
        try:
            remove_tenant_member(actor=command, member=member)
        except LastOwner:
            return False
        return True

    with ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(in_thread(lambda each=each: remove(each))) for each in members]
        removed = [future.result() for future in futures]

    assert sorted(removed) == [False, True]
    assert TenantMember.objects.filter(tenant=cast.tenant, role="owner").count() == 1


def test_invitations_into_one_project_are_taken_back_alone(cast: Cast, command: Actor) -> None:
    into, beside = invited(cast, "mona", project=cast.project), invited(cast, "mona")

    count = revoke_sent_invitations(
        actor=command, user=cast.users["mona"], tenant=cast.tenant, project_id=cast.project.pk
    )

    assert count == 1
    assert Invitation.objects.get(pk=into.pk).revoked_at is not None
    assert Invitation.objects.get(pk=beside.pk).revoked_at is None
    assert latest().project_id == cast.project.pk


def test_a_list_of_members_costs_the_same_however_long_it_is(
    cast: Cast, django_assert_max_num_queries: Any
) -> None:
    client = signed_in(cast, "carol")
    users = User.objects.bulk_create(User(email=f"p{number}@example.org") for number in range(100))
    TenantMember.objects.bulk_create(
        TenantMember(tenant=cast.tenant, user=user, role=TenantRole.MEMBER) for user in users
    )

    with django_assert_max_num_queries(12):
        page = client.get(f"{BASE}/tenants/{cast.tenant.pk}/members?limit=200").json()

    assert len(page["results"]) == 107
