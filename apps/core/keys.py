"""The key hierarchy: root keys wrap data keys (one a project) and server keys (one a purpose).

Root keys come from settings or stay in a KMS (`apps.core.kms`); everything below them is stored
wrapped. An unwrapped key is remembered by its id, which never comes to mean another key.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
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
from apps.core.kms import LocalRootKey, RootKeyProvider, parse_root_keys
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
    return LocalRootKey(root_key).id


def root_keys() -> dict[str, RootKeyProvider]:
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
    """Raise MissingRootKey, naming the ids, unless every wrapped key can be unwrapped.

    What is in a KMS is tried: raises KmsUnavailable when it does not answer, or refuses us.
    """
    present = root_keys()
    in_use = root_key_ids_in_use()
    missing = in_use - present.keys()
    if missing:
        raise MissingRootKey(sorted(missing))
    for number, (root_id, root) in enumerate(present.items()):
        if not root.is_remote:
            continue
        if number == 0:
            # The current one wraps what is made next, whether or not it wrapped anything yet.
            root.wrap(crypto.new_key(), context={"purpose": "check"})
        if root_id in in_use:
            _try_to_unwrap_one(root_id)


def _try_to_unwrap_one(root_id: str) -> None:
    for model in (ServerKey, DataKey):
        row = model.objects.filter(root_key_id=root_id).exclude(state=KeyState.DESTROYED).first()
        if row is not None:
            try:
                unwrap(row)
            except Unreadable:
                continue  # The row's own fault, which `verify_vault` tells; the root key answered.
            return


def _context(key_id: UUID, purpose: str, tenant_id: object, project_id: object) -> dict[str, str]:
    """What a wrapped key is bound to, beside the root key's id (SPEC 5). The order is part of it."""
    return {
        "key": str(key_id),
        "purpose": purpose,
        "tenant": str(tenant_id or ""),
        "project": str(project_id or ""),
    }


def _context_of(row: DataKey | ServerKey) -> Mapping[str, str]:
    if isinstance(row, DataKey):
        return _context(row.id, "data", row.tenant_id, row.project_id)
    return _context(row.id, row.purpose, None, None)


def _wrap(
    secret: bytes, key_id: UUID, purpose: str, tenant_id: object, project_id: object
) -> tuple[str, bytes]:
    root_id, root = next(iter(root_keys().items()))
    return root_id, root.wrap(secret, context=_context(key_id, purpose, tenant_id, project_id))


def unwrap(row: DataKey | ServerKey) -> bytes:
    """The key of `row`, asked of its root key. Raises MissingRootKey, Unreadable, and KmsUnavailable."""
    root = root_keys().get(row.root_key_id)
    if root is None:
        raise MissingRootKey([row.root_key_id])
    try:
        return root.unwrap(bytes(row.wrapped_key), context=_context_of(row))
    except DoesNotOpen:
        raise Unreadable(f"The stored key {row.id} does not open. Run `manage.py verify_vault`.") from None


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
        crypto.forget_ciphers()

    def forget_current(self) -> None:
        with self._lock:
            self._current.clear()
            self._serving.clear()

    def drop(self, key_id: UUID) -> None:
        with self._lock:
            self._by_id.pop(key_id, None)
            self._uses_left.pop(key_id, None)
        crypto.forget_ciphers()

    def unwrapped(self, row: DataKey | ServerKey) -> Key:
        with self._lock:
            if row.id in self._by_id:
                self._by_id.move_to_end(row.id)
                return self._by_id[row.id]
        key = Key(row.id, unwrap(row))
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
# Which keys are current is asked anew; unwrapped ones stay, so that a KMS need not answer for it.
forget_current = _keyring.forget_current


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


def server_keys(purpose: Purpose) -> list[Key]:
    """Every key of `purpose` that still serves, the current one first. Empty before its first use."""
    rows = ServerKey.objects.filter(purpose=purpose).exclude(state=KeyState.DESTROYED).order_by("-version")
    return [_keyring.unwrapped(row) for row in rows]


def lock_server_keys(purpose: Purpose) -> ServerKey:
    """Hold every key of `purpose` to the end of the transaction; returns the current one.

    Two who rotate it come one after the other. Asked twice: whoever waited for the first version
    sees what the other made only in a statement that begins afterwards.
    """
    rows = ServerKey.objects.select_for_update().filter(purpose=purpose).order_by("version")
    if not list(rows.all()):
        _create_server_key(purpose)
    return next(row for row in rows.all() if row.state == KeyState.CURRENT)


def replace_server_key(former: ServerKey, key_id: UUID) -> ServerKey:
    """Make a new key `key_id` current in the place of `former`, which retires.

    The former still verifies and opens what it made, for as long as that is kept. The caller is
    inside a transaction and had `former` of `lock_server_keys`.
    """
    root_id, wrapped = _wrap(crypto.new_key(), key_id, former.purpose, None, None)
    ServerKey.objects.filter(pk=former.pk).update(state=KeyState.RETIRING)
    transaction.on_commit(forget_current)
    return ServerKey.objects.create(
        id=key_id,
        purpose=former.purpose,
        version=former.version + 1,
        root_key_id=root_id,
        wrapped_key=wrapped,
    )


def wrap(row: DataKey | ServerKey, secret: bytes) -> tuple[str, bytes]:
    """`secret` as the key of `row`, wrapped by the current root key, and that root key's id.

    Nothing is stored. Raises KmsUnavailable.
    """
    context = _context_of(row)
    return _wrap(secret, row.id, context["purpose"], context["tenant"] or None, context["project"] or None)


