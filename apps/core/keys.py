"""The key hierarchy: root keys wrap data keys (one a project) and server keys (one a purpose).

Root keys come from settings and stay in memory; everything below them is stored wrapped. An
unwrapped key is remembered by its id, which never comes to mean another key.
"""

import base64
import binascii
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import IntegrityError, models, transaction
from django.db.models import F

from apps.core import crypto
from apps.core.crypto import DoesNotOpen
from apps.core.errors import MissingRootKey, Unreadable
from apps.core.ids import uuid7
from apps.core.models import DataKey, KeyState, Purpose, ServerKey

# AES-GCM with random nonces: NIST SP 800-38D section 8.3 allows 2^32 seals under one key.
DATA_KEY_MAX_USES = 2**31
# Seals that a process takes at once, so that not each write has to count in the database.
USES_BLOCK = 256
# A rotated server key is noticed after so long; until then the old one still serves.
CURRENT_KEY_SECONDS = 30.0
# Some 60 bytes each; beyond it the least used is unwrapped anew.
REMEMBERED_KEYS = 4096


@dataclass(frozen=True, slots=True)
class Key:
    """An unwrapped key. Its repr does not show it."""

    id: UUID
    secret: bytes

    def __repr__(self) -> str:
        return f"Key({self.id})"


def root_key_id(root_key: bytes) -> str:
    """The first 8 hex digits of the key's SHA-256 (SPEC 5)."""
    return crypto.sha256(root_key).hex()[:8]


def parse_root_keys(text: str) -> dict[str, bytes]:
    """Root keys by id, the current one first, from comma-separated base64url of 32 bytes each."""
    found: dict[str, bytes] = {}
    for number, part in enumerate(filter(None, (piece.strip() for piece in text.split(","))), start=1):
        try:
            key = base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            key = b""
        if len(key) != crypto.KEY_BYTES:
            raise ImproperlyConfigured(
                f"Root key number {number} in NEXUS_ROOT_KEY is not base64url of {crypto.KEY_BYTES} bytes."
            )
        found[root_key_id(key)] = key
    return found


def root_keys() -> dict[str, bytes]:
    """The root keys of this process by id, the current one first.

    Raises ImproperlyConfigured, naming the setting, when there is none or one is malformed.
    """
    text = settings.NEXUS_ROOT_KEY
    if not text and settings.NEXUS_ROOT_KEY_FILE:
        try:
            text = Path(settings.NEXUS_ROOT_KEY_FILE).read_text(encoding="ascii").replace("\n", ",")
        except (OSError, UnicodeDecodeError) as error:
            raise ImproperlyConfigured(
                f"The root key file {settings.NEXUS_ROOT_KEY_FILE} cannot be read ({type(error).__name__})."
            ) from None
    keys = parse_root_keys(text)
    if not keys:
        raise ImproperlyConfigured(
            "NEXUS_ROOT_KEY is missing. Set it, or NEXUS_ROOT_KEY_FILE; embedded, `manage.py up` makes one."
        )
    return keys


def root_key_ids_in_use() -> set[str]:
    """Ids of the root keys that something in the database is wrapped by."""
    return {
        key_id
        for model in (DataKey, ServerKey)
        for key_id in model.objects.exclude(state=KeyState.DESTROYED)
        .values_list("root_key_id", flat=True)
        .distinct()
    }


def require_all_root_keys() -> None:
    """Raise MissingRootKey, naming the ids, unless every wrapped key can be unwrapped."""
    missing = root_key_ids_in_use() - root_keys().keys()
    if missing:
        raise MissingRootKey(sorted(missing))


def _binding(root_id: str, key_id: UUID, purpose: str, tenant_id: object, project_id: object) -> bytes:
    return crypto.length_prefixed(
        "nexus.wrapped-key.1", root_id, str(key_id), purpose, str(tenant_id or ""), str(project_id or "")
    )


def _wrap(
    secret: bytes, key_id: UUID, purpose: str, tenant_id: object, project_id: object
) -> tuple[str, bytes]:
    root_id, root = next(iter(root_keys().items()))
    return root_id, crypto.wrap(
        root, secret, bound_to=_binding(root_id, key_id, purpose, tenant_id, project_id)
    )


