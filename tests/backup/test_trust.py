"""Who made it, and what opens it: root key or passphrase, ours or foreign."""

import base64
import logging
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
from pytest_django import Settings

from apps.core import crypto, keys
from apps.core.actor import Actor
from apps.core.errors import InvalidInput, MissingRootKey, NexusError, NotPermitted
from apps.core.models import DataKey, ServerKey
from apps.vault.models import Secret
from apps.vault.operations import reveal_secret
from apps.vault.verification import verify_vault
from nexus.backup.container import ArchiveReader
from nexus.backup.errors import ArchiveIsDamaged, ArchiveIsForeign, ArchiveIsLocked
from nexus.backup.making import make_backup
from nexus.backup.restoring import restore
from tests.backup.conftest import CONFIG, OTHER_ROOT_KEY, SECRET, count_rows, empty_database, forge
from tests.conftest import Cast

PASSPHRASE = "correct horse battery heron"
Put = Callable[[str], None]


def refusal(actor: Actor, path: Path, **options: bool) -> NexusError:
    before = count_rows()
    with pytest.raises(NexusError) as found:
        restore(actor=actor, path=path, **options)
    assert count_rows() == before
    return found.value


def test_only_the_root_key_opens_what_it_locked_and_the_refusal_names_it(
    full_cast: Cast, command: Actor, settings: Settings, tmp_path: Path
) -> None:
    make_backup(actor=command, path=tmp_path / "a")
    (former,) = keys.root_keys()
    empty_database()
    settings.NEXUS_ROOT_KEY = OTHER_ROOT_KEY

    assert type(refusal(command, tmp_path / "a")) is ArchiveIsForeign
    found = refusal(command, tmp_path / "a", trust_foreign=True)

    assert isinstance(found, MissingRootKey)
    assert found.root_key_ids == [former]


def test_a_passphrase_opens_an_archive_wherever_it_is(
    full_cast: Cast, command: Actor, with_passphrase: Put, settings: Settings, tmp_path: Path
) -> None:
    with_passphrase(PASSPHRASE)
    make_backup(actor=command, path=tmp_path / "a")
    empty_database()
    settings.NEXUS_ROOT_KEY = OTHER_ROOT_KEY
    (root_key_id,) = keys.root_keys()

    # Another installation signed it, and nothing here vouches for it.
    assert type(refusal(command, tmp_path / "a")) is ArchiveIsForeign
    done = restore(actor=command, path=tmp_path / "a", trust_foreign=True)

    assert done.is_foreign
    assert verify_vault().failed == []
    rows = [*DataKey.objects.all(), *ServerKey.objects.all()]
    assert {row.root_key_id for row in rows} == {root_key_id}
    secret = Secret.objects.get(key="stripe")
    assert reveal_secret(actor=command, secret=secret).value == f"{SECRET}2".encode()


def test_ones_own_root_key_vouches_for_an_archive_under_a_passphrase(
    full_cast: Cast, command: Actor, with_passphrase: Put, tmp_path: Path
) -> None:
    with_passphrase(PASSPHRASE)
    make_backup(actor=command, path=tmp_path / "a")
    empty_database()

    assert restore(actor=command, path=tmp_path / "a").is_foreign is False


