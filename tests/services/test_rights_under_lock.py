"""What persists is judged by the roles that hold under the lock, not by those of the door."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import transaction

from apps.core.access import ProjectRole, TenantRole
from apps.core.actor import Actor
from apps.core.errors import NotPermitted
from apps.projects.members import add_project_member
from apps.projects.memberships import refreshed
from apps.projects.models import ProjectGrant, ProjectMember
from apps.projects.operations import remove_project_member, set_project_member
from apps.services.grants import give_grant
from apps.services.models import ApiKey, ServiceGrant
from apps.services.operations import change_api_key, issue_api_key, rotate_api_key
from apps.tenancy.operations import set_tenant_member
from tests.conftest import Cast
from tests.projects.test_rights import extra

InThread = Callable[[Callable[[], Any]], Callable[[], Any]]


def acts(cast: Cast, actor: Actor) -> list[Callable[[], Any]]:
    """All that gives something which stays, by one who came through the door with `actor`'s roles."""
    key = ApiKey.objects.select_related("service__project__tenant").get(service=cast.backend)
    give: dict[str, Any] = {"actor": actor, "project": cast.project, "email": "finn@example.org"}
    return [
        lambda: issue_api_key(actor=actor, service=cast.backend, slot="secondary"),
        lambda: rotate_api_key(actor=actor, key=key),
        lambda: change_api_key(actor=actor, key=key, allowed_networks=["192.0.2.7"]),
        lambda: give_grant(permission="secret:reveal", service=cast.backend, **give),
        lambda: give_grant(permission="config:read", **give),
        lambda: add_project_member(role=ProjectRole.DEVELOPER, **give),
        lambda: set_project_member(
            actor=actor, project=cast.project, user=cast.users["tess"], role=ProjectRole.DEVELOPER
        ),
    ]


def state() -> list[Any]:
    return [list(each.objects.order_by("pk").values()) for each in (ApiKey, ProjectMember, ServiceGrant)]


def test_who_was_removed_since_the_door_gives_nothing_that_stays(cast: Cast, command: Actor) -> None:
    mona = cast.actor("mona")
    remove_project_member(actor=command, project=cast.project, user=cast.users["mona"])
    before = state()

    for act in acts(cast, mona):
        with pytest.raises(NotPermitted):
            act()

    assert state() == before
    assert not ProjectGrant.objects.exists()


def test_a_removal_that_commits_while_a_key_waits_for_the_lock_refuses_it(
    committed_cast: Cast, command: Actor, in_thread: InThread
) -> None:
    cast = committed_cast
    mona = cast.actor("mona")

    def attempt(act: Callable[[], Any]) -> Any:
        try:
            return act()
        except NotPermitted as refusal:
            return refusal

    before = ApiKey.objects.count()
    issue, *_, set_member = acts(cast, mona)
    with ThreadPoolExecutor(2) as pool:
        with transaction.atomic():
            remove_project_member(actor=command, project=cast.project, user=cast.users["mona"])
            waiting = [pool.submit(in_thread(lambda act=act: attempt(act))) for act in (issue, set_member)]
            time.sleep(0.5)
            assert not any(each.done() for each in waiting)
        answers = [each.result(20) for each in waiting]

    assert [type(answer) for answer in answers] == [NotPermitted] * 2
    assert ApiKey.objects.count() == before
    assert ProjectMember.objects.get(user=cast.users["tess"]).role == ProjectRole.TESTER


def test_an_actor_is_refreshed_in_roles_alone(cast: Cast, command: Actor) -> None:
    mona, vic = cast.actor("mona"), cast.actor("vic")
    set_project_member(actor=command, project=cast.project, user=cast.users["mona"], role=ProjectRole.VIEWER)
    set_tenant_member(actor=command, tenant=cast.tenant, user=cast.users["vic"], role=TenantRole.OWNER)
    extra(cast.users["vic"], "secret:reveal", cast.backend)

    again = refreshed(mona)

    assert again.project_roles == {cast.project.pk: "viewer"}
    assert (again.present_at, again.origin, again.id) == (mona.present_at, mona.origin, mona.id)
    assert refreshed(vic).tenant_roles == {cast.tenant.pk: "owner"}
    assert (vic.may_hold_grants, refreshed(vic).may_hold_grants) == (False, True)
    assert refreshed(command) is command
    cast.users["mona"].is_active = False
    cast.users["mona"].save()
    gone = refreshed(mona)
    assert (gone.user_id, gone.project_roles, gone.tenant_roles) == (None, {}, {})
