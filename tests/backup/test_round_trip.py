"""Everything comes back as it was, on whichever database, and what must not come back does not."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.contrib.sessions.models import Session

from apps.audit.models import AuditChain, AuditEvent
from apps.audit.verification import verify
from apps.core import keys
from apps.core.actor import Actor
from apps.core.errors import InvalidCredential
from apps.core.models import Change, Installation, Purpose, ServerKey
from apps.services.credentials import find_in_database
from apps.services.models import ApiKey, WorkloadIdentity
from apps.tenancy.models import AccessToken, Invitation, User
from apps.tenancy.tokens import good_token
from apps.vault.models import Secret
from apps.vault.operations import reveal_secret, set_secret
from apps.vault.verification import verify_vault
from nexus.backup import making
from nexus.backup.errors import DatabaseIsNotEmpty
from nexus.backup.making import make_backup
from nexus.backup.restoring import restore
from tests.backup.conftest import SECRET, Commands, contents, count_rows, empty_database
from tests.conftest import Cast

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "reader"])

AUDIT = {"audit.AuditChain", "audit.AuditEvent"}


def without_audit(found: dict[str, Any]) -> dict[str, Any]:
    return {label: rows for label, rows in found.items() if label not in AUDIT}


def test_from_here_to_sqlite_and_back_every_row_is_the_same(
    committed: Cast, command: Actor, on_sqlite: Commands, tmp_path: Path
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    make_backup(actor=command, path=first)
    before = contents(first)
    empty = [label for label, rows in before.items() if not rows]

    said = on_sqlite(["restore", str(first), "--keep-credentials"], ["backup", str(second)])
    empty_database()
    restore(actor=command, path=second, keep_credentials=True)

    # Each table holds something, or its round trip would prove nothing; invitations are void.
    assert empty == []
    after = contents(second)
    assert [row.pop("revoked_at") is None for row in after["tenancy.Invitation"]] == [False]
    assert [row.pop("revoked_at") is None for row in before["tenancy.Invitation"]] == [True]
    assert without_audit(after) == without_audit(before)
    # The audit log goes on: what was there, and the event of the restore.
    known = {row["id"]: row for row in after["audit.AuditEvent"]}
    assert all(known.pop(row["id"]) == row for row in before["audit.AuditEvent"])
    assert [row["action"] for row in known.values()] == ["backup.restored"]
    assert said[0]["added"] == sum(len(rows) for rows in before.values())
    third = tmp_path / "third"
    make_backup(actor=command, path=third)
    assert without_audit(contents(third)) == without_audit(after) | {
        "tenancy.Invitation": contents(second)["tenancy.Invitation"]
    }


def test_after_a_full_restore_every_value_opens_and_every_chain_holds(
    committed: Cast, command: Actor, tmp_path: Path
) -> None:
    make_backup(actor=command, path=tmp_path / "a")
    epoch = Installation.current().epoch
    opened = verify_vault().opened
    empty_database()

    restore(actor=command, path=tmp_path / "a", keep_credentials=True)

    found = verify_vault()
    assert (found.opened, found.failed, found.unanchored) == (opened, [], 0)
    assert verify(AuditChain.objects.all()).first_bad is None
    assert Installation.current().epoch != epoch
    assert find_in_database(committed.keys["backend"]).service_id == committed.backend.pk
    assert good_token(committed.keys["token"]).user_id == committed.users["carol"].pk
    assert User.objects.get(email="sue@example.org").is_superuser
    secret = Secret.objects.get(service=committed.backend, key="stripe")
    assert reveal_secret(actor=command, secret=secret).value == f"{SECRET}2".encode()
    assert ApiKey.objects.filter(revoked_at=None).count() == 3
    assert WorkloadIdentity.objects.filter(disabled_at=None).count() == 1
    assert not Invitation.objects.filter(revoked_at=None).exists()
    # Life goes on: numbered rows, versions and events find their places.
    set_secret(actor=command, service=committed.backend, key="stripe", value=b"next")
    committed.project.grants.create(
        user=committed.users["vic"], permission=committed.project.grants.get().permission
    )
    assert verify(AuditChain.objects.all()).first_bad is None


def test_credentials_are_disabled_and_sessions_tickets_and_invitations_void(
    committed: Cast, command: Actor, tmp_path: Path
) -> None:
    Session.objects.create(session_key="s" * 32, session_data="x", expire_date="2100-01-01T00:00Z")
    make_backup(actor=command, path=tmp_path / "a")
    before = dict(ServerKey.objects.values_list("purpose", "pk"))
    empty_database()

    done = restore(actor=command, path=tmp_path / "a")

    assert not done.credentials_kept
    for name in ("backend", "frontend", "child"):
        with pytest.raises(InvalidCredential):
            find_in_database(committed.keys[name])
    with pytest.raises(InvalidCredential):
        good_token(committed.keys["token"])
    assert not ApiKey.objects.filter(revoked_at=None).exists()
    assert not AccessToken.objects.filter(revoked_at=None).exists()
    assert not WorkloadIdentity.objects.filter(disabled_at=None).exists()
    assert not Invitation.objects.filter(revoked_at=None).exists()
    assert not Session.objects.exists()
    assert not Change.objects.exists()
    # What signs sessions, tickets and invitations is another key than before.
    after = dict(ServerKey.objects.values_list("purpose", "pk"))
    assert {purpose for purpose in Purpose if after[purpose] == before[purpose]} == {
        Purpose.API_KEY_PEPPER,
        Purpose.AUDIT_SIGNING,
        Purpose.AUDIT_MAC,
        Purpose.ETAG,
        Purpose.MFA,
    }
    event = AuditEvent.objects.get(action="backup.restored")
    assert (event.changed["credentials"], event.changed["foreign"]) == ("disabled", False)


def test_a_full_archive_goes_into_an_empty_database_only(
    committed: Cast, command: Actor, tmp_path: Path
) -> None:
    make_backup(actor=command, path=tmp_path / "a")
    before = count_rows()

    with pytest.raises(DatabaseIsNotEmpty) as refusal:
        restore(actor=command, path=tmp_path / "a")

    assert "2 in tenancy.Tenant" in refusal.value.detail
    assert count_rows() == before


def test_server_keys_that_nothing_was_made_with_are_not_in_the_way(
    committed: Cast, command: Actor, tmp_path: Path
) -> None:
    make_backup(actor=command, path=tmp_path / "a")
    empty_database()
    keys.create_missing_server_keys()

    restore(actor=command, path=tmp_path / "a", keep_credentials=True)

    assert find_in_database(committed.keys["backend"])
    assert verify(AuditChain.objects.all()).first_bad is None


def test_an_archive_is_of_one_moment_whatever_is_written_meanwhile(
    committed: Cast,
    command: Actor,
    in_thread: Callable[[Callable[[], Any]], Callable[[], Any]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    lines, written = making._lines, []

    def write_while_others_do(*arguments: Any) -> Any:
        if not written:
            written.append(True)
            late = in_thread(
                lambda: set_secret(actor=command, service=committed.backend, key="late", value=b"late")
            )
            thread = threading.Thread(target=late)
            thread.start()
            thread.join()
        return lines(*arguments)

    monkeypatch.setattr(making, "_lines", write_while_others_do)

    make_backup(actor=command, path=tmp_path / "a")

    assert Secret.objects.filter(key="late").exists()
    found = contents(tmp_path / "a")
    assert "late" not in {row["key"] for row in found["vault.Secret"]}
    assert "late" not in {row["object_key"] for row in found["audit.AuditEvent"]}
