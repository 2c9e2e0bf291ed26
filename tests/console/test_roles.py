"""Who may do what through the console's forms: SPEC 3 by hand, as addresses and answers.

✓ does it, `see` opens the page but is refused at the POST (403), 403 and 404 are answered to both,
`no` opens the form and is refused by it.
"""

from collections.abc import Callable
from typing import Any

import pytest
from django.db import transaction
from django.test import Client

from apps.audit.models import AuditEvent
from apps.audit.operations import forget_coalesced
from apps.core.access import ProjectRole
from apps.core.actor import Actor
from apps.flags.models import Flag
from apps.flags.operations import delete_flag, set_flag_state
from apps.projects.models import Project, ProjectMember
from apps.projects.operations import set_project_member
from apps.services.models import ApiKey
from apps.tenancy.models import TenantMember
from apps.vault.models import Config, Secret
from apps.vault.operations import (
    delete_config,
    delete_secret,
    export_secrets,
    note_secret_list,
    reveal_secret,
    set_config,
    set_secret,
)
from tests.conftest import Cast, play_cast
from tests.console.test_routes import CANARY, INSIDERS, World, crawl, entered, everything, make_world, told
from tests.plugins.stage import Stage

PEOPLE = ("alice", "mona", "bob", "tess", "vic", "carol", "finn")