def rewrap(row: DataKey | ServerKey) -> tuple[str, bytes]:
    """The key of `row` wrapped by the current root key, and that root key's id.

    Nothing is stored: a KMS is asked while no lock is held. Raises as `unwrap` does.
    """
    return wrap(row, unwrap(row))


def store_rewrapped(row: DataKey | ServerKey, root_id: str, wrapped: bytes) -> bool:
    """Put the new wrapping in the place of the one that `row` was read with; False if that changed."""
    return bool(
        type(row)
        .objects.filter(pk=row.pk, root_key_id=row.root_key_id, wrapped_key=bytes(row.wrapped_key))
        .exclude(state=KeyState.DESTROYED)
        .update(root_key_id=root_id, wrapped_key=wrapped)
    )


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


def max_uses() -> int:
    """After how many seals a data key is replaced: a setting, so that tests live to see it."""
    return min(int(settings.NEXUS_DATA_KEY_MAX_USES), DATA_KEY_MAX_USES)


def is_spent(row: DataKey) -> bool:
    """Whether the key retired because it was used up, and not because somebody replaced it."""
    return row.uses_reserved >= max_uses()


def reserve_uses(key_id: UUID, count: int) -> bool:
    """Count `count` uses of a current data key as spent. False when it has not as many left.

    The row stays locked to the end of the transaction: until then nobody replaces the key, so that
    what is sealed under it is there for whoever looks at what a retiring key still holds.
    """
    return bool(
        DataKey.objects.filter(
            pk=key_id, state=KeyState.CURRENT, uses_reserved__lte=max_uses() - count
        ).update(uses_reserved=F("uses_reserved") + count)
    )


def replace_data_key(*, tenant_id: UUID, project_id: UUID, spent: bool = False) -> DataKey:
    """Make a new data key current. The former one retires: it takes no more seals, and still opens.

    The caller holds the project's lock and is inside a transaction. Writers seal under that lock
    too, so those that used the former key have committed, and those to come read the new one.
    """
    former = DataKey.objects.filter(project_id=project_id, state=KeyState.CURRENT)
    former.update(state=KeyState.RETIRING, **({"uses_reserved": max_uses()} if spent else {}))
    return create_data_key(tenant_id=tenant_id, project_id=project_id)


def destroy_retiring_data_key(key_id: UUID) -> bool:
    """Overwrite the wrapped bytes of a retiring key; False when it was none.

    The caller holds the project's lock and saw that no row names the key.
    """
    destroyed = DataKey.objects.filter(pk=key_id, state=KeyState.RETIRING).update(
        state=KeyState.DESTROYED, wrapped_key=b""
    )
    transaction.on_commit(lambda: _keyring.drop(key_id))
    return bool(destroyed)


def destroy_data_keys(project_id: UUID) -> int:
    """Overwrite the wrapped bytes of all data keys of a project that is purged; return how many.

    What they sealed opens no more, wherever a copy of it lies, but for backups that hold the key too.
    """
    rows = DataKey.objects.filter(project_id=project_id).exclude(state=KeyState.DESTROYED)
    ids = list(rows.values_list("id", flat=True))
    rows.update(wrapped_key=b"", state=KeyState.DESTROYED)
    for key_id in ids:
        transaction.on_commit(partial(_keyring.drop, key_id))
    return len(ids)


def current_data_key_id(project_id: Any) -> "models.QuerySet[DataKey, Any]":
    """The id of the project's current data key, as a subquery of what is read under the project's lock."""
    return DataKey.objects.filter(project_id=project_id, state=KeyState.CURRENT).values("pk")


def sealing_key(*, tenant_id: UUID, project_id: UUID, current_id: UUID | None = None, uses: int = 1) -> Key:
    """The project's current data key, with `uses` taken from it.

    The caller holds the project's lock and is inside a transaction; `current_id` is what it read there
    by `current_data_key_id`, if it did. A use counts even if that transaction rolls back: the process
    remembers it and adds it to its next reservation. At `max_uses` the key is replaced and retires.
    """
    known = None if current_id is None else _keyring.known(current_id)
    if known is None:
        known = _keyring.unwrapped(DataKey.objects.get(project_id=project_id, state=KeyState.CURRENT))
    if _keyring.spend(known.id, uses):
        return known
    block = max(1, min(USES_BLOCK, max_uses() // 4))
    needed = _keyring.owed(known.id) + block
    if not reserve_uses(known.id, needed):
        row = replace_data_key(tenant_id=tenant_id, project_id=project_id, spent=True)
        known, needed = _keyring.unwrapped(row), max(uses, block)
        _keyring.spend(known.id, uses)
        reserve_uses(known.id, needed)
    reserved_id = known.id
    transaction.on_commit(lambda: _keyring.add_uses(reserved_id, needed))
    return known


def resealing_key(project_id: UUID, uses: int) -> Key | None:
    """The project's current data key with `uses` taken from it; None when it has not as many left.

    For who seals anew what is there: without the project's lock, so that writers go on, but inside
    a transaction, whose lock on the key's row keeps it current. Raises DataKey.DoesNotExist when
    the project has none any more.
    """
    row = DataKey.objects.get(project_id=project_id, state=KeyState.CURRENT)
    return _keyring.unwrapped(row) if reserve_uses(row.id, uses) else None


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
