"""What was written before: brought back, renamed, compared, destroyed, and reminded of."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from apps.audit.models import AuditEvent
from apps.core import outbox
from apps.core.actor import Actor
from apps.core.errors import (
    AlreadyExists,
    Conflict,
    HasDependants,
    InvalidInput,
    NexusError,
    NotFound,
    NotPermitted,
    QuotaExceeded,
    ReauthenticationRequired,
    ServiceKindMismatch,
    VersionConflict,
)
from apps.core.models import Change, OutboxMessage
from apps.projects.operations import create_project
from apps.services.models import EntryReference, Kind
from apps.services.operations import create_service
from apps.tenancy.models import User
from apps.vault import tasks
from apps.vault.differences import diff_configs, diff_secrets
from apps.vault.history import CONFIGS, SECRETS, destroy_version, rename_entry, restore_entry, restore_version
from apps.vault.models import Config, ConfigVersion, Secret, SecretType, SecretVersion
from apps.vault.operations import delete_config, delete_secret, reveal_secret, set_config, set_secret
from apps.vault.verification import verify_vault
from nexus.celery import app
from tests.conftest import Cast

InThread = Callable[[Callable[[], Any]], Callable[[], Any]]
OF = pytest.mark.parametrize("of", [SECRETS, CONFIGS], ids=["secrets", "configs"])


def write(command: Actor, of: Any, service: Any, key: str, text: str) -> Any:
    if of is SECRETS:
        return set_secret(actor=command, service=service, key=key, value=text.encode())
    return set_config(actor=command, service=service, key=key, value=text)


def delete(command: Actor, of: Any, service: Any, key: str) -> Any:
    return (delete_secret if of is SECRETS else delete_config)(actor=command, service=service, key=key)


def told() -> list[str]:
    return list(AuditEvent.objects.order_by("time").values_list("action", flat=True))


@OF
def test_a_version_comes_back_as_a_new_one_with_one_event(cast: Cast, command: Actor, of: Any) -> None:
    for text in ("one", "two"):
        write(command, of, cast.backend, "a", text)
    before = len(told())

    again = restore_version(actor=cast.actor("mona"), of=of, service=cast.backend, key="a", version=1)

    assert (again.version, again.created, again.row.description) == (3, False, "Version 1 again.")
    assert again.row.created_by == "mona@example.org"
    assert told()[before:] == [f"{of.kind}.updated"]
    if of is SECRETS:
        assert reveal_secret(actor=command, secret=again.entry).value == b"one"
        assert verify_vault().failed == []
    else:
        assert again.row.text == "one"


def test_a_file_comes_back_with_its_name(cast: Cast, command: Actor) -> None:
    set_secret(
        actor=command,
        service=cast.backend,
        key="a",
        value=b"\x00\xff",
        type=SecretType.FILE,
        file_name="a.pem",
    )
    write(command, SECRETS, cast.backend, "a", "two")

    again = restore_version(actor=command, of=SECRETS, service=cast.backend, key="a", version=1)

    found = reveal_secret(actor=command, secret=Secret.objects.get())
    assert (found.value, found.type, found.file_name) == (b"\x00\xff", "file", "a.pem")
    assert again.type == "file"


@OF
def test_what_cannot_be_restored_or_destroyed_is_refused_and_nothing_happens(
    cast: Cast, command: Actor, of: Any
) -> None:
    for text in ("one", "two", "three"):
        write(command, of, cast.backend, "a", text)
    destroy_version(actor=command, of=of, service=cast.backend, key="a", version=1)
    restore = {"of": of, "service": cast.backend, "key": "a", "version": 2}
    before = told()

    for change, refusal in (
        ({"version": 1}, NotFound),
        ({"version": 4}, NotFound),
        ({"key": "b"}, NotFound),
        ({"expected_version": 2}, VersionConflict),
        ({"expected_row_version": 9}, VersionConflict),
    ):
        with pytest.raises(refusal):
            restore_version(actor=command, **{**restore, **change})
    for change, refusal in (
        ({"version": 3}, Conflict),
        ({"version": 4}, NotFound),
        ({"key": "b"}, NotFound),
        ({"expected_version": 2}, VersionConflict),
        ({"expected_row_version": 9}, VersionConflict),
    ):
        with pytest.raises(refusal):
            destroy_version(actor=command, **{**restore, **change})
    for who in ("bob", "tess", "vic", "finn", "mallory", "sue"):
        for run in (restore_version, destroy_version):
            with pytest.raises((NotPermitted, NotFound)):
                run(actor=cast.actor(who), **restore)
    destroy_version(actor=command, of=of, service=cast.backend, key="a", version=1)

    assert told() == before
    if of is SECRETS:
        with pytest.raises(ServiceKindMismatch):
            restore_version(actor=command, **{**restore, "service": cast.frontend})


def test_restoring_a_config_checks_its_references_again(cast: Cast, command: Actor) -> None:
    write(command, CONFIGS, cast.backend, "host", "h")
    write(command, CONFIGS, cast.backend, "url", "{{config:host}}")
    write(command, CONFIGS, cast.backend, "url", "plain")
    delete(command, CONFIGS, cast.backend, "host")

    with pytest.raises(InvalidInput) as refusal:
        restore_version(actor=command, of=CONFIGS, service=cast.backend, key="url", version=1)

    assert "url → host" in str(refusal.value.errors)
    assert not EntryReference.objects.exists()


def test_a_config_that_names_a_secret_is_brought_back_by_those_who_may_reveal_it(
    cast: Cast, command: Actor
) -> None:
    write(command, SECRETS, cast.backend, "s", "x")
    write(command, CONFIGS, cast.backend, "url", "{{secret:s}}")
    write(command, CONFIGS, cast.backend, "url", "plain")

    with pytest.raises(NotPermitted):
        restore_version(actor=cast.actor("bob"), of=CONFIGS, service=cast.backend, key="url", version=1)
    restore_version(actor=cast.actor("mona"), of=CONFIGS, service=cast.backend, key="url", version=1)

    assert EntryReference.objects.get().target_key == "s"


@OF
def test_a_deleted_entry_comes_back_with_its_versions_while_it_may(
    cast: Cast, command: Actor, of: Any
) -> None:
    write(command, of, cast.backend, "a", "one")
    live = {"actor": command, "of": of, "service": cast.backend, "key": "a"}
    with pytest.raises(Conflict):
        restore_entry(**live)
    delete(command, of, cast.backend, "a")
    changes = Change.objects.count()
    with pytest.raises(VersionConflict):
        restore_entry(**live, expected_row_version=1)
    with pytest.raises(NotFound):
        restore_entry(**{**live, "key": "b"})

    back = restore_entry(**live, expected_row_version=2)

    entry = of.model.objects.get()
    assert (entry.deleted_at, entry.purge_after, entry.row_version) == (None, None, 3)
    assert (back.version, told()[-1]) == (1, f"{of.kind}.restored")
    assert Change.objects.count() == changes + 1

    delete(command, of, cast.backend, "a")
    of.model.objects.update(purge_after=timezone.now())
    with pytest.raises(Conflict):
        restore_entry(**live)


def test_bringing_back_takes_a_place_of_the_tier(cast: Cast, command: Actor) -> None:
    project = create_project(actor=command, tenant=cast.tenant, slug="tiny", tier="free")
    service = create_service(
        actor=command, project=project, environment="develop", slug="s", kind=Kind.BACKEND
    )
    for number in range(25):
        write(command, SECRETS, service, f"k{number}", "x")
    delete(command, SECRETS, service, "k0")
    write(command, SECRETS, service, "other", "x")

    with pytest.raises(QuotaExceeded):
        restore_entry(actor=command, of=SECRETS, service=service, key="k0")

    assert Secret.objects.get(key="k0").deleted_at is not None


@OF
def test_a_renamed_entry_keeps_versions_and_value(cast: Cast, command: Actor, of: Any) -> None:
    for text in ("one", "two"):
        write(command, of, cast.backend, "a", text)

    moved = rename_entry(
        actor=cast.actor("mona"), of=of, service=cast.backend, key="a", new_key="b", expected_row_version=2
    )

    assert (moved.entry.key, moved.version, moved.entry.row_version) == ("b", 2, 3)
    assert told()[-1] == f"{of.kind}.renamed"
    assert list(Change.objects.order_by("sequence").values_list("event", "key"))[-2:] == [
        (f"{of.kind}.deleted", "a"),
        (f"{of.kind}.updated", "b"),
    ]
    if of is SECRETS:
        assert reveal_secret(actor=command, secret=Secret.objects.get()).value == b"two"
        assert verify_vault().failed == []


@OF
def test_no_entry_is_renamed_onto_another(cast: Cast, command: Actor, of: Any) -> None:
    for key in ("a", "b", "c"):
        write(command, of, cast.backend, key, "x")
    delete(command, of, cast.backend, "c")
    rename: dict[str, Any] = {"actor": command, "of": of, "service": cast.backend, "key": "a"}

    for new_key, refusal in (
        ("b", AlreadyExists),
        ("c", AlreadyExists),
        ("a", InvalidInput),
        ("no key", InvalidInput),
        ("", InvalidInput),
    ):
        with pytest.raises(refusal):
            rename_entry(**rename, new_key=new_key)
    with pytest.raises(VersionConflict):
        rename_entry(**rename, new_key="d", expected_row_version=7)
    with pytest.raises(NotFound):
        rename_entry(**{**rename, "key": "c"}, new_key="d")
    with pytest.raises(NotPermitted):
        rename_entry(**{**rename, "actor": cast.actor("bob")}, new_key="d")

    assert sorted(of.model.objects.values_list("key", flat=True)) == ["a", "b", "c"]


def test_a_rename_breaks_no_template_and_closes_no_circle(cast: Cast, command: Actor) -> None:
    write(command, CONFIGS, cast.umbrella, "a", "from the umbrella")
    write(command, CONFIGS, cast.child, "b", "{{config:a}}")
    write(command, CONFIGS, cast.child, "c", "{{config:b}}")
    rename: dict[str, Any] = {"actor": command, "of": CONFIGS, "service": cast.child}

    with pytest.raises(HasDependants):
        rename_entry(**rename, key="b", new_key="d")
    with pytest.raises(InvalidInput) as refusal:
        rename_entry(**rename, key="c", new_key="a")
    rename_entry(**rename, key="c", new_key="d")

    assert "a → b → a" in str(refusal.value.errors["new_key"])
    with pytest.raises(HasDependants):
        rename_entry(**{**rename, "service": cast.umbrella}, key="a", new_key="z")
    rename_entry(**{**rename, "service": cast.umbrella}, key="a", new_key="z", force=True)


def test_texts_are_compared_line_by_line(cast: Cast, command: Actor) -> None:
    for value in ("a\nb\nc", "a\nB\nc", "a\nB\nc\n"):
        set_config(actor=command, service=cast.backend, key="a", value=value)
    set_config(actor=command, service=cast.backend, key="a", value={"x": 1, "y": [2]}, type="json")
    set_config(actor=command, service=cast.backend, key="a", value={"x": 1, "y": [3]}, type="json")
    set_config(actor=command, service=cast.backend, key="a", value="1")
    set_config(actor=command, service=cast.backend, key="a", value=1, type="number")
    config = Config.objects.select_related("service__project").get()

    def diff(left: int, right: int) -> str:
        return diff_configs(actor=cast.actor("vic"), config=config, left=left, right=right)

    assert diff(1, 2) == (
        "--- a version 1 (string)\n+++ a version 2 (string)\n@@ -1,3 +1,3 @@\n a\n-b\n+B\n c"
    )
    assert diff(2, 3).splitlines()[2:] == ["@@ -1,3 +1,4 @@", " a", " B", " c", "+"]
    assert "-    2\n+    3" in diff(4, 5)
    assert diff(6, 7) == "--- a version 6 (string)\n+++ a version 7 (number)"
    assert diff(2, 2) == ""
    with pytest.raises(NotFound):
        diff(1, 8)
    with pytest.raises(NotPermitted):
        diff_configs(actor=cast.actor("mallory"), config=config, left=1, right=2)


def test_no_text_keeps_a_comparison_busy(cast: Cast, command: Actor) -> None:
    lines = [chr(0x100 + number % 150) for number in range(16_000)]
    other = [chr(0x100 + number * 7 % 150) for number in range(16_000)]
    for each in (lines, other):
        set_config(actor=command, service=cast.backend, key="a", value="\n".join(["same", *each, "end"]))
    config = Config.objects.select_related("service__project").get()
    began = time.monotonic()

    found = diff_configs(actor=command, config=config, left=1, right=2).split("\n")

    assert time.monotonic() - began < 5
    assert [line[1:] for line in found[3:] if line[0] in " -"] == ["same", *lines, "end"]
    assert [line[1:] for line in found[3:] if line[0] in " +"] == ["same", *other, "end"]


@pytest.mark.django_db(transaction=True)
def test_secrets_are_compared_by_those_who_may_reveal_and_are_there(
    committed_cast: Cast, command: Actor
) -> None:
    cast = committed_cast
    for text in ("one-canary", "two", "one-canary"):
        write(command, SECRETS, cast.backend, "a", text)
    secret = Secret.objects.select_related("service__project").get()

    same = diff_secrets(actor=cast.actor("mona"), secret=secret, left=1, right=3)
    other = diff_secrets(actor=cast.actor("mona"), secret=secret, left=1, right=2)
    for who in ("bob", "tess", "vic", "mallory"):
        with pytest.raises(NotPermitted):
            diff_secrets(actor=cast.actor(who), secret=secret, left=1, right=2)
    with pytest.raises(ReauthenticationRequired):
        diff_secrets(actor=cast.actor("mona", present=False), secret=secret, left=1, right=2)
    with pytest.raises(NotFound):
        diff_secrets(actor=cast.actor("mona"), secret=secret, left=1, right=9)

    assert (same.is_same, same.left_bytes, same.right_bytes) == (True, 10, 10)
    assert (other.is_same, other.left_bytes, other.right_bytes) == (False, 10, 3)
    events = AuditEvent.objects.filter(action="secret.compared")
    assert events.count() == 2
    assert not any("canary" in event.changes for event in events)


@OF
def test_versions_beyond_the_newest_that_are_kept_are_tombstones(
    cast: Cast, command: Actor, of: Any, settings: Any
) -> None:
    settings.NEXUS_VERSIONS_KEPT = 3
    for number in range(5):
        write(command, of, cast.backend, "a", f"v{number}")

    restore_version(actor=command, of=of, service=cast.backend, key="a", version=3)

    rows: Any = SecretVersion if of is SECRETS else ConfigVersion
    assert list(rows.objects.order_by("version").values_list("version", flat=True)) == [1, 2, 3, 4, 5, 6]
    live = rows.objects.filter(destroyed_at=None).values_list("version", flat=True)
    assert sorted(live) == [4, 5, 6]
    gone = rows.objects.filter(destroyed_at__isnull=False).values_list(next(iter(of.emptied)), flat=True)
    assert {bytes(each) if of is SECRETS else each for each in gone} == {b"" if of is SECRETS else ""}
    with pytest.raises(NotFound):
        restore_version(actor=command, of=of, service=cast.backend, key="a", version=3)


@pytest.mark.django_db(transaction=True)
def test_a_destroyed_versions_bytes_stand_in_no_file(committed_cast: Cast, command: Actor) -> None:
    if connection.vendor != "sqlite":
        pytest.skip("The files of PostgreSQL are its own.")
    service = committed_cast.backend
    write(command, SECRETS, service, "a", "one" * 500)
    write(command, CONFIGS, service, "c", "kW8-plain-as-it-may-be")
    sealed = bytes(SecretVersion.objects.get().sealed)
    write(command, SECRETS, service, "a", "two")
    write(command, CONFIGS, service, "c", "two")
    database = Path(connection.settings_dict["NAME"])

    def stands(data: bytes) -> bool:
        return any(data in path.read_bytes() for path in database.parent.glob(f"{database.name}*"))

    # The first bytes suffice: what goes on in the next page is another's to find.
    assert stands(sealed[:200])
    destroy_version(actor=command, of=SECRETS, service=service, key="a", version=1)

    assert not any(stands(sealed[start : start + 64]) for start in range(0, len(sealed) - 64, 64))
    row = SecretVersion.objects.get(version=1)
    assert (bytes(row.sealed), row.data_key_id, row.size_bytes) == (b"", None, 1500)
    assert AuditEvent.objects.filter(action="secret_version.destroyed").count() == 1
    assert verify_vault().failed == []


@pytest.mark.django_db(transaction=True)
def test_writers_restorers_and_renamers_at_once_leave_no_gap_and_no_dangling_reference(
    committed_cast: Cast, command: Actor, in_thread: InThread
) -> None:
    service = committed_cast.backend
    for of in (SECRETS, CONFIGS):
        write(command, of, service, "a", "one")

    def attempt(run: Callable[[], Any]) -> Any:
        try:
            return run()
        except NexusError as refused:
            return refused

    acts: list[Callable[[], Any]] = []
    for number in range(6):
        for of in (SECRETS, CONFIGS):
            acts += [
                lambda of=of, number=number: write(command, of, service, "a", f"v{number}"),  # type: ignore[misc]
                lambda of=of: restore_version(actor=command, of=of, service=service, key="a", version=1),  # type: ignore[misc]
            ]
        acts += [
            lambda: write(command, CONFIGS, service, "url", "{{config:a}}"),
            lambda: write(command, CONFIGS, service, "url", "{{config:b}}"),
            lambda: rename_entry(actor=command, of=CONFIGS, service=service, key="a", new_key="b"),
            lambda: rename_entry(actor=command, of=CONFIGS, service=service, key="b", new_key="a"),
            lambda: delete(command, CONFIGS, service, "a"),
            lambda: restore_entry(actor=command, of=CONFIGS, service=service, key="a"),
        ]

    with ThreadPoolExecutor(6) as pool:
        results = [
            future.result()
            for future in [pool.submit(in_thread(lambda run=run: attempt(run))) for run in acts]  # type: ignore[misc]
        ]

    refused = {type(each) for each in results if isinstance(each, NexusError)}
    assert refused <= {NotFound, Conflict, AlreadyExists, HasDependants, InvalidInput, VersionConflict}
    for entry in [*Secret.objects.all(), *Config.objects.all()]:
        versions: Any = entry.versions
        numbers = list(versions.order_by("version").values_list("version", flat=True))
        assert numbers == list(range(1, entry.active_version + 1))
    assert Secret.objects.get().active_version == 13
    live = set(Config.objects.filter(deleted_at=None).values_list("key", flat=True))
    assert {each.target_key for each in EntryReference.objects.all()} <= live
    assert verify_vault().failed == []


def dated(command: Actor, service: Any, key: str, **reminders: Any) -> Any:
    return set_secret(actor=command, service=service, key=key, value=b"vAlue-canary", reminders=reminders)


def test_owners_are_reminded_once_a_day_of_what_is_near_or_past(cast: Cast, command: Actor) -> None:
    now = timezone.now()
    dated(command, cast.backend, "near", expires_at=now + timedelta(days=13), rotate_by=None)
    dated(command, cast.child, "past", rotate_by=now - timedelta(days=400))
    dated(command, cast.backend, "far", expires_at=now + timedelta(days=15))
    dated(command, cast.backend, "gone", expires_at=now)
    delete(command, SECRETS, cast.backend, "gone")

    counts = [tasks.remind_of_secrets(), tasks.remind_of_secrets()]

    assert counts == [1, 0]
    mail = OutboxMessage.objects.get()
    assert (mail.topic, mail.payload["to"]) == ("mail", "alice@example.org")
    text = mail.payload["text"]
    assert f"- production/api near: expires {now + timedelta(days=13):%Y-%m-%d}" in text
    assert f"- production/checkout past: is to be rotated by {now - timedelta(days=400):%Y-%m-%d}" in text
    assert "far" not in text
    assert "gone" not in text
    assert "canary" not in str(mail.payload)
    assert outbox.sweep() == 1
    OutboxMessage.objects.update(created_at=now - timedelta(days=1))
    assert tasks.remind_of_secrets() == 1


def test_a_project_without_owners_reminds_those_of_the_tenant(cast: Cast, command: Actor) -> None:
    dated(command, cast.backend, "near", expires_at=timezone.now())
    User.objects.filter(pk=cast.users["alice"].pk).update(is_active=False)

    tasks.remind_of_secrets()

    assert [each.payload["to"] for each in OutboxMessage.objects.all()] == ["carol@example.org"]
    schedule = app.conf.beat_schedule["remind-of-secrets"]
    assert schedule["task"] == "apps.vault.tasks.remind_of_secrets"


def test_a_new_life_begins_without_reminders_and_a_new_version_keeps_them(cast: Cast, command: Actor) -> None:
    moment = timezone.now()
    dated(command, cast.backend, "a", expires_at=moment)
    write(command, SECRETS, cast.backend, "a", "two")
    assert Secret.objects.get().expires_at == moment
    delete(command, SECRETS, cast.backend, "a")

    write(command, SECRETS, cast.backend, "a", "three")

    assert Secret.objects.get().expires_at is None
    with pytest.raises(InvalidInput):
        dated(command, cast.backend, "a", rotate_by=moment.replace(year=1999))