TABLE = """
act                       alice mona bob  tess vic  carol finn

add-service               ✓     ✓    403  403  403  ✓     404
link-service              ✓     ✓    see  see  see  ✓     404
disable-service           ✓     ✓    403  403  403  ✓     404
delete-service            ✓     ✓    403  403  403  ✓     404
delete-service-by-django  ✓     ✓    403  403  403  ✓     404

issue-key-production      ✓     ✓    403  403  403  ✓     404
issue-key-develop         ✓     ✓    403  403  403  ✓     404
rotate-key-production     ✓     ✓    404  404  404  ✓     404
rotate-key-develop        ✓     ✓    404  404  404  ✓     404
revoke-key-production     ✓     ✓    404  404  404  ✓     404
revoke-key-develop        ✓     ✓    404  404  404  ✓     404

add-secret-production     ✓     ✓    403  403  403  ✓     404
add-secret-develop        ✓     ✓    ✓    403  403  ✓     404
write-secret-production   ✓     ✓    404  404  404  ✓     404
write-secret-develop      ✓     ✓    ✓    404  404  ✓     404
delete-secret-production  ✓     ✓    404  404  404  ✓     404
delete-secret-develop     ✓     ✓    ✓    404  404  ✓     404

restore-version-of-secret-production  ✓ ✓ 404 404 404 ✓ 404
restore-version-of-secret-develop     ✓ ✓ ✓   404 404 ✓ 404
destroy-version-of-secret-production  ✓ ✓ 404 404 404 ✓ 404
destroy-version-of-secret-develop     ✓ ✓ ✓   404 404 ✓ 404
rename-secret-production              ✓ ✓ 404 404 404 ✓ 404
rename-secret-develop                 ✓ ✓ ✓   404 404 ✓ 404
remind-of-secret-production           ✓ ✓ 404 404 404 ✓ 404
remind-of-secret-develop              ✓ ✓ ✓   404 404 ✓ 404
restore-deleted-secret-production     ✓ ✓ 404 404 404 ✓ 404
restore-deleted-secret-develop        ✓ ✓ ✓   404 404 ✓ 404

restore-version-of-config-production  ✓ ✓ 403 403 403 ✓ 404
restore-version-of-config-develop     ✓ ✓ ✓   403 403 ✓ 404
destroy-version-of-config-production  ✓ ✓ 403 403 403 ✓ 404
destroy-version-of-config-develop     ✓ ✓ ✓   403 403 ✓ 404
rename-config-production              ✓ ✓ 403 403 403 ✓ 404
rename-config-develop                 ✓ ✓ ✓   403 403 ✓ 404
restore-deleted-config-production     ✓ ✓ 404 404 404 ✓ 404
restore-deleted-config-develop        ✓ ✓ ✓   404 404 ✓ 404
restore-deleted-flag-production       ✓ ✓ 404 404 404 ✓ 404
restore-deleted-flag-develop          ✓ ✓ ✓   404 404 ✓ 404

add-config-production     ✓     ✓    403  403  403  ✓     404
add-config-develop        ✓     ✓    ✓    403  403  ✓     404
write-config-production   ✓     ✓    see  see  see  ✓     404
write-config-develop      ✓     ✓    ✓    see  see  ✓     404
delete-config-production  ✓     ✓    403  403  403  ✓     404
delete-config-develop     ✓     ✓    ✓    403  403  ✓     404

add-flag-production       ✓     ✓    403  403  403  ✓     404
add-flag-develop          ✓     ✓    ✓    403  403  ✓     404
write-flag-production     ✓     ✓    see  see  see  ✓     404
write-flag-develop        ✓     ✓    ✓    see  see  ✓     404
switch-flag-production    ✓     ✓    403  403  403  ✓     404
switch-flag-develop       ✓     ✓    ✓    403  403  ✓     404
delete-flag-production    ✓     ✓    403  403  403  ✓     404
delete-flag-develop       ✓     ✓    ✓    403  403  ✓     404

add-developer             ✓     ✓    403  403  403  ✓     404
add-manager               ✓     no   403  403  403  ✓     404
add-owner                 ✓     no   403  403  403  ✓     404
lower-vic                 ✓     ✓    404  404  404  ✓     404
make-bob-manager          ✓     no   404  404  404  ✓     404
make-bob-owner            ✓     no   404  404  404  ✓     404
lower-other-manager       ✓     see  404  404  404  ✓     404
lower-other-owner         ✓     see  404  404  404  ✓     404
lower-owner-by-adding     ✓     see  403  403  403  ✓     404
lower-manager-by-adding   ✓     see  403  403  403  ✓     404
remove-bob                ✓     ✓    404  404  404  ✓     404
remove-other-manager      ✓     see  404  404  404  ✓     404
remove-other-owner        ✓     see  404  404  404  ✓     404

project-settings          ✓     see  see  see  see  ✓     404
project-tier              ✓     see  see  see  see  ✓     404
project-without-section   see   see  see  see  see  see   404
activate-add-on           ✓     403  403  403  403  ✓     404

add-project               403   403  403  403  403  ✓     403
tenant-settings           see   see  see  see  see  ✓     see
add-tenant                403   403  403  403  403  403   403
add-tenant-member         403   403  403  403  403  ✓     403
change-tenant-member      404   404  404  404  404  ✓     404
make-finn-tenant-owner    404   404  404  404  404  ✓     404

add-operator              403   403  403  403  403  403   403
change-an-account         404   404  404  404  404  404   404
delete-an-account         404   404  404  404  404  404   404
add-event                 403   403  403  403  403  403   403
change-event              see   see  404  404  404  see   404
delete-event              403   403  404  404  404  403   404
"""


def rows_of_table() -> dict[str, dict[str, str]]:
    lines = [line.split() for line in TABLE.strip().splitlines() if line]
    assert tuple(lines[0][1:]) == PEOPLE
    return {line[0]: dict(zip(PEOPLE, line[1:], strict=True)) for line in lines[1:]}


EXPECTED = rows_of_table()


def _page(app: str, row: Any, page: str = "change/", query: str = "") -> str:
    return f"/admin/{app}/{row.pk}/{page}{query}"


def _member(cast: Cast, name: str) -> ProjectMember:
    return ProjectMember.objects.get(project=cast.project, user=cast.users[name])


def _tenant_member(cast: Cast, name: str) -> TenantMember:
    return TenantMember.objects.get(tenant=cast.tenant, user=cast.users[name])


def _flag_form(world: World, where: str) -> dict[str, Any]:
    return {"default": "off", "off": "off", "row_version": world.flags[where].row_version}


def _deleted(service_id: Any) -> list[Any]:
    """One of each kind that was deleted from the service."""
    kinds: list[Any] = [Secret, Config, Flag]
    return [model.objects.get(service=service_id, deleted_at__isnull=False) for model in kinds]


