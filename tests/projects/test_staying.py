"""What is given by, or to, somebody who broke the glass ends with it."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from apps.core.access import ProjectRole, TenantRole, allows
from apps.core.actor import Actor
from apps.core.errors import AlreadyUsed, NotPermitted
from apps.projects.invitations import accept_invitation, create_invitation
from apps.projects.members import add_project_member
from apps.projects.models import ProjectMember
from apps.projects.operations import set_project_member
from apps.services.grants import give_grant
from apps.tenancy.break_glass import HOLDS, break_glass
from apps.tenancy.invitations import token_of
from apps.tenancy.models import TenantMember
from apps.tenancy.operations import (
    add_tenant_member,
    change_tenant_member,
    create_operator,
    set_tenant_member,
)
from tests.conftest import Cast
from tests.console.session import signed_in
from tests.projects.manage import send

Call = Callable[[], Any]


def enter(cast: Cast) -> Actor:
    """Sue, a superuser, as an owner of the tenant for four hours."""
    break_glass(actor=cast.actor("sue"), tenant=cast.tenant, role=TenantRole.OWNER, reason="an outage")
    return cast.actor("sue")


def hours_pass(monkeypatch: pytest.MonkeyPatch, hours: int) -> None:
    later = timezone.now() + timedelta(hours=hours)
    monkeypatch.setattr(timezone, "now", lambda: later)


def test_a_grant_to_somebody_who_is_in_for_hours_ends_with_their_membership(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    enter(cast)
    end = TenantMember.objects.get(user=cast.users["sue"]).ends_at
    assert end is not None
    give: dict[str, Any] = {"actor": cast.actor("mona"), "project": cast.project, "service": cast.backend}
    sooner = timezone.now() + timedelta(hours=1)

    endless = give_grant(email="sue@example.org", permission="secret:reveal", **give)
    longer = give_grant(
        email="sue@example.org", permission="secret:list", ends_at=timezone.now() + 2 * HOLDS, **give
    )
    shorter = give_grant(email="sue@example.org", permission="secret:write", ends_at=sooner, **give)
    of_vic = give_grant(email="vic@example.org", permission="secret:list", **give)

    assert [each.ends_at for each in (endless, longer, shorter, of_vic)] == [end, end, sooner, None]
    hours_pass(monkeypatch, 5)
    assert not allows(cast.actor("sue"), "secret:reveal", cast.backend)


def test_a_grant_by_somebody_who_is_in_for_hours_ends_with_their_membership(cast: Cast) -> None:
    sue = enter(cast)
    end = TenantMember.objects.get(user=cast.users["sue"]).ends_at

    given = give_grant(actor=sue, project=cast.project, email="vic@example.org", permission="secret:list")

    assert given.ends_at == end


def test_who_is_in_for_hours_makes_nobody_an_owner_manager_or_finance(cast: Cast, command: Actor) -> None:
    sue = enter(cast)
    cast.users["nobody"], _ = create_operator(actor=command, email="nobody@example.org")
    tenant: dict[str, Any] = {"actor": sue, "tenant": cast.tenant}
    project: dict[str, Any] = {"actor": sue, "project": cast.project}
    member = set_tenant_member(user=cast.users["mallory"], role=TenantRole.MEMBER, **tenant)
    refused: list[Call] = []
    for role in (TenantRole.OWNER, TenantRole.FINANCE):
        refused += [
            lambda role=role: add_tenant_member(user=cast.users["nobody"], role=role, **tenant),
            lambda role=role: set_tenant_member(user=cast.users["vic"], role=role, **tenant),
            lambda role=role: change_tenant_member(actor=sue, member=member, role=role),
            lambda role=role: create_invitation(email="new@example.org", role=role, **tenant),
        ]
    for project_role in (ProjectRole.OWNER, ProjectRole.MANAGER):
        refused += [
            lambda role=project_role: set_project_member(user=cast.users["vic"], role=role, **project),
            lambda role=project_role: add_project_member(email="mallory@example.org", role=role, **project),
            lambda role=project_role: create_invitation(
                email="new@example.org", project=cast.project, project_role=role, **tenant
            ),
        ]
    before = [list(each.objects.order_by("pk").values()) for each in (TenantMember, ProjectMember)]

    for act in refused:
        with pytest.raises(NotPermitted, match=r"^Your own membership ends at .* UTC; ask an owner"):
            act()

    assert [list(each.objects.order_by("pk").values()) for each in (TenantMember, ProjectMember)] == before
    # What an outage may need goes on, and those who stay give all.
    set_project_member(user=cast.users["vic"], role=ProjectRole.DEVELOPER, **project)
    create_invitation(
        email="new@example.org", project=cast.project, project_role=ProjectRole.DEVELOPER, **tenant
    )
    create_invitation(email="other@example.org", **tenant)
    set_tenant_member(
        actor=cast.actor("carol"), tenant=cast.tenant, user=cast.users["vic"], role=TenantRole.OWNER
    )
    set_project_member(
        actor=cast.actor("alice"), project=cast.project, user=cast.users["bob"], role=ProjectRole.OWNER
    )
    set_project_member(actor=command, project=cast.project, user=cast.users["tess"], role=ProjectRole.MANAGER)


def test_the_doors_say_why(cast: Cast) -> None:
    enter(cast)
    client = signed_in(cast, "sue")
    body = {"email": "mallory@example.org", "role": "owner"}

    for path in (f"tenants/{cast.tenant.pk}/members", f"projects/{cast.project.pk}/members"):
        answer = send(client, "post", path, body)
        assert (answer.status_code, answer.json()["code"]) == (403, "not_permitted")
        assert answer.json()["detail"].startswith("Your own membership ends at ")


def test_whom_an_owner_of_the_project_made_one_gives_as_owners_do(cast: Cast) -> None:
    enter(cast)
    set_project_member(
        actor=cast.actor("alice"), project=cast.project, user=cast.users["sue"], role=ProjectRole.OWNER
    )

    sue = cast.actor("sue")
    set_project_member(actor=sue, project=cast.project, user=cast.users["bob"], role=ProjectRole.MANAGER)
    given = give_grant(actor=sue, project=cast.project, email="vic@example.org", permission="secret:list")

    assert given.ends_at is None


def test_an_invitation_of_one_who_is_in_for_hours_by_now_lets_no_owner_in(cast: Cast) -> None:
    invitation = create_invitation(
        actor=cast.actor("carol"), tenant=cast.tenant, email="mallory@example.org", role=TenantRole.OWNER
    )
    TenantMember.objects.filter(user=cast.users["carol"]).update(ends_at=timezone.now() + HOLDS)

    with pytest.raises(AlreadyUsed):
        accept_invitation(actor=cast.actor("mallory"), token=token_of(invitation))

    TenantMember.objects.filter(user=cast.users["carol"]).update(ends_at=None)
    accept_invitation(actor=cast.actor("mallory"), token=token_of(invitation))
