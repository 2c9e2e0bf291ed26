"""What opens an archive: a root key, or a passphrase; and who vouches for it.

An archive has a key of its own. The frames, and the data and server keys in them, are sealed under
two keys that are derived from it, so that a restore needs no root key but this installation's own.
"""

import hashlib
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from django.core.exceptions import ImproperlyConfigured

from apps.core import crypto, keys
from apps.core.crypto import DoesNotOpen
from apps.core.errors import InvalidInput, MissingRootKey, NexusError, Unreadable
from apps.core.models import DataKey, KeyState, ServerKey
from nexus.backup.errors import ArchiveIsDamaged, ArchiveIsLocked

PASSPHRASE_FILE = "NEXUS_BACKUP_PASSPHRASE_FILE"  # noqa: S105 - the name of a variable
PASSPHRASE_MIN_LENGTH = 12
# 128 MiB and some 0.4 s for each guess (RFC 7914; OWASP's parameters for scrypt).
SCRYPT_N, SCRYPT_R, SCRYPT_P = 2**17, 8, 1
# What a file may ask of us before anything in it was believed: 1 GiB.
SCRYPT_MAX_N = 2**20
SALT_BYTES = 16
_ARCHIVE, _ORIGIN = "backup_archive", "backup_origin"


@dataclass(frozen=True, slots=True)
class ArchiveKeys:
    """The keys of one archive. Their repr does not show them."""

    archive_id: UUID
    frames: bytes
    wrapped_keys: bytes

    @classmethod
    def of(cls, archive_id: UUID, archive_key: bytes) -> "ArchiveKeys":
        return cls(
            archive_id,
            crypto.mac(archive_key, "nexus.backup-frames.1", str(archive_id)),
            crypto.mac(archive_key, "nexus.backup-wrapped-keys.1", str(archive_id)),
        )

    def __repr__(self) -> str:
        return f"ArchiveKeys({self.archive_id})"

    def wrap(self, row: DataKey | ServerKey) -> bytes:
        """The key of `row`, for this archive. Empty for one that is destroyed."""
        if row.state == KeyState.DESTROYED:
            return b""
        return crypto.wrap(self.wrapped_keys, keys.unwrap(row), bound_to=_binding(row))

    def unwrap(self, row: DataKey | ServerKey) -> bytes:
        """The key of a row of this archive. Raises ArchiveIsDamaged when it is not that row's."""
        try:
            return crypto.unwrap(self.wrapped_keys, bytes(row.wrapped_key), bound_to=_binding(row))
        except DoesNotOpen:
            raise ArchiveIsDamaged(f"The key {row.id} in the archive does not open.") from None

    def rewrap(self, row: DataKey | ServerKey) -> None:
        """Give a row of this archive the same key under our root key. Raises ArchiveIsDamaged."""
        if row.state == KeyState.DESTROYED:
            row.root_key_id = ""
        else:
            row.root_key_id, row.wrapped_key = keys.wrap(row, self.unwrap(row))


def _binding(row: DataKey | ServerKey) -> bytes:
    if isinstance(row, DataKey):
        whose = ("data", str(row.tenant_id), str(row.project_id))
    else:
        whose = (row.purpose, "", "")
    return crypto.length_prefixed("nexus.backup-key.1", str(row.id), *whose)


def passphrase() -> bytes | None:
    """What stands in the file that NEXUS_BACKUP_PASSPHRASE_FILE names, without its last line break."""
    path = os.environ.get(PASSPHRASE_FILE, "")
    if not path:
        return None
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise InvalidInput.of(PASSPHRASE_FILE, f"The file cannot be read: {error.strerror}.") from None
    return data.removesuffix(b"\n").removesuffix(b"\r")


def _stretched(text: bytes, *, salt: bytes, n: int) -> bytes:
    return hashlib.scrypt(
        text, salt=salt, n=n, r=SCRYPT_R, p=SCRYPT_P, maxmem=2 * 128 * n * SCRYPT_R, dklen=crypto.KEY_BYTES
    )


def _passphrase_binding(archive_id: UUID) -> bytes:
    return crypto.length_prefixed("nexus.backup-archive-key.1", str(archive_id))