def addresses(world: World) -> dict[str, tuple[str, dict[str, Any]]]:
    """Where each act is asked for, and what is sent there."""
    cast = world.cast
    project = f"?project={cast.project.pk}"
    found: dict[str, tuple[str, dict[str, Any]]] = {
        "add-service": (
            f"/admin/services/service/add/{project}",
            {"slug": "new", "environment": "develop", "kind": "backend"},
        ),
        "link-service": (
            _page("services/service", cast.backend, query="?tab=settings"),
            {"umbrella": cast.umbrella.pk},
        ),
        "disable-service": (_page("services/service", cast.backend, "act/disable/"), {}),
        "delete-service": (_page("services/service", cast.backend, "act/delete/"), {}),
        "delete-service-by-django": (_page("services/service", cast.backend, "delete/"), {"post": "yes"}),
        "add-developer": (
            f"/admin/projects/projectmember/add/{project}",
            {"email": "finn@example.org", "role": "developer"},
        ),
        "add-manager": (
            f"/admin/projects/projectmember/add/{project}",
            {"email": "finn@example.org", "role": "manager"},
        ),
        "add-owner": (
            f"/admin/projects/projectmember/add/{project}",
            {"email": "finn@example.org", "role": "owner"},
        ),
        "lower-owner-by-adding": (
            f"/admin/projects/projectmember/add/{project}",
            {"email": "mallory@example.org", "role": "viewer"},
        ),
        "lower-manager-by-adding": (
            f"/admin/projects/projectmember/add/{project}",
            {"email": "sue@example.org", "role": "viewer"},
        ),
        "lower-vic": (_page("projects/projectmember", _member(cast, "vic")), {"role": "tester"}),
        "make-bob-manager": (_page("projects/projectmember", _member(cast, "bob")), {"role": "manager"}),
        "make-bob-owner": (_page("projects/projectmember", _member(cast, "bob")), {"role": "owner"}),
        "lower-other-manager": (_page("projects/projectmember", _member(cast, "sue")), {"role": "viewer"}),
        "lower-other-owner": (_page("projects/projectmember", _member(cast, "mallory")), {"role": "viewer"}),
        "remove-bob": (_page("projects/projectmember", _member(cast, "bob"), "act/remove/"), {}),
        "remove-other-manager": (_page("projects/projectmember", _member(cast, "sue"), "act/remove/"), {}),
        "remove-other-owner": (_page("projects/projectmember", _member(cast, "mallory"), "act/remove/"), {}),
        "project-settings": (
            _page("projects/project", cast.project, query="?section=settings"),
            {"name": "Renamed", "environments": "", "row_version": cast.project.row_version},
        ),
        "project-tier": (_page("projects/project", cast.project, query="?section=tier"), {"tier": "l"}),
        "project-without-section": (
            _page("projects/project", cast.project),
            {"name": "Renamed", "tier": "l"},
        ),
        "activate-add-on": (_page("projects/project", cast.project, "act/activate-ab-testing/"), {}),
        "add-project": (
            f"/admin/projects/project/add/?tenant={cast.tenant.pk}",
            {"slug": "second", "tier": "free"},
        ),
        "tenant-settings": (
            _page("tenancy/tenant", cast.tenant, query="?section=settings"),
            {"name": "Renamed"},
        ),
        "add-tenant": ("/admin/tenancy/tenant/add/", {"slug": "third", "owner": "vic@example.org"}),
        "add-tenant-member": (
            f"/admin/tenancy/tenantmember/add/?tenant={cast.tenant.pk}",
            {"email": "stranger@example.org", "role": "owner"},
        ),
        "change-tenant-member": (
            _page("tenancy/tenantmember", _tenant_member(cast, "vic")),
            {"role": "finance"},
        ),
        "make-finn-tenant-owner": (
            _page("tenancy/tenantmember", _tenant_member(cast, "finn")),
            {"role": "owner"},
        ),
        "add-operator": ("/admin/tenancy/user/add/", {"email": "new@example.org", "superuser": "on"}),
        "change-an-account": (_page("tenancy/user", cast.users["bob"]), {"is_superuser": "on"}),
        "delete-an-account": (_page("tenancy/user", cast.users["bob"], "delete/"), {"post": "yes"}),
        "add-event": ("/admin/audit/auditevent/add/", {"action": "secret.reveal"}),
    }
    event = AuditEvent.objects.filter(project_id=cast.project.pk, object_type="secret").earliest("time")
    found["change-event"] = (_page("audit/auditevent", event), {"action": "x"})
    found["delete-event"] = (_page("audit/auditevent", event, "delete/"), {"post": "yes"})
    for where in ("production", "develop"):
        service = world.service(where)
        key = ApiKey.objects.get(service=service)
        secret, config, flag = world.secrets[where], world.configs[where], world.flags[where]
        parent = f"?service={service.pk}"
        found |= {
            f"issue-key-{where}": (
                f"/admin/services/apikey/add/{parent}",
                {"slot": "secondary", "scopes": ["read", "destroy"]},
            ),
            f"rotate-key-{where}": (_page("services/apikey", key), {"overlap_hours": "24"}),
            f"revoke-key-{where}": (_page("services/apikey", key, "act/revoke/"), {}),
            f"add-secret-{where}": (f"/admin/vault/secret/add/{parent}", {"key": "new.one", "value": "x"}),
            f"write-secret-{where}": (
                _page("vault/secret", secret),
                {"value": "x", "expected_version": secret.active_version},
            ),
            f"delete-secret-{where}": (_page("vault/secret", secret, "act/delete/"), {}),
            f"add-config-{where}": (
                f"/admin/vault/config/add/{parent}",
                {"key": "new.one", "type": "string", "value": "x"},
            ),
            f"write-config-{where}": (
                _page("vault/config", config),
                {"type": "string", "value": "other", "expected_version": config.active_version},
            ),
            **{
                f"{verb}-version-of-{kind}-{where}": (
                    _page(f"vault/{kind}", row, f"versions/1/{verb}/"),
                    {"row_version": row.row_version},
                )
                for kind, row in (("secret", secret), ("config", config))
                for verb in ("restore", "destroy")
            },
            **{
                f"rename-{kind}-{where}": (
                    _page(f"vault/{kind}", row, "rename/"),
                    {"new_key": "new.one", "row_version": row.row_version},
                )
                for kind, row in (("secret", secret), ("config", config))
            },
            f"remind-of-secret-{where}": (
                _page("vault/secret", secret, "reminders/"),
                {"rotate_by": "2030-01-01T00:00", "row_version": secret.row_version},
            ),
            **{
                f"restore-deleted-{row._meta.model_name}-{where}": (
                    _page(f"{row._meta.app_label}/{row._meta.model_name}", row, "restore/"),
                    {"row_version": row.row_version},
                )
                for row in _deleted(secret.service_id)
            },
            f"delete-config-{where}": (_page("vault/config", config, "act/delete/"), {}),
            f"add-flag-{where}": (f"/admin/flags/flag/add/{parent}", {"key": "new.one", "type": "boolean"}),
            f"write-flag-{where}": (_page("flags/flag", flag), _flag_form(world, where)),
            f"switch-flag-{where}": (_page("flags/flag", flag, "act/switch-off/"), {}),
            f"delete-flag-{where}": (_page("flags/flag", flag, "act/delete/"), {}),
        }
    return found


