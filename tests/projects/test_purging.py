"""What is purged, when, and what stays."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from apps.audit.models import AuditChain, AuditEvent
from apps.core import keys
from apps.core.actor import Actor
from apps.core.models import DataKey, IdempotencyRecord, KeyState
from apps.projects import holdings, purging
from apps.projects.lifecycle import delete_project, restore_project
from apps.projects.models import Project
from apps.projects.operations import activate_add_on, create_project
from apps.projects.purging import purge_deleted
from apps.projects.tasks import purge_deleted as task
from apps.tenancy.automation import create_service_account, issue_access_token
from apps.tenancy.models import AccessToken, ServiceAccount, Tenant, TenantMember, User
from nexus.celery import app
from tests.conftest import Cast

InThread = Callable[[Callable[[], Any]], Callable[[], Any]]


def over(row: Project | Tenant, **ago: int) -> None:
    """Deleted 30 days ago and a little more, or as `ago` says."""
    end = timezone.now() - timedelta(**(ago or {"seconds": 1}))
    type(row).objects.filter(pk=row.pk).update(deleted_at=end - timedelta(days=30), purge_after=end)


def small(cast: Cast, command: Actor, slug: str = "small") -> Project:
    return create_project(actor=command, tenant=cast.tenant, slug=slug, tier="m")


def test_a_project_goes_when_its_time_is_over_and_not_before(cast: Cast, command: Actor) -> None:
    due, waiting, live = (small(cast, command, slug) for slug in ("due", "waiting", "live"))
    activate_add_on(actor=command, project=due, name="ab_testing")
    delete_project(actor=command, project=waiting)
    over(due)
    events = AuditEvent.objects.filter(project_id=due.pk).count()

    purged = purge_deleted()
    again = purge_deleted()

    assert (purged.projects, again.projects) == (1, 0)
    left = set(Project.objects.filter(tenant=cast.tenant).values_list("slug", flat=True))
    assert left == {"shop", "waiting", "live"}
    key = DataKey.objects.get(project_id=due.pk)
    assert (bytes(key.wrapped_key), key.state) == (b"", KeyState.DESTROYED)
    assert DataKey.objects.get(project_id=live.pk).state == KeyState.CURRENT
    told = AuditEvent.objects.get(action="project.purged")
    assert (told.object_id, told.actor_type, told.actor_id) == (str(due.pk), "system", "purge_deleted")
    assert AuditEvent.objects.filter(project_id=due.pk).count() == events + 1
    assert AuditChain.objects.filter(project_id=due.pk).exists()
    # Its slug is free again, and what it was called before stays another project.
    assert small(cast, command, "due").pk != due.pk


def test_a_restored_project_is_not_purged(cast: Cast, command: Actor) -> None:
    project = small(cast, command)
    delete_project(actor=command, project=project)
    restore_project(actor=command, project=project)

    assert purge_deleted().projects == 0
    assert Project.objects.filter(pk=project.pk).exists()


def test_an_unwrapped_data_key_is_forgotten_with_its_row(
    cast: Cast, command: Actor, django_capture_on_commit_callbacks: Any
) -> None:
    project = small(cast, command)
    row = DataKey.objects.get(project_id=project.pk)
    assert row.pk in keys.opening_keys({row.pk})

    with django_capture_on_commit_callbacks(execute=True):
        keys.destroy_data_keys(project.pk)

    assert keys.opening_keys({row.pk}) == {}
    assert keys.destroy_data_keys(project.pk) == 0


def test_apps_above_purge_theirs_first_and_entries_before_all(
    cast: Cast, command: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = small(cast, command)
    over(project)
    asked: list[Any] = []

    def of_entries(now: datetime) -> int:
        asked.append("entries")
        return 7

    monkeypatch.setattr(holdings, "_due_purgers", [of_entries])
    monkeypatch.setattr(holdings, "_purgers", [asked.append])

    purged = purge_deleted()

    assert asked == ["entries", project.pk]
    assert (purged.rows, purged.projects) == (7, 1)


def test_killed_within_a_project_nothing_of_it_is_half_gone(
    cast: Cast, command: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = small(cast, command, "first"), small(cast, command, "second")
    over(first)
    over(second)

    class Killed(BaseException):
        pass

    def dies(project_id: Any) -> None:
        if project_id == second.pk:
            raise Killed

    monkeypatch.setattr(holdings, "_purgers", [dies])
    with pytest.raises(Killed):
        purge_deleted()
    assert not Project.objects.filter(pk=first.pk).exists()
    assert DataKey.objects.get(project_id=second.pk).state == KeyState.CURRENT

    monkeypatch.setattr(holdings, "_purgers", [])

    assert purge_deleted().projects == 1
    assert AuditEvent.objects.filter(action="project.purged").count() == 2


def test_what_an_app_above_still_holds_keeps_its_project_and_no_other(
    cast: Cast, command: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = small(cast, command)
    over(cast.project)
    over(other)
    monkeypatch.setattr(holdings, "_purgers", [])

    purged = purge_deleted()

    assert purged.projects == 1
    assert Project.objects.filter(pk=cast.project.pk).exists()
    assert DataKey.objects.get(project_id=cast.project.pk).state == KeyState.CURRENT


def test_a_tenant_goes_with_all_that_is_in_it(cast: Cast, command: Actor) -> None:
    carol, tenant = cast.users["carol"], cast.other_tenant
    account = create_service_account(actor=cast.actor("mallory"), tenant=tenant, name="ci")
    issue_access_token(
        actor=cast.actor("mallory"),
        bearer=account.user,
        name="t",
        scopes=["config:read"],
        expires_at=timezone.now() + timedelta(days=1),
    )
    over(tenant)

    purged = purge_deleted()

    assert (purged.projects, purged.tenants) == (1, 1)
    assert not Tenant.objects.filter(pk=tenant.pk).exists()
    assert not Project.objects.filter(pk=cast.other_project.pk).exists()
    assert not ServiceAccount.objects.exists()
    assert not AccessToken.objects.exists()
    assert not User.objects.filter(pk=account.user_id).exists()
    # People are nobody's property: their accounts stay.
    assert User.objects.filter(pk=cast.users["mallory"].pk).exists()
    assert TenantMember.objects.filter(user=carol).exists()
    told = AuditEvent.objects.get(action="tenant.purged")
    assert (told.tenant_id, told.project_id) == (tenant.pk, None)


def test_two_runs_at_once_do_no_harm(committed_cast: Cast, command: Actor, in_thread: InThread) -> None:
    due = [small(committed_cast, command, f"p{number}") for number in range(6)]
    for project in due:
        over(project)

    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(in_thread(purge_deleted)) for _ in range(2)]
        counts = [run.result().projects for run in runs]

    assert sum(counts) == 6
    assert AuditEvent.objects.filter(action="project.purged").count() == 6
    assert not Project.objects.filter(pk__in=[project.pk for project in due]).exists()


def test_idempotency_keys_older_than_a_day_are_forgotten(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(purging, "BATCH", 2)
    for number in range(6):
        row = IdempotencyRecord.objects.create(
            scope_digest=bytes([number]) * 32, body_mac=bytes(32), key_id=cast.tenant.pk
        )
        hours = 23 if number == 0 else 25
        IdempotencyRecord.objects.filter(pk=row.pk).update(created_at=timezone.now() - timedelta(hours=hours))

    assert task() == 5
    assert IdempotencyRecord.objects.count() == 1


def test_the_worker_runs_it_each_hour() -> None:
    entry = app.conf.beat_schedule["purge-deleted"]

    app.loader.import_default_modules()
    assert entry["schedule"] == 3600.0
    assert entry["task"] in app.tasks
