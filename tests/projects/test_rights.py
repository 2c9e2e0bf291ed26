"""Who may do what: SPEC 3 written out by hand, against both ways of asking."""

from datetime import datetime, timedelta

import pytest
from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType
from django.db.models import Model
from django.utils import timezone

from apps.core.access import PROJECT_PERMISSIONS, TenantRole, allows, allows_here, permitted
from apps.core.actor import Actor
from apps.projects.memberships import operator_actor
from apps.projects.models import Project, ProjectGrant
from apps.services.models import Kind, Service, ServiceGrant
from apps.services.operations import create_service
from apps.tenancy.models import User
from apps.tenancy.operations import create_operator, set_tenant_member
from tests.conftest import ORIGIN, Cast

# Alice owns, Mona manages, Bob develops, Tess tests, Vic views; Carol owns the tenant and with it
# every project. Finn is finance, Theo a mere member of the tenant, Sue a superuser, Mallory a
# stranger: none of these four may do anything here.
EVERYBODY = {"alice", "carol", "mona", "bob", "tess", "vic"}
OWNERS = {"alice", "carol"}
MANAGERS = {"alice", "carol", "mona"}
AND_BOB = {"alice", "carol", "mona", "bob"}
CASTING = ("alice", "carol", "mona", "bob", "tess", "vic", "finn", "theo", "sue", "mallory")

# permission: (who in develop, who in production)
TABLE: dict[str, tuple[set[str], set[str]]] = {
    "project:read": (EVERYBODY, EVERYBODY),
    "project:change": (OWNERS, OWNERS),
    "project:change_tier": (OWNERS, OWNERS),
    "project:delete": (OWNERS, OWNERS),
    "member:read": (MANAGERS, MANAGERS),
    "member:manage": (MANAGERS, MANAGERS),
    "service:read": (EVERYBODY, EVERYBODY),
    "service:manage": (MANAGERS, MANAGERS),
    "api_key:issue": (MANAGERS, MANAGERS),
    "api_key:revoke": (MANAGERS, MANAGERS),
    "workload_identity:manage": (MANAGERS, MANAGERS),
    "secret:list": (AND_BOB, MANAGERS),
    "secret:write": (AND_BOB, MANAGERS),
    "secret:reveal": (AND_BOB, MANAGERS),
    "secret:destroy": (AND_BOB, MANAGERS),
    "config:read": (EVERYBODY, EVERYBODY),
    "config:write": (AND_BOB, MANAGERS),
    "flag:read": (EVERYBODY, EVERYBODY),
    "flag:write": (AND_BOB, MANAGERS),
    "segment:read": (EVERYBODY, EVERYBODY),
    "segment:write": (MANAGERS, MANAGERS),
    "audit:read": (MANAGERS, MANAGERS),
    "audit:read_non_secret": ({"tess"}, {"tess"}),
}


@pytest.fixture
def develop(cast: Cast, command: Actor) -> Service:
    """A service where developers may write, and Theo, who has no role in the project."""
    cast.users["theo"], _ = create_operator(actor=command, email="theo@example.org")
    set_tenant_member(actor=command, tenant=cast.tenant, user=cast.users["theo"], role=TenantRole.MEMBER)
    return create_service(
        actor=command, project=cast.project, environment="develop", slug="api", kind=Kind.BACKEND
    )


def both_answers(user: User, permission: str, target: Service | Project) -> tuple[bool, bool]:
    """`has_perm` of the person as stored now, and whether `visible_to` lets them see the row."""
    fresh = User.objects.get(pk=user.pk)
    actor = operator_actor(fresh, origin=ORIGIN)
    seen = type(target).objects.visible_to(actor, permission).filter(pk=target.pk).exists()
    return fresh.has_perm(permission, target), seen


def permissions_of(user: User, target: Service | Project) -> set[str]:
    """All that the person may do there; both ways of asking must agree on each."""
    fresh = User.objects.get(pk=user.pk)
    actor, rows = operator_actor(fresh), type(target).objects.filter(pk=target.pk)
    may = {permission for permission in PROJECT_PERMISSIONS if fresh.has_perm(permission, target)}
    sees = {permission for permission in PROJECT_PERMISSIONS if rows.visible_to(actor, permission).exists()}
    assert may == sees
    return may


def extra(
    user: User, permission: str, target: Service | Project, ends_at: datetime | None = None
) -> ServiceGrant | ProjectGrant:
    model = ServiceGrant if isinstance(target, Service) else ProjectGrant
    row = Permission.objects.get(
        codename=permission, content_type=ContentType.objects.get_for_model(type(target))
    )
    return model.objects.create(user=user, permission=row, content_object=target, ends_at=ends_at)


def an_hour_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    later = timezone.now() + timedelta(hours=1)
    monkeypatch.setattr(timezone, "now", lambda: later)


def test_the_table_speaks_of_every_permission_that_a_project_knows() -> None:
    assert set(TABLE) == set(PROJECT_PERMISSIONS)