@pytest.fixture
def world(db: None, stage: Stage, command: Actor) -> World:
    """With a second owner and a second manager of the project, and an account of no tenant."""
    from apps.tenancy.operations import create_operator

    def make() -> World:
        cast = play_cast(stage, command)
        users, project = cast.users, cast.project
        set_project_member(actor=command, project=project, user=users["mallory"], role=ProjectRole.OWNER)
        set_project_member(actor=command, project=project, user=users["sue"], role=ProjectRole.MANAGER)
        create_operator(actor=command, email="stranger@example.org", must_change_password=False)
        world = make_world(cast, command)
        for where, service in (("production", cast.backend), ("develop", world.develop)):
            # Each has an older version, and one of each kind is deleted.
            for key in (f"zyx.{where}.token", "zyx.gone"):
                set_secret(actor=command, service=service, key=key, value=CANARY.encode())
            for key in (f"zyx.{where}.host", "zyx.gone"):
                set_config(actor=command, service=service, key=key, value=f"zyx-{where}.internal")
            set_flag_state(actor=command, service=service, key="zyx.gone", enabled=True)
            for delete in (delete_secret, delete_config, delete_flag):
                delete(actor=command, service=service, key="zyx.gone")
            world.secrets[where].refresh_from_db()
            world.configs[where].refresh_from_db()
        cast.project = Project.objects.get(pk=project.pk)
        return world

    return stage.play("world of roles", make)


