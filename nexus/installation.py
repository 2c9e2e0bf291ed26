"""What `up` prepares on this machine: files, tables, keys, the first operator."""

import base64
import fcntl
import os
import secrets
from pathlib import Path

from django.conf import settings
from django.core.management import call_command
from django.db import DatabaseError

from apps.core import keys
from apps.core.actor import Actor
from apps.core.crypto import new_key
from apps.core.errors import Conflict
from apps.core.models import Installation
from apps.tenancy.models import User
from apps.tenancy.operations import create_operator

FIRST_OPERATOR = "operator@nexus.local"


class AlreadyRunning(Conflict):
    code = "already_running"
    default_detail = "Another `up` runs on this NEXUS_VAR. Stop it first, or set another NEXUS_VAR."


class RootKeyIsGone(Conflict):
    code = "root_key_is_gone"
    default_detail = (
        "The database holds keys that a root key wraps, and root.key is not in NEXUS_VAR. "
        "Put it back from your backup; a new one would open nothing."
    )


def hold_lock() -> int:
    """Take NEXUS_VAR for this process and what it becomes. Raises AlreadyRunning."""
    descriptor = os.open(settings.NEXUS_VAR / "up.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise AlreadyRunning from None
    os.set_inheritable(descriptor, True)
    return descriptor


def write_private(path: Path, text: str, *, exclusive: bool = False) -> None:
    """Write `text` to a file that its owner alone may read, on disk when this returns."""
    flags = os.O_WRONLY | os.O_CREAT | (os.O_EXCL if exclusive else os.O_TRUNC)
    descriptor = os.open(path, flags, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def make_embedded_keys() -> None:
    """Make `root.key` and `secret.key` where nothing gives them. Raises RootKeyIsGone."""
    root = settings.NEXUS_VAR / "root.key"
    if not settings.NEXUS_ROOT_KEY and not settings.NEXUS_ROOT_KEY_FILE:
        try:
            in_use = keys.root_key_ids_in_use()
        except DatabaseError:
            in_use = set()  # No tables yet.
        if in_use:
            raise RootKeyIsGone
        text = base64.urlsafe_b64encode(new_key()).decode("ascii").rstrip("=")
        write_private(root, text + "\n", exclusive=True)
        settings.NEXUS_ROOT_KEY_FILE = str(root)
    secret = settings.NEXUS_VAR / "secret.key"
    if not secret.exists() and "SECRET_KEY" not in os.environ:
        write_private(secret, secrets.token_urlsafe(48) + "\n", exclusive=True)
    (settings.NEXUS_VAR / "broker" / "messages").mkdir(mode=0o700, parents=True, exist_ok=True)
    (settings.NEXUS_VAR / "broker" / "control").mkdir(mode=0o700, parents=True, exist_ok=True)


def prepare_database() -> None:
    """Migrate, and make what every process expects to find."""
    call_command("migrate", interactive=False, verbosity=0)
    keys.require_all_root_keys()
    keys.create_missing_server_keys()
    Installation.current()


def first_operator(actor: Actor) -> tuple[str, str] | None:
    """E-mail and password of a superuser, if nobody could log in yet."""
    if User.objects.exists():
        return None
    user, password = create_operator(actor=actor, email=FIRST_OPERATOR, superuser=True)
    return user.email, password
