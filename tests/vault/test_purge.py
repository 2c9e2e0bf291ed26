"""What nobody can restore any more goes for good, entry by entry told, and nothing else does."""

from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import connection
from django.utils import timezone

from apps.audit.models import AuditEvent
from apps.audit.operations import record
from apps.core.actor import Actor
from apps.flags.models import Flag
from apps.flags.operations import delete_flag, set_flag
from apps.projects import holdings
from apps.services import purging
from apps.vault.models import Config, ConfigVersion, Secret, SecretVersion
from apps.vault.operations import delete_config, delete_secret, set_config, set_secret
from tests.conftest import Cast

MONTH = timedelta(days=30, minutes=1)


def write_all(cast: Cast, command: Actor, key: str) -> None:
    set_secret(actor=command, service=cast.backend, key=key, value=b"1")
    set_secret(actor=command, service=cast.backend, key=key, value=b"2")
    set_config(actor=command, service=cast.backend, key=key, value="1")
    set_flag(actor=command, service=cast.backend, key=key, definition={})


def delete_all(cast: Cast, command: Actor, key: str) -> None:
    for delete in (delete_secret, delete_config, delete_flag):
        delete(actor=command, service=cast.backend, key=key)


def test_what_is_due_goes_with_its_versions_and_is_told(cast: Cast, command: Actor) -> None:
    for key in ("due", "lives"):
        write_all(cast, command, key)
    delete_all(cast, command, "due")

    early = holdings.purge_due(timezone.now() + timedelta(days=29))
    purged = holdings.purge_due(timezone.now() + MONTH)
    again = holdings.purge_due(timezone.now() + MONTH)

    assert (early, purged, again) == (0, 3, 0)
    for model in (Secret, Config, Flag):
        assert [row.key for row in model.objects.all()] == ["lives"]
    assert (SecretVersion.objects.count(), ConfigVersion.objects.count()) == (2, 1)
    told = AuditEvent.objects.filter(action__endswith=".purged")
    assert Counter(
        (event.action, event.object_key, event.actor_type, event.actor_name) for event in told
    ) == {(f"{kind}.purged", "due", "system", "purge_deleted"): 1 for kind in ("secret", "config", "flag")}


def test_a_revived_key_stays_and_a_purged_one_begins_anew(cast: Cast, command: Actor) -> None:
    for key in ("revived", "gone"):
        set_secret(actor=command, service=cast.backend, key=key, value=b"1")
        delete_secret(actor=command, service=cast.backend, key=key)
    set_secret(actor=command, service=cast.backend, key="revived", value=b"2")

    purged = holdings.purge_due(timezone.now() + MONTH)
    anew = set_secret(actor=command, service=cast.backend, key="gone", value=b"1")

    assert (purged, anew.version, anew.created) == (1, 1, True)
    assert Secret.objects.get(key="revived").active_version == 2


def test_a_run_that_is_killed_leaves_whole_batches_and_the_next_goes_on(
    cast: Cast, command: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        set_config(actor=command, service=cast.backend, key=f"k{number}", value="1")
        delete_config(actor=command, service=cast.backend, key=f"k{number}")
    monkeypatch.setattr(purging, "BATCH", 2)
    told: list[int] = []

    def dies_in_the_second_batch(**options: object) -> None:
        told.append(1)
        if len(told) == 4:
            raise KeyboardInterrupt
        record(**options)  # type: ignore[arg-type]

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(purging, "record", dies_in_the_second_batch)
        holdings.purge_due(timezone.now() + MONTH)

    events = AuditEvent.objects.filter(action="config.purged")
    assert (Config.objects.count(), events.count()) == (3, 2)
    assert holdings.purge_due(timezone.now() + MONTH) == 3
    assert (Config.objects.count(), events.count()) == (0, 5)


def test_the_purged_bytes_stand_in_no_file_of_the_database(committed_cast: Cast, command: Actor) -> None:
    if connection.vendor != "sqlite":
        pytest.skip("PostgreSQL's files are the server's")
    marked = "purge-canary-" + "x7Q" * 20
    set_config(actor=command, service=committed_cast.backend, key="a", value=marked)
    delete_config(actor=command, service=committed_cast.backend, key="a")

    # Its event told the template, and lives as long as the log keeps it.
    holdings.purge_due(timezone.now() + MONTH)

    database = Path(connection.settings_dict["NAME"])
    found = sum(
        path.read_bytes().count(marked.encode()) for path in database.parent.glob(f"{database.name}*")
    )
    assert found == 1
