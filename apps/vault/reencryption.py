"""Give projects new data keys and seal anew what the former ones sealed.

Everything happens in small transactions, so that readers and writers go on and a run may be killed
at any moment: the next one finds what is left by the keys that are retiring. docs/decisions/0010
tells why no value is lost.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.db import OperationalError, connection, transaction
from django.db.models import QuerySet

from apps.audit.events import Action
from apps.audit.operations import record
from apps.audit.targets import Target
from apps.core import crypto, keys
from apps.core.access import require_here
from apps.core.actor import Actor
from apps.core.crypto import DoesNotOpen
from apps.core.erasure import erase_on_commit
from apps.core.models import DataKey, KeyState
from apps.projects.models import Project
from apps.vault.envelope import SecretBindings
from apps.vault.models import SecretVersion

# Rows of one transaction: some 20 ms, for which a writer of the same secrets may have to wait. The
# event and the commit cost as much as a hundred rows.
BATCH = 400
# Ids that are read at once; the query sorts, and need not sort anew for each batch.
IDS_AT_ONCE = 20_000
# A batch waits no longer for a lock (PostgreSQL), then lets go of its own and comes again. Below
# `deadlock_timeout` (1 s), so that a writer is never the one whom the database makes give way.
LOCK_TIMEOUT = "250ms"
# For so long a batch is tried again before the run ends; the next run resumes.
PATIENCE_SECONDS = 60.0


@dataclass(slots=True)
class Reencryption:
    """What a run did. `resumed` counts projects in which it ended an interrupted run and made no new
    key; `failed` holds ids of versions that do not open and keep their key from being destroyed."""

    projects: int = 0
    rotated: int = 0
    resumed: int = 0
    reencrypted: int = 0
    destroyed: int = 0
    failed: list[str] = field(default_factory=list)


OnRows = Callable[[int], None]


def count_versions(projects: QuerySet[Project]) -> int:
    """How many versions a run will seal anew, roughly: each that has a value."""
    rows = SecretVersion.objects.filter(secret__service__project__in=projects, destroyed_at=None)
    return rows.count()


def rotate_data_keys(
    *, actor: Actor, projects: QuerySet[Project], on_rows: OnRows = lambda count: None
) -> Reencryption:
    """Replace the data key of each of `projects`, seal its values under the new one, destroy the former.

    Soft-deleted projects and secrets are included. A project in which an earlier run was
    interrupted is ended first, and gets no further key in this run. Raises NotPermitted, and what
    the database raises when a batch finds no way for PATIENCE_SECONDS.
    """
    result = Reencryption()
    require_here(actor, "key:rotate")
    for project_id in list(projects.order_by("pk").values_list("pk", flat=True)):
        try:
            _Run(actor, Project.objects.get(pk=project_id), result, on_rows).run()
        except (Project.DoesNotExist, DataKey.DoesNotExist):
            continue  # Purged meanwhile, and its keys with it.
        result.projects += 1
    result.failed = sorted(set(result.failed))
    return result


def destroy_empty_data_keys(*, actor: Actor) -> int:
    """Destroy each retiring key that no version names any more; how many.

    Versions leave a key by themselves, too: surplus ones are destroyed as newer ones are written.
    For a scheduled job; `rotate_data_keys` does it for what it touches.
    """
    require_here(actor, "key:rotate")
    named = SecretVersion.objects.exclude(data_key=None).values("data_key_id")
    empty = DataKey.objects.filter(state=KeyState.RETIRING).exclude(pk__in=named)
    destroyed = 0
    for key_id, project_id in list(empty.values_list("pk", "project_id")):
        project = Project.objects.filter(pk=project_id).first()
        if project is not None:
            destroyed += _Run(actor, project, Reencryption(), lambda count: None).destroy_if_empty(key_id)
    return destroyed


class _Run:
    """The run over one project."""

    def __init__(self, actor: Actor, project: Project, result: Reencryption, on_rows: OnRows) -> None:
        self.actor, self.project = actor, project
        self.result, self.on_rows = result, on_rows

    def run(self) -> None:
        if any(not keys.is_spent(row) for row in self._retiring()) and self._finish():
            self.result.resumed += 1
        elif self._replace_key():
            self.result.rotated += 1
            self._finish()

    def _retiring(self) -> QuerySet[DataKey]:
        return DataKey.objects.filter(project_id=self.project.pk, state=KeyState.RETIRING)

    def _finish(self) -> bool:
        """Empty the keys that are retiring now, and destroy those that are empty. Whether it did anything.

        A key that is used up and replaced while this works is for the next run.
        """
        retiring = list(self._retiring().values_list("pk", flat=True))
        reencrypted = sum(self._moved(retiring, ids) for ids in _batches(retiring))
        destroyed = sum(self.destroy_if_empty(key_id) for key_id in retiring)
        self.result.reencrypted += reencrypted
        self.result.destroyed += destroyed
        return bool(reencrypted or destroyed)

    def _moved(self, retiring: Sequence[UUID], ids: Sequence[Any]) -> int:
        """Seal the versions `ids` anew, however often it takes; how many that were."""
        began_at = time.monotonic()
        while True:
            batch_began_at = time.monotonic()
            try:
                batch = self._reencrypt(retiring, ids)
            except OperationalError:
                # Somebody holds what the batch needs: a lock was waited for too long.
                if time.monotonic() - began_at > PATIENCE_SECONDS:
                    raise
                time.sleep(0.05)
                continue
            if batch is None:
                self._replace_key(spent=True)
                continue
            moved, failed = batch
            self.result.failed += [str(pk) for pk in failed]
            self.on_rows(moved)
            if connection.vendor == "sqlite":
                # There is one writer at a time, and who waits only asks now and then.
                time.sleep((time.monotonic() - batch_began_at) / 8)
            return moved

    @transaction.atomic
    def _replace_key(self, *, spent: bool = False) -> bool:
        """Make a new data key current, under the project's lock. False where the project has none.

        With `spent` only if the current one is used up indeed: another run may have replaced it.
        """
        project = Project.objects.select_for_update(of=("self",), no_key=True).get(pk=self.project.pk)
        former = DataKey.objects.filter(project_id=project.pk, state=KeyState.CURRENT).first()
        if former is None or (spent and former.uses_reserved + batch_rows() <= keys.max_uses()):
            return False
        new = keys.replace_data_key(tenant_id=project.tenant_id, project_id=project.pk, spent=spent)
        record(
            actor=self.actor,
            action=Action.DATA_KEY_ROTATED,
            target=self._target(new.pk),
            changes={"id": [str(former.pk), str(new.pk)], "used_up": spent},
        )
        return True

    @transaction.atomic
    def _reencrypt(self, retiring: Sequence[UUID], ids: Sequence[Any]) -> tuple[int, list[UUID]] | None:
        """Seal the versions `ids` anew, those that still name a retiring key. None: the key is used up.

        Locks are taken in the order of a write: data key, versions, chain. The project's lock is
        left out, so that writers go on; the key's row, locked by the count of its uses, stays
        current until this commits.
        """
        with connection.cursor() as cursor:
            if connection.vendor == "postgresql":
                cursor.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
        key = keys.resealing_key(self.project.pk, len(ids))
        if key is None:
            return None
        former = {
            _stored(each.id): (each.secret, self._bindings(each))
            for each in keys.opening_keys(set(retiring)).values()
        }
        new_bindings = self._bindings(key)
        resealed: list[tuple[Any, bytes]] = []
        secrets: list[str] = []
        digests: dict[str, str] = {}
        failed = []
        for pk, secret, service, kind, version, sealed, key_id in _locked_rows(ids, retiring):
            row = (_text(service), _text(secret), kind, version)
            try:
                opening, bindings = former[key_id]
                value = crypto.unseal(opening, bytes(sealed), bound_to=bindings.of(*row))
            except (DoesNotOpen, KeyError):
                failed.append(_uuid(pk))
                continue
            new = crypto.seal(key.secret, value, bound_to=new_bindings.of(*row))
            resealed.append((pk, new))
            secrets.append(row[1])
            digests[_text(pk)] = crypto.sha256(new).hex()
        if resealed:
            _store(resealed, key.id)
            record(
                actor=self.actor,
                action=Action.SECRET_REENCRYPTED,
                target=self._target(key.id),
                # The first and the last secret, so that `verify_vault` finds the events of a secret.
                changes={"secrets": [secrets[0], secrets[-1]], "ciphertext_sha256": digests},
                count=len(resealed),
            )
        return len(resealed), failed

    @transaction.atomic
    def destroy_if_empty(self, key_id: UUID) -> bool:
        """Overwrite the key when no row names it, under the lock that writers seal under."""
        Project.objects.select_for_update(of=("self",), no_key=True).get(pk=self.project.pk)
        if SecretVersion.objects.filter(data_key_id=key_id).exists():
            return False
        if not keys.destroy_retiring_data_key(key_id):
            return False
        record(
            actor=self.actor,
            action=Action.DATA_KEY_DESTROYED,
            target=self._target(key_id),
            changes={"state": [KeyState.RETIRING, KeyState.DESTROYED]},
        )
        erase_on_commit()
        return True

    def _bindings(self, key: keys.Key) -> SecretBindings:
        return SecretBindings(key.id, tenant_id=self.project.tenant_id, project_id=self.project.pk)

    def _target(self, key_id: UUID) -> Target:
        return Target("data_key", str(key_id), tenant_id=self.project.tenant_id, project_id=self.project.pk)


def batch_rows() -> int:
    """BATCH, or what fits twice under a data key that lives shorter than that."""
    return max(1, min(BATCH, keys.max_uses() // 2))


def _batches(retiring: Sequence[UUID]) -> Iterator[list[Any]]:
    """Stored ids of the versions that name one of the keys, by secret and version, a batch at a time.

    New ones cannot appear: a retiring key takes no more seals.
    """
    sql = (
        f"SELECT id, secret_id, version FROM vault_secretversion WHERE data_key_id {_one_of(retiring)} "  # noqa: S608
        "AND (secret_id > %s OR secret_id = %s AND version > %s) "
        "ORDER BY secret_id, version LIMIT %s"
    )
    size = batch_rows()
    last: Any = _stored(UUID(int=0))
    version = 0
    while True:
        with connection.cursor() as cursor:
            cursor.execute(sql, [*_listed(retiring), last, last, version, IDS_AT_ONCE])
            found = cursor.fetchall()
        if not found:
            return
        for start in range(0, len(found), size):
            yield [row[0] for row in found[start : start + size]]
        _, last, version = found[-1]


# The rows of a batch are read and written as the driver has them, because Django's models would cost
# more than the cipher. SQLite has ids as 32 hex digits, PostgreSQL as UUID.


def _stored(key: UUID) -> Any:
    return key.hex if connection.vendor == "sqlite" else key


def _uuid(stored: Any) -> UUID:
    return stored if isinstance(stored, UUID) else UUID(stored)


def _text(stored: Any) -> str:
    if isinstance(stored, UUID):
        return str(stored)
    return f"{stored[:8]}-{stored[8:12]}-{stored[12:16]}-{stored[16:20]}-{stored[20:]}"


def _one_of(values: Sequence[Any]) -> str:
    """SQL for "is one of `values`", whose parameters `_listed` gives."""
    if connection.vendor == "postgresql":
        return "= ANY(%s)"
    return f"IN ({', '.join(['%s'] * len(values))})"


def _listed(ids: Sequence[UUID]) -> list[Any]:
    return [list(ids)] if connection.vendor == "postgresql" else [_stored(each) for each in ids]


def _locked_rows(ids: Sequence[Any], retiring: Sequence[UUID]) -> list[tuple[Any, ...]]:
    """Those of the versions `ids` that name one of the keys, locked, by secret and version."""
    postgresql = connection.vendor == "postgresql"
    sql = (
        "SELECT v.id, v.secret_id, s.service_id, v.type, v.version, v.sealed, v.data_key_id "  # noqa: S608
        "FROM vault_secretversion v JOIN vault_secret s ON s.id = v.secret_id "
        f"WHERE v.id {_one_of(ids)} AND v.data_key_id {_one_of(retiring)} ORDER BY v.secret_id, v.version"
        + (" FOR NO KEY UPDATE OF v" if postgresql else "")
    )
    with connection.cursor() as cursor:
        cursor.execute(sql, [*([list(ids)] if postgresql else ids), *_listed(retiring)])
        return list(cursor.fetchall())


def _store(resealed: list[tuple[Any, bytes]], key_id: UUID) -> None:
    """Ciphertext and the name of its key change together, in one statement or one call."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            ids, ciphertexts = zip(*resealed, strict=True)
            cursor.execute(
                "UPDATE vault_secretversion SET sealed = new.sealed, data_key_id = %s "
                "FROM unnest(%s::uuid[], %s::bytea[]) AS new(id, sealed) "
                "WHERE vault_secretversion.id = new.id",
                [key_id, list(ids), list(ciphertexts)],
            )
        else:
            cursor.executemany(
                "UPDATE vault_secretversion SET sealed = %s, data_key_id = %s WHERE id = %s",
                [(ciphertext, _stored(key_id), pk) for pk, ciphertext in resealed],
            )