WITHOUT_AUDIT = ("django_session", "audit_auditevent", "audit_auditchain")


def _refused(client: Client, who: str, send: Callable[[], Any], status: int) -> None:
    """Nothing changed, and a refusal of what can be seen was told once."""
    before, events = everything(without=WITHOUT_AUDIT), AuditEvent.objects.count()

    answers = [send(), send()]

    assert {answer.status_code for answer in answers} == {status}
    assert everything(without=WITHOUT_AUDIT) == before
    new = list(AuditEvent.objects.order_by("time")[events:])
    assert len(new) <= (1 if status == 403 else 0)
    assert {(event.action, event.outcome, event.actor_name) for event in new} <= {
        ("action.denied", "denied", f"{who}@example.org")
    }


# Django itself refuses these before a right is asked for: there is no form that could be allowed.
TOLD_NOWHERE = {"add-event", "add-operator", "add-tenant"}


@pytest.mark.parametrize("act", EXPECTED)
def test_each_role_does_what_its_row_says_and_nothing_else(world: World, act: str) -> None:
    url, data = addresses(world)[act]
    for who, expected in EXPECTED[act].items():
        save_point = transaction.savepoint()
        forget_coalesced()
        client = entered(world.cast, who)

        opened = client.get(url)
        shown = opened.content.decode()
        if expected in ("403", "404"):
            assert opened.status_code == int(expected), (act, who)
            assert told(shown, {"zyx", CANARY}) <= ({"zyx"} if expected == "403" else set()), (act, who)
        else:
            # An act without a page of its own leads back to the row.
            assert opened.status_code == (302 if act.startswith("switch-") else 200), (act, who)
        if expected == "see" and "remove" not in act and "lower" not in act:
            assert 'class="nx-form"' not in shown, (act, who)

        forget_coalesced()
        if expected == "✓":
            events = AuditEvent.objects.count()
            answer = client.post(url, data)
            assert answer.status_code == (200 if act.startswith(("issue-key", "rotate-key")) else 302), (
                act,
                who,
            )
            new = AuditEvent.objects.order_by("time")[events:]
            assert [event.outcome for event in new] == ["success"], (act, who)
            assert new[0].actor_name == f"{who}@example.org"
            assert new[0].action not in ("secret.list", "action.denied")
        else:
            status = {"see": 403, "no": 422}.get(expected) or int(expected)
            events = AuditEvent.objects.count()
            _refused(client, who, lambda client=client: client.post(url, data), status)  # type: ignore[misc]
            if status == 403 and act not in TOLD_NOWHERE:
                denied = AuditEvent.objects.order_by("time")[events:]
                assert [event.action for event in denied] == ["action.denied"], (act, who)
        transaction.savepoint_rollback(save_point)


@pytest.mark.parametrize("who", ["alice", "mona"])
@pytest.mark.parametrize("role", ["owner", "manager", "developer", "tester", "viewer"])
def test_nobody_changes_their_own_role(world: World, who: str, role: str) -> None:
    member = _member(world.cast, who)
    client = entered(world.cast, who)
    add = f"/admin/projects/projectmember/add/?project={world.cast.project.pk}"

    page = client.get(_page("projects/projectmember", member))
    by_page = client.post(_page("projects/projectmember", member), {"role": role})
    by_adding = client.post(add, {"email": f"{who}@example.org", "role": role})

    assert page.status_code == 200
    assert 'name="role"' not in page.content.decode()
    assert by_page.status_code == 403
    assert by_adding.status_code in (403, 422)
    assert _member(world.cast, who).role == member.role