@pytest.mark.parametrize("permission", TABLE)
def test_each_role_has_what_the_table_says_and_nothing_else(
    permission: str, cast: Cast, develop: Service
) -> None:
    services = {"develop": develop, "production": cast.backend}

    answers = {
        (environment, name): both_answers(cast.users[name], permission, service)
        for environment, service in services.items()
        for name in CASTING
    }

    in_develop, in_production = TABLE[permission]
    expected = {("develop", name) for name in in_develop} | {("production", name) for name in in_production}
    assert {asked for asked, (may, _) in answers.items() if may} == expected
    assert {asked for asked, (_, sees) in answers.items() if sees} == expected


def test_a_developer_asked_at_the_project_itself_has_no_right_that_is_bound_to_an_environment(
    cast: Cast, develop: Service
) -> None:
    bob = cast.users["bob"]

    at_the_project = permissions_of(bob, cast.project)

    assert at_the_project == {"project:read", "service:read", "config:read", "flag:read", "segment:read"}


def test_nobody_of_this_project_has_any_right_in_another_tenants(cast: Cast, develop: Service) -> None:
    insiders = [name for name in CASTING if name != "mallory"]

    found = {name: permissions_of(cast.users[name], cast.other_project) for name in insiders}

    assert found == {name: set() for name in insiders}
    assert "project:delete" in permissions_of(cast.users["mallory"], cast.other_project)


def test_a_superuser_manages_accounts_and_has_no_right_on_any_object(cast: Cast, develop: Service) -> None:
    sue = User.objects.get(pk=cast.users["sue"].pk)

    objects: list[Model] = [develop, cast.backend, cast.project, cast.tenant]
    found = {
        (permission, str(target))
        for target in objects
        for permission in (*TABLE, "tenant:read", "tenant:change", "tenant:read_audit", "tenant:administer")
        if sue.has_perm(permission, target)
    }

    # That the tenant is there, and what state it is in: nothing of what is in it.
    assert found == {("tenant:administer", "acme")}
    assert sue.has_perm("account:manage")
    assert sue.has_perm("tenant:create")
    assert not sue.has_perm("secret:reveal")
    assert not any(allows_here(cast.actor(name), "tenant:create") for name in ("alice", "carol", "mallory"))


@pytest.mark.parametrize("name", ["alice", "carol", "sue"])
def test_a_deactivated_person_has_no_right_at_all(name: str, cast: Cast, develop: Service) -> None:
    user = cast.users[name]
    extra(user, "secret:reveal", develop)

    User.objects.filter(pk=user.pk).update(is_active=False)

    assert permissions_of(user, develop) == set()
    assert permissions_of(user, cast.project) == set()
    assert not User.objects.get(pk=user.pk).has_perm("account:manage")


def test_an_extra_grant_on_a_service_gives_that_one_right_there_alone(cast: Cast, develop: Service) -> None:
    vic = cast.users["vic"]
    before = permissions_of(vic, cast.backend)

    extra(vic, "secret:reveal", cast.backend)

    assert permissions_of(vic, cast.backend) == before | {"secret:reveal"}
    assert "secret:reveal" not in permissions_of(vic, cast.child)
    assert "secret:reveal" not in permissions_of(vic, cast.project)
    assert "secret:reveal" not in permissions_of(cast.users["tess"], cast.backend)


def test_an_extra_grant_on_a_project_gives_that_one_right_in_all_its_services(
    cast: Cast, develop: Service
) -> None:
    theo = cast.users["theo"]

    extra(theo, "config:read", cast.project)

    assert permissions_of(theo, cast.project) == {"config:read"}
    assert permissions_of(theo, cast.backend) == {"config:read"}
    assert permissions_of(theo, develop) == {"config:read"}
    assert permissions_of(theo, cast.other_project) == set()


@pytest.mark.parametrize("scope", ["service", "project"])
def test_an_extra_grant_ends_when_its_time_has_passed(
    scope: str, cast: Cast, develop: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    vic = cast.users["vic"]
    target = cast.backend if scope == "service" else cast.project
    extra(vic, "secret:reveal", target, ends_at=timezone.now() + timedelta(minutes=30))
    extra(vic, "audit:read", target)
    assert both_answers(vic, "secret:reveal", cast.backend) == (True, True)

    an_hour_passes(monkeypatch)

    assert both_answers(vic, "secret:reveal", cast.backend) == (False, False)
    assert both_answers(vic, "audit:read", cast.backend) == (True, True)


@pytest.mark.parametrize("permission", ["project:change", "project:delete", "member:manage"])
def test_rights_to_give_rights_are_no_grants(permission: str, cast: Cast) -> None:
    grantable = Permission.objects.filter(content_type__model__in=["project", "service"])

    found = grantable.filter(codename=permission)

    assert not found.exists()
    assert grantable.filter(codename="secret:reveal").count() == 2


@pytest.mark.parametrize("name", ["alice", "mona", "bob", "tess", "vic", "carol", "finn", "mallory", "sue"])
def test_many_permissions_in_one_query_are_those_asked_one_by_one(cast: Cast, name: str) -> None:
    asked = sorted(PROJECT_PERMISSIONS | {"audit:read_non_secret"})
    for actor in (cast.actor(name), Actor.command("tester"), Actor.anonymous(ORIGIN)):
        for service in (cast.backend, cast.frontend):
            one_by_one = {permission for permission in asked if allows(actor, permission, service)}

            assert permitted(actor, asked, service) == one_by_one