def lock(archive_id: UUID) -> tuple[ArchiveKeys, dict[str, Any]]:
    """New keys for an archive, and what of them stands in its header.

    Under a passphrase where NEXUS_BACKUP_PASSPHRASE_FILE names one, else under the current root key.
    """
    archive_key = crypto.new_key()
    text = passphrase()
    if text is None:
        root_id, wrapped = keys.wrap(_row(archive_id, _ARCHIVE), archive_key)
        return ArchiveKeys.of(archive_id, archive_key), {
            "by": "root_key",
            "root_key_id": root_id,
            "wrapped": wrapped.hex(),
        }
    if len(text) < PASSPHRASE_MIN_LENGTH:
        raise InvalidInput.of(PASSPHRASE_FILE, f"Give at least {PASSPHRASE_MIN_LENGTH} characters.")
    salt = secrets.token_bytes(SALT_BYTES)
    stretched = _stretched(text, salt=salt, n=SCRYPT_N)
    return ArchiveKeys.of(archive_id, archive_key), {
        "by": "passphrase",
        "salt": salt.hex(),
        "n": SCRYPT_N,
        "wrapped": crypto.wrap(stretched, archive_key, bound_to=_passphrase_binding(archive_id)).hex(),
    }


def unlock(archive_id: UUID, header: dict[str, Any]) -> ArchiveKeys:
    """The keys of the archive whose header says `header` of them.

    Raises ArchiveIsLocked, MissingRootKey, and ArchiveIsDamaged for a header that says nothing of use.
    """
    try:
        by, wrapped = header["by"], bytes.fromhex(header["wrapped"])
        if by == "root_key":
            return ArchiveKeys.of(
                archive_id, _opened(_row(archive_id, _ARCHIVE), header["root_key_id"], wrapped)
            )
        salt, n = bytes.fromhex(header["salt"]), header["n"]
    except (KeyError, TypeError, ValueError):
        raise ArchiveIsDamaged("The header does not say what opens the archive.") from None
    if by != "passphrase" or not isinstance(n, int) or not 2 <= n <= SCRYPT_MAX_N or n & (n - 1):
        raise ArchiveIsDamaged("The header does not say what opens the archive.")
    text = passphrase()
    if text is None:
        raise ArchiveIsLocked(
            f"A passphrase opens the archive. Name a file that holds it in {PASSPHRASE_FILE}."
        )
    try:
        stretched = _stretched(text, salt=salt, n=n)
        archive_key = crypto.unwrap(stretched, wrapped, bound_to=_passphrase_binding(archive_id))
    except DoesNotOpen:
        raise ArchiveIsLocked from None
    return ArchiveKeys.of(archive_id, archive_key)


def _row(archive_id: UUID, purpose: str) -> ServerKey:
    """What a root key binds its wrapping to; no such row is ever stored."""
    return ServerKey(id=archive_id, purpose=purpose)


def _opened(row: ServerKey, root_key_id: Any, wrapped: bytes) -> bytes:
    row.root_key_id, row.wrapped_key = str(root_key_id), wrapped
    try:
        return keys.unwrap(row)
    except Unreadable:
        raise ArchiveIsLocked("The root key of that id does not open the archive.") from None
    except ImproperlyConfigured:
        raise MissingRootKey([row.root_key_id]) from None


def _origin(archive_id: UUID, signer: bytes) -> bytes:
    return crypto.sha256(crypto.length_prefixed("nexus.backup-origin.1", str(archive_id), signer))


def vouch(archive_id: UUID, signer: bytes) -> dict[str, str]:
    """Say, so that whoever has our root key can check it, that `signer` signs this archive for us.

    An empty database knows no signer. Its root key then tells whether the archive is of its own.
    """
    root_id, wrapped = keys.wrap(_row(archive_id, _ORIGIN), _origin(archive_id, signer))
    return {"root_key_id": root_id, "wrapped": wrapped.hex()}


def is_vouched_for(archive_id: UUID, signer: bytes, vouched: dict[str, Any]) -> bool:
    try:
        wrapped = bytes.fromhex(vouched["wrapped"])
        found = _opened(_row(archive_id, _ORIGIN), vouched["root_key_id"], wrapped)
    except (KeyError, TypeError, ValueError, NexusError):
        return False
    return crypto.same(found, _origin(archive_id, signer))