def test_a_tenant_owner_does_not_change_their_own_role(world: World) -> None:
    member = _tenant_member(world.cast, "carol")
    client = entered(world.cast, "carol")

    by_page = client.post(_page("tenancy/tenantmember", member), {"role": "member"})
    by_adding = client.post(
        f"/admin/tenancy/tenantmember/add/?tenant={world.cast.tenant.pk}",
        {"email": "carol@example.org", "role": "finance"},
    )

    assert (by_page.status_code, by_adding.status_code) == (403, 403)
    assert _tenant_member(world.cast, "carol").role == "owner"


def test_a_manager_does_not_remove_themselves_or_get_promoted_by_another_name(world: World) -> None:
    client = entered(world.cast, "mona")
    add = f"/admin/projects/projectmember/add/?project={world.cast.project.pk}"

    removed = client.post(_page("projects/projectmember", _member(world.cast, "mona"), "act/remove/"))
    forged = [
        client.post(add, {"email": "finn@example.org", "role": role})
        for role in ("OWNER", "owner ", "Owner", "", "superuser", "owner\x00")
    ]
    twice = client.post(
        add,
        "email=finn%40example.org&role=viewer&role=owner",
        content_type="application/x-www-form-urlencoded",
    )

    assert removed.status_code == 403
    assert {answer.status_code for answer in forged} == {422}
    assert twice.status_code == 422
    assert not ProjectMember.objects.filter(user=world.cast.users["finn"]).exists()


def test_a_member_form_moves_nobody_to_another_project_or_account(world: World, command: Actor) -> None:
    member = _member(world.cast, "vic")
    client = entered(world.cast, "mona")

    client.post(
        _page("projects/projectmember", member),
        {
            "role": "tester",
            "user": str(world.cast.users["finn"].pk),
            "project": str(world.cast.other_project.pk),
            "email": "finn@example.org",
            "ends_at": "2020-01-01T00:00",
        },
    )

    changed = _member(world.cast, "vic")
    assert (changed.pk, changed.role, changed.ends_at) == (member.pk, "tester", None)
    assert not ProjectMember.objects.filter(user=world.cast.users["finn"]).exists()


def test_fields_that_a_form_does_not_have_change_nothing(world: World) -> None:
    service = world.cast.backend
    client = entered(world.cast, "carol")
    other = world.cast.frontend.pk

    client.post(
        _page("vault/config", world.configs["production"]),
        {"type": "string", "value": "other", "expected_version": "1", "key": "stolen", "service": str(other)},
    )
    client.post(
        _page("services/service", service, query="?tab=settings"),
        {"umbrella": "", "kind": "frontend", "environment": "develop", "slug": "stolen", "project": "x"},
    )
    client.post(
        _page("projects/project", world.cast.project, query="?section=settings"),
        {"name": "Shop", "slug": "stolen", "tier": "xl", "tenant": str(world.cast.other_tenant.pk)},
    )

    config = type(world.configs["production"]).objects.get(pk=world.configs["production"].pk)
    assert (config.key, config.service_id) == ("zyx.production.host", service.pk)
    service.refresh_from_db()
    assert (service.kind, service.environment, service.slug) == ("backend", "production", "api")
    project = Project.objects.get(pk=world.cast.project.pk)
    assert (project.slug, project.tier, project.tenant_id) == ("shop", "m", world.cast.tenant.pk)


