"""What is deleted for good, and what that leaves."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.db import connection
from django.db.models import Model
from django.utils import timezone

from apps.audit.models import AuditEvent
from apps.core.actor import Actor
from apps.flags.operations import set_flag_state
from apps.projects import holdings
from apps.services.models import ApiKey, EntryReference, Service, ServiceGrant
from apps.services.operations import RESTORABLE, delete_service, purge_due_services, purge_services
from apps.vault.models import SecretVersion
from apps.vault.operations import set_config, set_secret
from tests.conftest import Cast
from tests.console.test_routes import everything
from tests.projects.test_rights import extra
from tests.services.test_identities import identity_of


def filled(cast: Cast, command: Actor, *services: Service) -> None:
    """Entries with versions, identities, grants and references in each of the services."""
    for service in services:
        for value in (b"one", b"two"):
            set_secret(actor=command, service=service, key="k", value=value)
            set_config(actor=command, service=service, key="k", value=value.decode())
        set_flag_state(actor=command, service=service, key="k", enabled=True)
        identity_of(service)
        extra(cast.users["vic"], "secret:list", service)
        EntryReference.objects.create(
            source_service=service,
            source_kind="config",
            source_id=service.pk,
            target_kind="secret",
            target_key="k",
        )


def standing(service_id: Any) -> set[str]:
    """Tables that still name the service, the audit log and the changes apart."""
    marks = {str(service_id), service_id.hex}
    found = set()
    for table, rows in everything(without=("django_session",)).items():
        if table.startswith(("audit_", "core_change")):
            continue
        if any(str(value) in marks or value == service_id for row in rows for value in row):
            found.add(table)
    return found


def test_a_service_whose_time_is_over_goes_with_all_that_hangs_on_it(cast: Cast, command: Actor) -> None:
    filled(cast, command, cast.backend, cast.child)
    delete_service(actor=command, service=cast.backend)
    gone = Service.objects.get(pk=cast.backend.pk)
    assert gone.purge_after is not None

    too_early = purge_due_services(gone.purge_after - timedelta(seconds=1))
    done = holdings.purge_due(gone.purge_after)
    again = purge_due_services(gone.purge_after + RESTORABLE)

    assert (too_early, done, again) == (0, 1, 0)
    assert standing(gone.pk) == set()
    assert len(standing(cast.child.pk)) > 5
    event = AuditEvent.objects.get(action="service.purged")
    assert (event.object_id, event.actor_type, event.actor_name) == (
        str(gone.pk),
        "system",
        "purge_deleted",
    )
    # Its events stay for their window, and its slug is free again.
    assert AuditEvent.objects.filter(service_id=gone.pk, action="service.created").exists()
    assert not Service.objects.filter(slug="api").exists()


def test_a_live_or_restorable_service_is_never_purged(cast: Cast, command: Actor) -> None:
    delete_service(actor=command, service=cast.backend)
    before = Service.objects.count()

    assert purge_due_services(timezone.now() + timedelta(days=29)) == 0

    assert Service.objects.count() == before


def test_an_umbrella_goes_before_its_deleted_children_and_lets_go_of_them(cast: Cast, command: Actor) -> None:
    filled(cast, command, cast.umbrella)
    for service in (cast.child, cast.umbrella):
        delete_service(actor=command, service=service)
    Service.objects.filter(pk=cast.child.pk).update(purge_after=timezone.now() + timedelta(days=60))

    done = purge_due_services(timezone.now() + timedelta(days=31))

    child = Service.objects.get(pk=cast.child.pk)
    assert done == 1
    assert child.umbrella_id is None
    assert not Service.objects.filter(pk=cast.umbrella.pk).exists()
    assert purge_due_services(timezone.now() + timedelta(days=61)) == 1


def test_purging_a_project_takes_its_services_and_no_others(cast: Cast, command: Actor) -> None:
    filled(cast, command, cast.umbrella, cast.child, cast.backend)
    delete_service(actor=command, service=cast.child)
    services = list(Service.objects.filter(project=cast.project).values_list("pk", flat=True))
    assert len(services) == 4

    holdings.purge(cast.other_project.pk)
    assert Service.objects.count() == 4
    purge_services(cast.project.pk)

    assert not Service.objects.exists()
    assert not ApiKey.objects.exists()
    assert not ServiceGrant.objects.exists()
    for pk in services:
        assert standing(pk) == set()
    entries: list[type[Model]] = [
        apps.get_model(name)
        for name in (
            "vault.SecretVersion",
            "vault.ConfigVersion",
            "vault.Secret",
            "vault.Config",
            "flags.Flag",
        )
    ]
    assert not any(model._default_manager.exists() for model in entries)


def test_the_bytes_of_a_purged_service_stand_in_no_file_of_the_database(
    committed_cast: Cast, command: Actor
) -> None:
    if connection.vendor != "sqlite":
        pytest.skip("PostgreSQL's files are the server's")
    marked = "service-canary-" + "x7Q" * 20
    set_config(actor=command, service=committed_cast.backend, key="a", value=marked)
    set_secret(actor=command, service=committed_cast.backend, key="s", value=b"x" * 200)
    sealed = bytes(SecretVersion.objects.get().sealed)
    delete_service(actor=command, service=committed_cast.backend)

    assert purge_due_services(timezone.now() + RESTORABLE + timedelta(days=1)) == 1

    database = Path(connection.settings_dict["NAME"])
    files = [path.read_bytes() for path in database.parent.glob(f"{database.name}*")]
    # The event of the config told its template, and lives as long as the log keeps it.
    assert sum(file.count(marked.encode()) for file in files) == 1
    assert sum(file.count(sealed) for file in files) == 0