def test_a_wrong_a_missing_and_a_short_passphrase_are_refused(
    full_cast: Cast,
    command: Actor,
    with_passphrase: Put,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    with_passphrase(PASSPHRASE)
    make_backup(actor=command, path=tmp_path / "a")
    empty_database()

    with_passphrase(PASSPHRASE + "!")
    assert type(refusal(command, tmp_path / "a")) is ArchiveIsLocked
    monkeypatch.delenv("NEXUS_BACKUP_PASSPHRASE_FILE")
    assert "NEXUS_BACKUP_PASSPHRASE_FILE" in refusal(command, tmp_path / "a").detail
    monkeypatch.setenv("NEXUS_BACKUP_PASSPHRASE_FILE", str(tmp_path / "nowhere"))
    assert type(refusal(command, tmp_path / "a")) is InvalidInput

    with_passphrase("too short")
    with pytest.raises(InvalidInput, match="at least 12"):
        make_backup(actor=command, path=tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_a_signer_with_our_id_and_another_key_is_foreign(
    full_cast: Cast, command: Actor, tmp_path: Path
) -> None:
    make_backup(actor=command, path=tmp_path / "a", tenant=full_cast.tenant)
    data = (tmp_path / "a").read_bytes()
    with (tmp_path / "a").open("rb") as file:
        archive = ArchiveReader(file)
        assert archive.is_foreign() is False
        ours = archive.header.signer.hex().encode()
    seed = crypto.new_key()
    body = data[:-96].replace(ours, crypto.public_key(seed).hex().encode())
    digest = crypto.sha256(body)
    signature = crypto.sign(seed, crypto.length_prefixed("nexus.backup-archive.1", digest))
    (tmp_path / "b").write_bytes(body + digest + signature)

    assert type(refusal(command, tmp_path / "b")) is ArchiveIsForeign
    # Trusted, it is still not what was sealed: the header is part of every frame.
    assert type(refusal(command, tmp_path / "b", trust_foreign=True)) is ArchiveIsDamaged


def test_only_a_command_on_the_host_makes_and_restores(full_cast: Cast, tmp_path: Path) -> None:
    for name in ("carol", "alice", "sue"):
        with pytest.raises(NotPermitted):
            make_backup(actor=full_cast.actor(name), path=tmp_path / "a", tenant=full_cast.tenant)
        with pytest.raises(NotPermitted):
            restore(actor=full_cast.actor(name), path=tmp_path / "a")
    assert not (tmp_path / "a").exists()


def forms(secret: bytes) -> list[bytes]:
    encoded = [base64.b64encode(secret)[:-4], base64.urlsafe_b64encode(secret)[:-4]]
    return [secret, secret.hex().encode(), *encoded]


def test_no_value_no_name_and_no_key_can_be_read_in_an_archive_a_log_or_a_refusal(
    full_cast: Cast,
    command: Actor,
    with_passphrase: Put,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    caplog.set_level(logging.DEBUG)
    rows = [*DataKey.objects.all(), *ServerKey.objects.all()]
    unwrapped = [keys.unwrap(row) for row in rows]
    make_backup(actor=command, path=tmp_path / "a")
    make_backup(actor=command, path=tmp_path / "t", tenant=full_cast.tenant)
    with_passphrase(PASSPHRASE)
    make_backup(actor=command, path=tmp_path / "p")
    places = [(tmp_path / name).read_bytes() for name in "atp"]

    said = []
    for name in "atp":
        data = (tmp_path / name).read_bytes()
        (tmp_path / "bad").write_bytes(data[:-200] + bytes(200))
        for path in (tmp_path / "bad", tmp_path / name):
            try:
                restore(actor=command, path=path, trust_foreign=True)
            except NexusError as error:
                said.append("".join(traceback.format_exception(error)))
    with_passphrase("another passphrase")
    empty_database()
    said.append(repr(refusal(command, tmp_path / "p")))
    places += [text.encode() for text in [*said, caplog.text]]

    hidden = [SECRET.encode(), CONFIG.encode(), b"alice@example.org", PASSPHRASE.encode()]
    hidden += [b"another passphrase", b"acme", *unwrapped]
    # The tenant's archive is good, and brings nothing to where the tenant lives.
    assert len(said) == 6
    for secret in hidden:
        for place in places:
            assert not any(form in place for form in forms(secret) if len(form) > 3), secret


def test_a_row_that_the_database_refuses_is_not_quoted(
    full_cast: Cast, command: Actor, tmp_path: Path
) -> None:
    """The database's own words name values; they stay behind, and so does every other row."""
    make_backup(actor=command, path=tmp_path / "a", tenant=full_cast.tenant)
    empty_database()
    keys.create_missing_server_keys()
    forge(
        tmp_path / "a",
        tmp_path / "b",
        lambda it: it.row("services.Service", slug="web").update(slug="api"),
    )

    found = refusal(command, tmp_path / "b")

    assert type(found) is ArchiveIsDamaged
    told = "".join(traceback.format_exception(found))
    assert "UNIQUE" not in told.upper()
    assert "api" not in told.replace("apis", "").split()
