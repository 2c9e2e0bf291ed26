"""The three commands: what they print, how they end, and what they leave on disk."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command

from apps.audit.models import AuditEvent
from apps.core.actor import Actor
from nexus.backup import making
from nexus.backup.making import make_backup
from nexus.management.commands.backup import Command as BackupCommand
from nexus.management.commands.restore import Command as RestoreCommand
from nexus.management.commands.verify_backup import Command as VerifyCommand
from tests.backup.conftest import empty_database, forge, resigned
from tests.conftest import Cast


def run(*arguments: Any) -> tuple[int, dict[str, Any]]:
    out = io.StringIO()
    code = 0
    try:
        call_command(*map(str, arguments), "--json", stdout=out, stderr=io.StringIO())
    except SystemExit as ended:
        code = int(ended.code or 0)
    return code, json.loads(out.getvalue())


def test_backup_and_restore_count_what_they_did(full_cast: Cast, tmp_path: Path) -> None:
    code, made = run("backup", tmp_path / "all")
    assert (code, made["scope"], made["tenant"]) == (0, "installation", None)
    assert made["rows"] == sum(made["tables"].values())
    assert made["size_bytes"] == (tmp_path / "all").stat().st_size
    code, one = run("backup", tmp_path / "one", "--tenant", "acme")
    assert (code, one["scope"], one["tenant"]) == (0, "tenant", "acme")
    events = AuditEvent.objects.filter(action="backup.made").order_by("time")
    assert [event.tenant_id for event in events] == [None, full_cast.tenant.pk]
    assert events[0].changed["sha256"] == made["sha256"]
    empty_database()

    code, done = run("restore", tmp_path / "all")

    assert (code, done["added"], done["credentials"], done["foreign"]) == (0, made["rows"], "disabled", False)
    code, done = run("restore", tmp_path / "one")
    assert (code, done["tenant"], done["added"]) == (0, "acme", 0)


def test_a_file_is_never_replaced_and_never_half_there(
    full_cast: Cast, command: Actor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "there").write_text("mine")
    code, problem = run("backup", tmp_path / "there")
    assert (code, problem["code"]) == (1, "already_exists")
    assert (tmp_path / "there").read_text() == "mine"
    code, problem = run("backup", tmp_path / "no" / "folder")
    assert (code, problem["code"]) == (1, "invalid_input")

    assert run("backup", tmp_path / "new")[0] == 0
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o600

    def fail(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(making, "_lines", fail)
    assert run("backup", tmp_path / "full")[0] == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "there"]
    assert AuditEvent.objects.filter(action="backup.made").count() == 1


def test_refusals_end_with_1_and_wrong_arguments_with_2(full_cast: Cast, tmp_path: Path) -> None:
    assert run("backup", tmp_path / "a", "--tenant", "nobody")[1]["code"] == "not_found"
    assert run("restore", tmp_path / "nowhere")[1]["code"] == "invalid_input"
    assert run("backup", tmp_path / "a")[0] == 0
    code, problem = run("restore", tmp_path / "a")
    assert (code, problem["code"]) == (1, "database_not_empty")
    for command in (BackupCommand(), RestoreCommand(), VerifyCommand()):
        with pytest.raises(SystemExit) as ended:
            command.run_from_argv(["manage.py", "command", "one", "two"])
        assert ended.value.code == 2


def test_verify_backup_opens_every_value_elsewhere_and_changes_nothing_here(
    full_cast: Cast, command: Actor, tmp_path: Path
) -> None:
    make_backup(actor=command, path=tmp_path / "a")
    events = AuditEvent.objects.count()

    code, found = run("verify_backup", tmp_path / "a")

    assert (code, found["failed"], found["scope"]) == (0, [], "installation")
    # Three versions of one, a file, a deleted one, and another tenant's.
    assert (found["opened"], found["unanchored"]) == (6, 0)
    # The event of the restore is among them.
    assert found["events"] == events
    assert found["rows"] == sum(found["tables"].values())
    assert AuditEvent.objects.count() == events


def test_verify_backup_ends_with_3_for_what_would_not_restore(
    full_cast: Cast, command: Actor, tmp_path: Path
) -> None:
    make_backup(actor=command, path=tmp_path / "a")
    data = (tmp_path / "a").read_bytes()
    (tmp_path / "bad").write_bytes(data[:-1] + bytes([data[-1] ^ 1]))

    assert run("verify_backup", tmp_path / "bad")[0] == 3
    (tmp_path / "resigned").write_bytes(resigned(data[:-500] + bytes([data[-500] ^ 1]) + data[-499:]))
    code, found = run("verify_backup", tmp_path / "resigned")
    assert (code, found["failed"]) == (3, ["Frame 0 is not what was written."])
    code, problem = run("verify_backup", tmp_path / "nowhere")
    assert (code, problem["code"]) == (1, "invalid_input")


def test_verify_backup_finds_a_value_that_was_sealed_for_another_row(
    full_cast: Cast, command: Actor, tmp_path: Path
) -> None:
    """All frames, counts and types are good; only opening shows it."""
    make_backup(actor=command, path=tmp_path / "a", tenant=full_cast.tenant)
    moved: list[str] = []

    def move(it: Any) -> None:
        first, second, *_ = [row for row in it.tables["vault.SecretVersion"] if row["version"] in (1, 2)]
        first["sealed"], second["sealed"] = second["sealed"], first["sealed"]
        moved.extend([first["id"], second["id"]])

    forge(tmp_path / "a", tmp_path / "moved", move)

    code, found = run("verify_backup", tmp_path / "moved")

    assert code == 3
    assert {f"does not open: {row_id}" for row_id in moved} == set(found["failed"])