def test_an_umbrella_of_others_or_of_another_kind_is_no_choice(world: World, command: Actor) -> None:
    from apps.services.operations import create_service

    foreign = create_service(
        actor=command,
        project=world.cast.other_project,
        environment="production",
        slug="foreign",
        kind="backend",
        is_umbrella=True,
    )
    frontend = create_service(
        actor=command,
        project=world.cast.project,
        environment="production",
        slug="looks",
        kind="frontend",
        is_umbrella=True,
    )
    page = _page("services/service", world.cast.backend, query="?tab=settings")
    client = entered(world.cast, "mona")

    for umbrella in (foreign, frontend, world.cast.child, world.cast.backend):
        assert client.post(page, {"umbrella": str(umbrella.pk)}).status_code == 422
        added = client.post(
            f"/admin/services/service/add/?project={world.cast.project.pk}",
            {
                "slug": "sly",
                "environment": "production",
                "kind": "backend",
                "umbrella": str(umbrella.pk),
            },
        )
        assert added.status_code == 422, umbrella

    world.cast.backend.refresh_from_db()
    assert world.cast.backend.umbrella_id is None
    assert "foreign" not in client.get(page).content.decode()


def test_an_owner_of_another_tenant_cannot_link_or_add_by_mixing_rows(cast: Cast, command: Actor) -> None:
    world = make_world(cast, command)
    client = entered(cast, "mallory")
    before = everything(without=("django_session", "audit_auditevent", "audit_auditchain"))

    answers = [
        client.post(
            f"/admin/services/service/add/?project={cast.other_project.pk}",
            {
                "slug": "sly",
                "environment": "production",
                "kind": "backend",
                "umbrella": str(cast.umbrella.pk),
            },
        ),
        client.post(f"/admin/projects/projectmember/add/?project={cast.project.pk}", {"role": "owner"}),
        client.post(
            f"/admin/vault/secret/add/?service={uuid_of(world)}&project={cast.other_project.pk}",
            {"key": "x", "value": "x"},
        ),
    ]

    assert [answer.status_code for answer in answers] == [422, 404, 404]
    assert not any(told(answer.content.decode(), {"acme", "zyx", "common"}) for answer in answers)
    assert everything(without=("django_session", "audit_auditevent", "audit_auditchain")) == before


def uuid_of(world: World) -> str:
    return str(world.cast.backend.pk)


# ---- lists


SEEN = {
    # Who sees the rows of production, of develop, of the umbrella.
    "vault/secret": {
        "alice": "pdu", "mona": "pdu", "bob": "d", "tess": "", "vic": "", "carol": "pdu", "finn": "",
    },
    "vault/config": {
        "alice": "pdu", "mona": "pdu", "bob": "pdu", "tess": "pdu", "vic": "pdu", "carol": "pdu", "finn": "",
    },
    "flags/flag": {
        "alice": "pdu", "mona": "pdu", "bob": "pdu", "tess": "pdu", "vic": "pdu", "carol": "pdu", "finn": "",
    },
}  # fmt: skip
PLACES = {"p": "zyx.production.", "d": "zyx.develop.", "u": "zyx.umbrella."}


@pytest.mark.parametrize("who", PEOPLE)
def test_lists_searches_and_counts_show_what_the_role_reads(cast: Cast, command: Actor, who: str) -> None:
    make_world(cast, command)
    client = entered(cast, who)

    for name, seen in SEEN.items():
        for query in ("", "?_popup=1", "?all=1", "?_facets=1", "?o=-1", "?environment=production"):
            page = client.get(f"/admin/{name}/{query}").content.decode()
            for letter, mark in PLACES.items():
                expected = letter in seen[who] and not (letter == "d" and "environment" in query)
                assert (mark in page) == expected, (name, query, letter)
    for name in ("services/apikey", "tenancy/tenantmember", "projects/projectmember", "tenancy/user"):
        allowed = {
            "services/apikey": ("alice", "mona", "carol"),
            "projects/projectmember": ("alice", "mona", "carol"),
            "tenancy/tenantmember": ("carol",),
            "tenancy/user": (),
        }[name]
        listed = client.get(f"/admin/{name}/").content.decode()
        assert ("/change/" in listed.split("<table")[-1] and "<table" in listed) == (who in allowed), name


@pytest.mark.parametrize("who", ["bob", "tess", "vic", "finn"])
def test_a_tab_that_the_role_does_not_have_shows_another(cast: Cast, command: Actor, who: str) -> None:
    world = make_world(cast, command)
    client = entered(cast, who)

    for tab in ("secrets", "keys"):
        answer = client.get(_page("services/service", world.cast.backend, query=f"?tab={tab}"))
        page = answer.content.decode()

        assert answer.status_code == (404 if who == "finn" else 200)
        assert "zyx.production.token" not in page
        assert "sk_live_" not in page
        assert f"?tab={tab}" not in page


