"""The one way in for an archive: trusted, checked whole, then written in one transaction."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from django.core.exceptions import ImproperlyConfigured
from django.db import DataError, IntegrityError

from apps.core import keys
from apps.core.actor import Actor
from apps.core.errors import InvalidInput
from nexus.backup.checking import check
from nexus.backup.container import ArchiveReader
from nexus.backup.errors import ArchiveIsDamaged
from nexus.backup.filling import fill_database
from nexus.backup.making import require_command
from nexus.backup.merging import merge_tenant
from nexus.backup.outcome import Restored
from nexus.backup.watching import Watch, nobody


@contextmanager
def opened(path: Path) -> Iterator[ArchiveReader]:
    """The archive at `path`, its signature checked. Raises InvalidInput, ArchiveIsDamaged."""
    try:
        file: BinaryIO = path.open("rb")
    except OSError as error:
        raise InvalidInput.of("FILE", f"It cannot be read: {error.strerror}.") from None
    with file:
        yield ArchiveReader(file)


def restore(
    *,
    actor: Actor,
    path: Path,
    trust_foreign: bool = False,
    keep_credentials: bool = False,
    watch: Watch = nobody,
) -> Restored:
    """Bring back what the archive at `path` holds: everything into an empty database, or one tenant.

    The whole file is checked before the first row is written, and all rows are written in one
    transaction. After a full restore the epoch is new, sessions, tickets and invitations are void,
    and API keys, access tokens and workload identities are disabled unless `keep_credentials`.

    Raises NotPermitted, InvalidInput, ArchiveIsForeign unless `trust_foreign`, ArchiveIsLocked,
    MissingRootKey, ArchiveIsDamaged, ArchiveIsOfAnotherRelease, DatabaseIsNotEmpty, and, of a tenant,
    ArchiveIsInTheWay and Conflict.
    """
    require_command(actor, "A restore")
    _require_root_key()
    with opened(path) as archive:
        foreign = archive.require_trust(trust_foreign=trust_foreign)
        content = check(archive)
        restored = Restored(archive.header.archive_id, content.tenant_slug, foreign, keep_credentials)
        try:
            if content.tenant_id is None:
                fill_database(actor=actor, archive=archive, content=content, restored=restored, watch=watch)
            else:
                merge_tenant(
                    actor=actor,
                    tenant_id=content.tenant_id,
                    archive=archive,
                    content=content,
                    restored=restored,
                    watch=watch,
                )
        except (IntegrityError, DataError):
            # From None: the cause quotes rows.
            raise ArchiveIsDamaged("The database does not take the archive's rows together.") from None
        finally:
            # What this process remembers may be keys that were replaced, or a restore that was undone.
            keys.forget_all()
    return restored


def _require_root_key() -> None:
    try:
        keys.root_keys()
    except ImproperlyConfigured as error:
        # What is restored is wrapped by it.
        raise InvalidInput.of("NEXUS_ROOT_KEY", str(error)) from None
