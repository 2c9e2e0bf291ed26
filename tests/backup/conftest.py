"""A cast with something in every table, and what tests do with archives and databases around it."""

import base64
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.apps import apps
from django.conf import settings
from django.contrib.auth.models import Permission
from django.core.management import call_command
from django.db import connection
from django.utils import timezone

from apps.core import crypto, keys, triggers
from apps.core.actor import Actor
from apps.core.models import DataKey, Purpose, ServerKey
from apps.flags.operations import set_flag_state
from apps.projects.models import ProjectGrant
from apps.projects.operations import activate_add_on
from apps.services.models import EntryReference, ServiceGrant, WorkloadIdentity
from apps.services.operations import create_service
from apps.tenancy.automation import create_service_account, issue_access_token
from apps.tenancy.models import Invitation
from apps.vault.models import Config
from apps.vault.operations import delete_secret, set_config, set_secret
from nexus.backup import locks, making
from nexus.backup.checking import check, rows_again
from nexus.backup.columns import permission_names
from nexus.backup.container import ArchiveReader, ArchiveWriter
from nexus.backup.errors import ArchiveIsDamaged
from nexus.backup.locks import ArchiveKeys
from nexus.backup.tables import LEFT_OUT, archived
from nexus.console import mfa
from tests.conftest import Cast
from tests.console.session import totp

ROOT = Path(__file__).resolve().parents[2]
# Stand in the database sealed and in plain; in an archive neither may be read.
SECRET, CONFIG = "wT3-secret-heron-5nQ8", "pV6-config-heron-2mL1"
OTHER_ROOT_KEY = "b3RoZXItb3RoZXItb3RoZXItb3RoZXItb3RoZXItMDI"


@pytest.fixture
def full_cast(cast: Cast, command: Actor, monkeypatch: pytest.MonkeyPatch) -> Cast:
    """The cast with rows in every table that an archive holds, inside the test's own transaction.

    The reader's connection would not see them there; test_round_trip reads through it.
    """
    monkeypatch.setattr(making, "READER", "default")
    return fill(cast, command)


@pytest.fixture
def committed(committed_cast: Cast, command: Actor) -> Cast:
    return fill(committed_cast, command)


def fill(cast: Cast, command: Actor) -> Cast:
    activate_add_on(actor=command, project=cast.project, name="ab_testing")
    account = create_service_account(actor=command, tenant=cast.tenant, name="robot")
    _, cast.keys["token"] = issue_access_token(
        actor=cast.actor("carol"),
        bearer=cast.users["carol"],
        name="laptop",
        scopes=["tenant:read"],
        expires_at=timezone.now() + timedelta(days=1),
    )
    Invitation.objects.create(
        tenant=cast.tenant,
        email="new@example.org",
        role="member",
        invited_by=cast.users["carol"],
        expires_at=timezone.now() + timedelta(days=1),
    )
    permission = Permission.objects.filter(codename="secret:reveal")
    ProjectGrant.objects.create(
        user=cast.users["bob"],
        content_object=cast.project,
        permission=permission.get(content_type__model="project"),
        granted_by=cast.users["alice"],
    )
    ServiceGrant.objects.create(
        user=account.user,
        content_object=cast.backend,
        permission=permission.get(content_type__model="service"),
        ends_at=timezone.now() + timedelta(days=1),
    )
    WorkloadIdentity.objects.create(
        service=cast.backend,
        provider="kubernetes",
        issuer="https://issuer.example",
        audience="nexus",
        claims={"namespace": "shöp", "depth": {"a": [1, 2.5, None]}},
        key_set={"keys": []},
    )
    for number in range(3):
        set_secret(actor=command, service=cast.backend, key="stripe", value=f"{SECRET}{number}".encode())
    file = {"value": bytes(range(256)), "type": "file", "file_name": "f"}
    set_secret(actor=command, service=cast.umbrella, key="file", **file)
    set_secret(actor=command, service=cast.child, key="gone", value=b"deleted")
    delete_secret(actor=command, service=cast.child, key="gone")
    set_config(actor=command, service=cast.backend, key="url", value=CONFIG)
    EntryReference.objects.create(
        source_service=cast.backend,
        source_kind="config",
        source_id=Config.objects.get(key="url").pk,
        target_kind="secret",
        target_key="stripe",
    )
    set_config(actor=command, service=cast.frontend, key="title", value="Grüße \U0001f600")
    set_flag_state(actor=command, service=cast.frontend, key="dark", enabled=True)
    cave = create_service(
        actor=command, project=cast.other_project, environment="production", slug="cave", kind="backend"
    )
    set_secret(actor=command, service=cave, key="hoard", value=b"gold")
    EmailAddress.objects.create(user=cast.users["alice"], email="alice@example.org", verified=True)
    sue = cast.users["sue"]
    secret, _ = mfa.new_secret(sue)
    mfa.enable_second_factor(actor=cast.actor("sue"), user=sue, secret=secret, code=totp(secret))
    return cast


@pytest.fixture(autouse=True)
def _root_key_of_the_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NEXUS_BACKUP_PASSPHRASE_FILE", raising=False)


