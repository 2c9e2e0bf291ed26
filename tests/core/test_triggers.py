"""What the database itself refuses, whoever asks and by whatever path."""

from typing import Any

import pytest
from django.core.management import call_command
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.db.models import F

from apps.audit.models import AuditChain, AuditEvent
from apps.core import triggers
from apps.core.actor import Actor
from apps.core.models import Change, DataKey
from apps.projects.models import Project
from apps.services.models import ApiKey, Service
from apps.vault.models import Config, ConfigVersion, Secret, SecretVersion
from apps.vault.operations import set_config, set_secret
from tests.conftest import Cast


def refused(queryset: Any, **columns: Any) -> str:
    """The database's message for the update, or with no columns for the deletion."""
    with pytest.raises(IntegrityError) as error, transaction.atomic():
        if columns:
            queryset.update(**columns)
        else:
            queryset._raw_delete(queryset.db)
    return str(error.value)


@pytest.mark.parametrize(
    "columns",
    [
        {"changes": "{}"},
        {"actor_name": "somebody else"},
        {"sequence": F("sequence") + 1000},
        {"count": F("count")},
    ],
)
def test_an_audit_event_cannot_be_updated(columns: dict[str, Any], cast: Cast) -> None:
    before = list(AuditEvent.objects.order_by("pk").values_list())

    message = refused(AuditEvent.objects.all(), **columns)

    assert "audit events cannot change" in message
    assert list(AuditEvent.objects.order_by("pk").values_list()) == before


def test_audit_events_and_chains_cannot_be_deleted_nor_set_back(cast: Cast) -> None:
    before = AuditEvent.objects.count()

    assert "audit events leave by a prune only" in refused(AuditEvent.objects.all())
    assert "an audit chain is never deleted" in refused(AuditChain.objects.all())
    assert "an audit chain only grows" in refused(AuditChain.objects.all(), head_sequence=0)
    assert "an audit chain only grows" in refused(
        AuditChain.objects.all(), pruned_through=F("head_sequence") + 1
    )

    assert AuditEvent.objects.count() == before


def test_an_event_that_a_prune_released_can_go_and_its_successor_cannot(cast: Cast) -> None:
    chain = AuditChain.objects.get(scope=f"project:{cast.project.pk}:changes")
    AuditChain.objects.filter(pk=chain.pk).update(pruned_through=2)

    AuditEvent.objects.filter(chain=chain, sequence__lte=2).delete()

    assert "prune only" in refused(AuditEvent.objects.filter(chain=chain, sequence=3))
    assert list(chain.events.order_by("sequence").values_list("sequence", flat=True)[:1]) == [3]


@pytest.mark.parametrize(
    "columns",
    [
        {"kind": "frontend"},
        {"environment": "develop"},
        {"is_umbrella": True},
        {"project": "other"},
    ],
)
def test_what_a_service_is_cannot_be_changed_by_a_queryset_nor_by_save(
    columns: dict[str, Any], cast: Cast
) -> None:
    if "project" in columns:
        columns = {"project": cast.other_project}
    service = Service.objects.get(pk=cast.backend.pk)

    message = refused(Service.objects.filter(pk=service.pk), **columns)
    for name, value in columns.items():
        setattr(service, name, value)
    with pytest.raises(IntegrityError), transaction.atomic():
        service.save()

    assert "cannot change" in message
    stored = Service.objects.get(pk=cast.backend.pk)
    assert (stored.kind, stored.environment, stored.is_umbrella, stored.project_id) == (
        "backend",
        "production",
        False,
        cast.project.pk,
    )


def test_what_may_change_still_changes(cast: Cast) -> None:
    service = Service.objects.filter(pk=cast.backend.pk)

    service.update(name="Shop", revision=F("revision") + 1, kind=F("kind"))

    assert service.get().name == "Shop"


def test_no_row_moves_to_another_owner(cast: Cast, command: Actor) -> None:
    set_secret(actor=command, service=cast.backend, key="a", value=b"one")
    set_config(actor=command, service=cast.backend, key="a", value="one")

    for queryset, columns in (
        (Project.objects.filter(pk=cast.project.pk), {"tenant": cast.other_tenant}),
        (DataKey.objects.filter(project_id=cast.project.pk), {"tenant_id": cast.other_tenant.pk}),
        (ApiKey.objects.filter(service=cast.backend), {"service": cast.frontend}),
        (ApiKey.objects.filter(service=cast.backend), {"scopes": ["read", "write"]}),
        (ApiKey.objects.filter(service=cast.backend), {"digest": b"x" * 32}),
        (Secret.objects.all(), {"service": cast.child}),
        (Config.objects.all(), {"service": cast.child}),
        (SecretVersion.objects.all(), {"version": 7}),
        (SecretVersion.objects.all(), {"type": "file"}),
        (ConfigVersion.objects.all(), {"version": 7}),
        (Change.objects.all(), {"key": "other"}),
    ):
        assert "cannot change" in refused(queryset, **columns)

    assert Secret.objects.get().service_id == cast.backend.pk
    assert SecretVersion.objects.get().version == 1


def test_after_migrate_every_guard_stands(db: None) -> None:
    assert len(triggers.guards_of(connection)) >= len(triggers.GUARDS) - 2

    assert triggers.missing() == []


def test_a_dropped_guard_is_named_and_migrate_puts_it_back(transactional_db: None) -> None:
    name = "nexus_guard_audit_auditevent_update"
    on = " ON audit_auditevent" if connection.vendor == "postgresql" else ""
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TRIGGER {name}{on}")
    missing = triggers.missing()

    call_command("migrate", verbosity=0)

    assert missing == [name]
    assert triggers.missing() == []


def test_guards_survive_every_migration_backwards_and_forwards(transactional_db: None) -> None:
    for app in ("vault", "flags", "services"):
        call_command("migrate", app, "zero", verbosity=0)
        assert triggers.missing() == []
    call_command("migrate", verbosity=0)

    assert triggers.missing() == []


def test_lifted_guards_come_back_also_after_an_error(transactional_db: None) -> None:
    with pytest.raises(ZeroDivisionError), triggers.lifted():
        assert len(triggers.missing()) == len(triggers.guards_of(connection))
        raise ZeroDivisionError

    assert triggers.missing() == []


def test_a_disabled_guard_counts_as_missing(transactional_db: None) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite cannot disable a trigger")
    name = "nexus_guard_audit_auditevent_update"

    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE audit_auditevent DISABLE TRIGGER {name}")
    missing = triggers.missing()
    triggers.install()

    assert missing == [name]
    assert triggers.missing() == []


def test_append_only_tables_cannot_be_emptied_at_once(committed_cast: Cast) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has no TRUNCATE")
    before = AuditEvent.objects.count()

    with pytest.raises(DatabaseError), connection.cursor() as cursor:
        cursor.execute("TRUNCATE audit_auditevent")

    assert AuditEvent.objects.count() == before