@pytest.mark.postgresql_only
@pytest.mark.parametrize("who", ["bob", "tess", "vic"])
def test_no_inherited_secret_of_production_is_listed_to_whom_it_is_not(
    cast: Cast, command: Actor, who: str
) -> None:
    make_world(cast, command)

    answers = crawl(entered(cast, who), ["/admin/", _page("services/service", cast.child)])

    hidden = {"zyx.umbrella.token", "zyx.production.token", CANARY}
    hidden |= {"zyx.develop.token"} if who != "bob" else set()
    assert {url: told(a.content.decode(), hidden) for url, a in answers.items()} == {
        url: set[str]() for url in answers
    }
    assert any("zyx.umbrella.host" in answer.content.decode() for answer in answers.values())


@pytest.mark.postgresql_only
def test_finance_reads_nothing_of_a_project(cast: Cast, command: Actor) -> None:
    make_world(cast, command)

    answers = crawl(entered(cast, "finn"), ["/admin/"])

    hidden = {
        "zyx",
        "shop",
        "checkout",
        CANARY,
        *(f"{name}@example.org" for name in INSIDERS if name != "finn"),
    }
    assert {url: told(a.content.decode(), hidden) for url, a in answers.items()} == {
        url: set[str]() for url in answers
    }


# ---- audit


def _secret_events(world: World) -> None:
    carol = world.cast.actor("carol")
    note_secret_list(actor=carol, service=world.cast.backend)
    export_secrets(actor=carol, service=world.cast.backend)
    reveal_secret(actor=carol, secret=world.secrets["production"])


@pytest.mark.parametrize("who", PEOPLE)
def test_the_audit_log_is_read_by_owners_managers_and_in_part_by_testers(
    cast: Cast, command: Actor, who: str
) -> None:
    world = make_world(cast, command)
    _secret_events(world)
    client = entered(cast, who)

    listed = client.get("/admin/audit/auditevent/?o=&all=1").content.decode().split("<table")[-1]
    tab = client.get(_page("services/service", cast.backend, query="?tab=activity")).content.decode()

    event = AuditEvent.objects.get(action="secret.reveal")
    config = AuditEvent.objects.filter(action="config.created", service_id=cast.backend.pk).get()
    page = _page("audit/auditevent", event)
    for shown in (listed, tab):
        # The page of an event is linked; its action also stands among the filters.
        assert (page in shown) == (who in ("alice", "mona", "carol")), who
        assert (_page("audit/auditevent", config) in shown) == (who in ("alice", "mona", "carol", "tess"))
    assert client.get(page).status_code == (200 if who in ("alice", "mona", "carol") else 404)


@pytest.mark.postgresql_only
def test_a_tester_reads_no_event_about_secrets_wherever_it_stands(cast: Cast, command: Actor) -> None:
    world = make_world(cast, command)
    _secret_events(world)
    about_secrets = AuditEvent.objects.filter(action__startswith="secret.")
    assert {event.action for event in about_secrets} >= {"secret.list", "secret.exported", "secret.reveal"}
    client = entered(cast, "tess")

    answers = crawl(client, ["/admin/", "/admin/audit/auditevent/?all=1"])
    pages = {
        event.action: client.get(_page("audit/auditevent", event)).status_code for event in about_secrets
    }

    keys = {secret.key for secret in world.secrets.values()}
    assert {url: told(a.content.decode(), keys) for url, a in answers.items()} == {
        url: set[str]() for url in answers
    }
    assert set(pages.values()) == {404}, pages


def test_superusers_read_the_installations_events_and_no_tenants(cast: Cast, command: Actor) -> None:
    make_world(cast, command)
    client = entered(cast, "sue")

    listed = client.get("/admin/audit/auditevent/?all=1").content.decode()

    assert "operator.created" in listed
    for event in AuditEvent.objects.exclude(tenant_id=None):
        assert str(event.pk) not in listed