class _Keyring:
    """Unwrapped keys of this process. Threads share it; a lost race unwraps a key twice, no more."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_id: OrderedDict[UUID, Key] = OrderedDict()
        self._current: dict[str, tuple[float, Key]] = {}
        self._serving: dict[str, tuple[float, list[Key]]] = {}
        self._uses_left: dict[UUID, int] = {}

    def forget(self) -> None:
        with self._lock:
            self._by_id.clear()
            self._current.clear()
            self._serving.clear()
            self._uses_left.clear()

    def unwrapped(self, row: DataKey | ServerKey) -> Key:
        with self._lock:
            if row.id in self._by_id:
                self._by_id.move_to_end(row.id)
                return self._by_id[row.id]
        root = root_keys().get(row.root_key_id)
        if root is None:
            raise MissingRootKey([row.root_key_id])
        if isinstance(row, DataKey):
            binding = _binding(row.root_key_id, row.id, "data", row.tenant_id, row.project_id)
        else:
            binding = _binding(row.root_key_id, row.id, row.purpose, None, None)
        try:
            key = Key(row.id, crypto.unwrap(root, bytes(row.wrapped_key), bound_to=binding))
        except DoesNotOpen:
            raise Unreadable(
                f"The stored key {row.id} does not open. Run `manage.py verify_vault`."
            ) from None
        with self._lock:
            self._by_id[row.id] = key
            while len(self._by_id) > REMEMBERED_KEYS:
                self._by_id.popitem(last=False)
        return key

    def known(self, key_id: UUID) -> Key | None:
        with self._lock:
            return self._by_id.get(key_id)

    def current(self, purpose: str) -> Key | None:
        with self._lock:
            found = self._current.get(purpose)
        return found[1] if found and found[0] > time.monotonic() else None

    def remember_current(self, purpose: str, key: Key) -> None:
        with self._lock:
            self._current[purpose] = (time.monotonic() + CURRENT_KEY_SECONDS, key)

    def serving(self, purpose: str) -> list[Key] | None:
        with self._lock:
            found = self._serving.get(purpose)
        return found[1] if found and found[0] > time.monotonic() else None

    def remember_serving(self, purpose: str, serving: list[Key]) -> None:
        with self._lock:
            self._serving[purpose] = (time.monotonic() + CURRENT_KEY_SECONDS, serving)

    def spend(self, key_id: UUID, uses: int) -> bool:
        """Take `uses`. False when the block does not hold them and another must be reserved."""
        with self._lock:
            left = self._uses_left.get(key_id, 0)
            # Below zero counts what was sealed in transactions that rolled back: still spent.
            self._uses_left[key_id] = left - uses
            return left >= uses

    def owed(self, key_id: UUID) -> int:
        with self._lock:
            return max(0, -self._uses_left.get(key_id, 0))

    def add_uses(self, key_id: UUID, count: int) -> None:
        with self._lock:
            self._uses_left[key_id] = self._uses_left.get(key_id, 0) + count


_keyring = _Keyring()
forget_all = _keyring.forget


def server_key(purpose: Purpose) -> Key:
    """The current server key of `purpose`, made at first need."""
    key = _keyring.current(purpose)
    if key is None:
        row = ServerKey.objects.filter(purpose=purpose, state=KeyState.CURRENT).first()
        key = _keyring.unwrapped(row or _create_server_key(purpose))
        if not transaction.get_connection().in_atomic_block or row is not None:
            _keyring.remember_current(purpose, key)
    return key


def _create_server_key(purpose: Purpose) -> ServerKey:
    key_id = uuid7()
    root_id, wrapped = _wrap(crypto.new_key(), key_id, purpose, None, None)
    try:
        with transaction.atomic():
            return ServerKey.objects.create(
                id=key_id, purpose=purpose, version=1, root_key_id=root_id, wrapped_key=wrapped
            )
    except IntegrityError:
        # Another process came first; its key is the one.
        return ServerKey.objects.get(purpose=purpose, state=KeyState.CURRENT)


def create_missing_server_keys() -> None:
    """Make every server key that does not exist yet, outside of anybody's request."""
    for purpose in Purpose:
        server_key(purpose)