@pytest.fixture
def with_passphrase(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    """Put a passphrase where the commands look for one. Stretching it costs little in tests."""
    monkeypatch.setattr("nexus.backup.locks.SCRYPT_N", 2**10)

    def put(text: str) -> None:
        file = tmp_path / "passphrase"
        file.write_text(text + "\n")
        monkeypatch.setenv("NEXUS_BACKUP_PASSPHRASE_FILE", str(file))

    return put


def empty_database() -> None:
    """What `migrate` leaves behind, and nothing else."""
    # PostgreSQL changes no trigger of a table while foreign keys of this transaction are unchecked.
    connection.check_constraints()
    with triggers.lifted():
        call_command("flush", interactive=False, verbosity=0)
    keys.forget_all()


def count_rows() -> dict[str, int]:
    models = apps.get_models(include_auto_created=True)
    return {model._meta.label: model._base_manager.count() for model in models}


def contents(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Every row of an archive by table, keys unwrapped, so that two archives can be compared."""
    found: dict[str, list[dict[str, Any]]] = {
        table.label: [] for table in archived(of_tenant=False) if table.label not in LEFT_OUT
    }
    names = permission_names("default")
    with path.open("rb") as file:
        archive = ArchiveReader(file)
        for table, row in rows_again(archive, check(archive)):
            if table.model in (DataKey, ServerKey):
                key = table.model(**row)
                archive.keys.rewrap(key)
                row["wrapped_key"] = keys.unwrap(key)
            if "permission_id" in row:
                # Its number is that of the database that reads the archive.
                row["permission_id"] = names[row["permission_id"]]
            found[table.label].append(row)
    return found


@dataclass
class Document:
    """An archive as a forger with its keys sees it: columns and rows by table, values as written."""

    contents: dict[str, Any]
    tables: dict[str, list[dict[str, Any]]]
    # What is said of the number of rows, where that is not how many there are.
    said: dict[str, int] = field(default_factory=dict)
    end: int | None = None

    def row(self, label: str, **values: Any) -> dict[str, Any]:
        found = [row for row in self.tables[label] if values.items() <= row.items()]
        assert len(found) == 1
        return found[0]


def forge(source: Path, target: Path, change: Callable[[Document], None]) -> Path:
    """Write `source` anew, sealed and signed by us, after `change`: what only a liar would write."""
    with source.open("rb") as file:
        archive = ArchiveReader(file)
        lines = list(archive.lines())
        former = archive.keys
        of_tenant = archive.header.of_tenant
    document = Document(lines.pop(0), {})
    lines.pop()
    columns = {each["table"]: each["columns"] for each in document.contents["tables"]}
    label = ""
    for line in lines:
        if isinstance(line, dict):
            label = line["table"]
            document.tables[label] = []
        else:
            document.tables[label].append(dict(zip(columns[label], line, strict=True)))
    change(document)
    with target.open("wb") as file:
        writer = ArchiveWriter(file, of_tenant=of_tenant)
        for each in document.contents["tables"]:
            rows = document.tables.get(each["table"], [])
            each["rows"] = document.said.get(each["table"], len(rows))
        writer.line(document.contents)
        for label, rows in document.tables.items():
            writer.line({"table": label})
            for row in rows:
                if label in ("core.DataKey", "core.ServerKey"):
                    row["wrapped_key"] = _moved(label, row, former, writer)
                writer.line(list(row.values()))
        total = sum(len(rows) for rows in document.tables.values())
        writer.line({"end": total if document.end is None else document.end})
        writer.finish()
    return target


def _moved(label: str, row: dict[str, Any], former: ArchiveKeys, writer: ArchiveWriter) -> str:
    """A wrapped key for the new archive; one that does not open stays as it is."""
    key = apps.get_model(label)(**row)
    key.wrapped_key = base64.b64decode(row["wrapped_key"])
    try:
        secret = former.unwrap(key)
    except ArchiveIsDamaged:
        return str(row["wrapped_key"])
    wrapped = crypto.wrap(writer.keys.wrapped_keys, secret, bound_to=locks._binding(key))
    return base64.b64encode(wrapped).decode()


def resigned(data: bytes) -> bytes:
    """The file `data` with a digest and signature that fit it, made with our own key."""
    body = data[:-96]
    digest = hashlib.sha256(body).digest()
    key = keys.server_key(Purpose.AUDIT_SIGNING).secret
    return body + digest + crypto.sign(key, crypto.length_prefixed("nexus.backup-archive.1", digest))


Commands = Callable[..., dict[str, Any]]


@pytest.fixture
def on_sqlite(tmp_path: Path) -> Iterator[Commands]:
    """Run a command in another installation: its own SQLite file, its own process, the same root key."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    environment = {name: value for name, value in os.environ.items() if name != "REDIS_URL"}
    environment |= {
        "NEXUS_ENV": "test",
        "NEXUS_VAR": str(folder),
        "DATABASE_URL": f"sqlite:///{folder}/other.sqlite3",
        "NEXUS_ROOT_KEY": settings.NEXUS_ROOT_KEY,
    }
    # One process for all commands: starting one costs more than most commands do.
    script = (
        "import json, sys, django\n"
        "django.setup()\n"
        "from django.core.management import call_command\n"
        "call_command('migrate', verbosity=0)\n"
        "for arguments in json.loads(sys.argv[1]): call_command(*arguments, '--json')\n"
    )

    def run(*commands: list[str]) -> list[dict[str, Any]]:
        done = subprocess.run(
            [sys.executable, "-c", script, json.dumps(commands)],
            cwd=ROOT,
            env={**environment, "DJANGO_SETTINGS_MODULE": "nexus.settings.test"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    yield run
