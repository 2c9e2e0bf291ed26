"""What the database refuses by itself, on both databases."""

from io import StringIO

import pytest
from django.core.management import call_command
from django.db import DatabaseError, connection, transaction

from apps.audit.models import AuditChain, AuditEvent
from apps.core import triggers
from apps.core.models import Change
from apps.projects.models import Project
from apps.services.models import ApiKey, Service
from tests.conftest import Cast


def refused(sql: str, *parameters: object) -> bool:
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(sql, parameters)
    except DatabaseError:
        return True
    return False


def test_kind_and_environment_change_by_no_path(cast: Cast) -> None:
    for changes in ({"kind": "frontend"}, {"environment": "develop"}, {"project_id": cast.other_project.pk}):
        with pytest.raises(DatabaseError), transaction.atomic():
            Service.objects.filter(pk=cast.backend.pk).update(**changes)
    service = Service.objects.get(pk=cast.backend.pk)
    service.kind = "frontend"
    with pytest.raises(DatabaseError), transaction.atomic():
        service.save()

    service.refresh_from_db()
    assert (service.kind, service.environment) == ("backend", "production")


def test_a_project_stays_with_its_tenant_and_a_key_with_its_digest(cast: Cast) -> None:
    with pytest.raises(DatabaseError), transaction.atomic():
        Project.objects.filter(pk=cast.project.pk).update(tenant=cast.other_tenant)
    with pytest.raises(DatabaseError), transaction.atomic():
        ApiKey.objects.filter(service=cast.backend).update(digest=b"x" * 32)


def test_audit_events_cannot_be_changed_or_deleted(cast: Cast) -> None:
    count = AuditEvent.objects.count()

    assert refused("UPDATE audit_auditevent SET action = 'x'")
    assert refused("DELETE FROM audit_auditevent")
    assert refused("DELETE FROM audit_auditchain")
    assert refused("UPDATE audit_auditchain SET head_sequence = 0")
    assert refused("UPDATE audit_auditchain SET pruned_through = head_sequence + 1")
    if connection.vendor == "postgresql":
        assert refused("TRUNCATE audit_auditevent")

    assert AuditEvent.objects.count() == count


def test_what_a_prune_permits_may_leave(cast: Cast) -> None:
    chain = AuditChain.objects.get(kind="changes", project_id=cast.project.pk)

    AuditChain.objects.filter(pk=chain.pk).update(pruned_through=2)
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM audit_auditevent WHERE chain_id = %s AND sequence <= 2", [_raw(chain.pk)])

    assert not chain.events.filter(sequence__lte=2).exists()
    assert refused("DELETE FROM audit_auditevent WHERE chain_id = %s AND sequence = 3", _raw(chain.pk))


def _raw(value: object) -> object:
    return value if connection.vendor == "postgresql" else str(value).replace("-", "")


def test_changes_cannot_be_changed(cast: Cast) -> None:
    assert Change.objects.exists()

    assert refused("UPDATE core_change SET event = 'x'")


def test_a_missing_guard_is_named_and_comes_back_with_the_next_migrate(transactional_db: None) -> None:
    assert triggers.missing() == []

    name = "nexus_guard_services_service_immutable"
    with connection.cursor() as cursor:
        on = " ON services_service" if connection.vendor == "postgresql" else ""
        cursor.execute(f"DROP TRIGGER {name}{on}")
    assert triggers.missing() == [name]
    call_command("migrate", verbosity=0, stdout=StringIO())

    assert triggers.missing() == []


def test_guards_survive_every_migration_backwards_and_forwards(transactional_db: None) -> None:
    for app in ("vault", "flags"):
        call_command("migrate", app, "zero", verbosity=0, stdout=StringIO())
        assert triggers.missing() == []
    call_command("migrate", verbosity=0, stdout=StringIO())

    assert triggers.missing() == []