def server_key_by_id(key_id: UUID) -> Key:
    """The server key `key_id`, current or not: what it made must stay verifiable."""
    return _keyring.known(key_id) or _keyring.unwrapped(ServerKey.objects.get(pk=key_id))


def server_keys(purpose: Purpose) -> Iterator[Key]:
    """Every key of `purpose` that still serves, the current one first."""
    rows = ServerKey.objects.filter(purpose=purpose).exclude(state=KeyState.DESTROYED).order_by("-version")
    for row in rows:
        yield _keyring.unwrapped(row)


def looks(purpose: Purpose) -> Iterator[list[Key]]:
    """The keys of `purpose` to look something up by: as this process remembers them, then as they are.

    Who finds it by the first list stops there. The second comes only where it differs, so that what was
    made under a key that rotated a moment ago is found too. A list is remembered for CURRENT_KEY_SECONDS.
    """
    remembered = _keyring.serving(purpose)
    if remembered is not None:
        yield remembered
    serving = list(server_keys(purpose))
    if serving:
        _keyring.remember_serving(purpose, serving)
    if serving != remembered:
        yield serving


def create_data_key(*, tenant_id: UUID, project_id: UUID) -> DataKey:
    """Make the data key of a new project. Runs inside the operation that makes the project."""
    key_id = uuid7()
    root_id, wrapped = _wrap(crypto.new_key(), key_id, "data", tenant_id, project_id)
    return DataKey.objects.create(
        id=key_id, tenant_id=tenant_id, project_id=project_id, root_key_id=root_id, wrapped_key=wrapped
    )


def current_data_key_id(project_id: Any) -> "models.QuerySet[DataKey, Any]":
    """The id of the project's current data key, as a subquery of what is read under the project's lock."""
    return DataKey.objects.filter(project_id=project_id, state=KeyState.CURRENT).values("pk")


def sealing_key(*, tenant_id: UUID, project_id: UUID, current_id: UUID | None = None, uses: int = 1) -> Key:
    """The project's current data key, with `uses` taken from it.

    The caller holds the project's lock and is inside a transaction; `current_id` is what it read there
    by `current_data_key_id`, if it did. A use counts even if that transaction rolls back: the process
    remembers it and adds it to its next reservation. At DATA_KEY_MAX_USES the key is replaced and retires.
    """
    known = None if current_id is None else _keyring.known(current_id)
    if known is None:
        known = _keyring.unwrapped(DataKey.objects.get(project_id=project_id, state=KeyState.CURRENT))
    if _keyring.spend(known.id, uses):
        return known
    needed = _keyring.owed(known.id) + USES_BLOCK
    reserved = DataKey.objects.filter(pk=known.id, uses_reserved__lte=DATA_KEY_MAX_USES - needed)
    if not reserved.update(uses_reserved=F("uses_reserved") + needed):
        DataKey.objects.filter(pk=known.id).update(state=KeyState.RETIRING)
        row = create_data_key(tenant_id=tenant_id, project_id=project_id)
        needed = uses + USES_BLOCK
        DataKey.objects.filter(pk=row.pk).update(uses_reserved=needed)
        known = _keyring.unwrapped(row)
        _keyring.spend(known.id, uses)
    reserved_id = known.id
    transaction.on_commit(lambda: _keyring.add_uses(reserved_id, needed))
    return known


def opening_keys(key_ids: set[UUID], *, using: str = "default") -> dict[UUID, Key]:
    """The data keys `key_ids`, read with at most one query. Those that are gone are left out."""
    found: dict[UUID, Key] = {}
    unknown = []
    for key_id in key_ids:
        known = _keyring.known(key_id)
        if known is None:
            unknown.append(key_id)
        else:
            found[key_id] = known
    if unknown:
        for row in DataKey.objects.using(using).filter(pk__in=unknown).exclude(state=KeyState.DESTROYED):
            try:
                found[row.id] = _keyring.unwrapped(row)
            except Unreadable:
                # What it sealed is then reported entry by entry, and everything else is served.
                continue
    return found
