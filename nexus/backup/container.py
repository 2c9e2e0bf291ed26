"""The file: a header that anybody may read, sealed frames, a digest and a signature.

    magic, format, length of the header | header, JSON
    last?, length | frame                      as often as needed
    SHA-256 of all before | Ed25519 signature over that digest

A frame is sealed for its header, its number and whether it is the last, so that none can be left
out, repeated, moved or taken from another archive (the STREAM construction of Hoang, Reyhanitabar,
Rogaway and Vizár, 2015, with nonces from the operating system). The lines in the frames are JSON.
"""

import hashlib
import json
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, BinaryIO, Self
from uuid import UUID

import orjson

from apps.core import crypto, keys
from apps.core.ids import parse_uuid, uuid7
from apps.core.models import Installation, KeyState, Purpose, ServerKey
from nexus.backup import locks
from nexus.backup.errors import ArchiveIsDamaged, ArchiveIsForeign, ArchiveIsOfAnotherRelease
from nexus.backup.locks import ArchiveKeys

MAGIC = b"NEXUSBAK"
FORMAT = 1
_START = struct.Struct(">8sHI")
_FRAME = struct.Struct(">BI")
DIGEST_BYTES, SIGNATURE_BYTES = 32, 64
_TRAILER_BYTES = DIGEST_BYTES + SIGNATURE_BYTES
HEADER_MAX_BYTES = 64 * 1024
# Plain bytes in a frame; some more when a line ends beyond it.
FRAME_BYTES = 256 * 1024
# A row holds at most one value of 64 KiB, or a flag's definition of a megabyte.
LINE_MAX_BYTES = 16 * 1024 * 1024
_FRAME_MAX_BYTES = FRAME_BYTES + LINE_MAX_BYTES
_READ_BYTES = 1024 * 1024


def _frame_binding(header_digest: bytes, number: int, *, is_last: bool) -> bytes:
    return crypto.length_prefixed(
        "nexus.backup-frame.1", header_digest, str(number), "last" if is_last else "more"
    )


def _signed_text(digest: bytes) -> bytes:
    # The key signs heads of audit chains too; the first part keeps the two apart.
    return crypto.length_prefixed("nexus.backup-archive.1", digest)


class ArchiveWriter:
    """Writes lines into `file`. What is in memory is one frame."""

    def __init__(self, file: BinaryIO, *, of_tenant: bool) -> None:
        self.archive_id = uuid7()
        self._file, self._hash = file, hashlib.sha256()
        self._signer = keys.server_key(Purpose.AUDIT_SIGNING)
        self.keys, lock = locks.lock(self.archive_id)
        public = crypto.public_key(self._signer.secret)
        header = {
            "archive": str(self.archive_id),
            "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "epoch": str(Installation.current().epoch),
            "scope": "tenant" if of_tenant else "installation",
            "signer": {"key": str(self._signer.id), "public_key": public.hex()},
            "vouched": locks.vouch(self.archive_id, public),
            "key": lock,
        }
        data = json.dumps(header, sort_keys=True).encode("ascii")
        start = _START.pack(MAGIC, FORMAT, len(data)) + data
        self._header_digest = crypto.sha256(start)
        self._put(start)
        self._buffer, self._number = bytearray(), 0

    def line(self, value: Any) -> None:
        self._buffer += orjson.dumps(value)
        self._buffer += b"\n"
        if len(self._buffer) >= FRAME_BYTES:
            self._seal(is_last=False)

    def finish(self) -> bytes:
        """Write what is left and the signature. Return the digest that it was made over."""
        self._seal(is_last=True)
        digest = self._hash.digest()
        self._file.write(digest + crypto.sign(self._signer.secret, _signed_text(digest)))
        return digest

    def _seal(self, *, is_last: bool) -> None:
        binding = _frame_binding(self._header_digest, self._number, is_last=is_last)
        sealed = crypto.seal(self.keys.frames, bytes(self._buffer), bound_to=binding)
        self._put(_FRAME.pack(is_last, len(sealed)) + sealed)
        self._buffer.clear()
        self._number += 1

    def _put(self, data: bytes) -> None:
        self._hash.update(data)
        self._file.write(data)


@dataclass(frozen=True, slots=True)
class Header:
    archive_id: UUID
    created_at: str
    epoch: str
    of_tenant: bool
    signer_id: str
    signer: bytes
    vouched: dict[str, Any]
    key: dict[str, Any]

    @classmethod
    def parsed(cls, data: bytes) -> Self:
        try:
            document = json.loads(data)
            archive_id = parse_uuid(document["archive"])
            if archive_id is None or document["scope"] not in ("tenant", "installation"):
                raise ValueError
            return cls(
                archive_id=archive_id,
                created_at=str(document["created_at"]),
                epoch=str(document["epoch"]),
                of_tenant=document["scope"] == "tenant",
                signer_id=str(document["signer"]["key"]),
                signer=bytes.fromhex(document["signer"]["public_key"]),
                vouched=dict(document["vouched"]),
                key=dict(document["key"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
            raise ArchiveIsDamaged("The header cannot be read.") from None


class ArchiveReader:
    """An archive whose signature holds. `lines` may be read again and again."""

    def __init__(self, file: BinaryIO) -> None:
        """Raises ArchiveIsDamaged, and ArchiveIsOfAnotherRelease for a format that we do not know."""
        self._file = file
        size = os.fstat(file.fileno()).st_size
        file.seek(0)
        start = file.read(_START.size)
        if len(start) < _START.size or start[: len(MAGIC)] != MAGIC:
            raise ArchiveIsDamaged("This is no archive of Nexus.")
        _, number, length = _START.unpack(start)
        if number != FORMAT:
            raise ArchiveIsOfAnotherRelease(f"The archive has format {number}; this release reads {FORMAT}.")
        self._frames_at, self._end = _START.size + length, size - _TRAILER_BYTES
        if length > HEADER_MAX_BYTES or self._frames_at > self._end:
            raise ArchiveIsDamaged("The archive ends too early.")
        data = file.read(length)
        self.header = Header.parsed(data)
        self._header_digest = crypto.sha256(start + data)
        self.digest = self._require_signature()
        self._keys: ArchiveKeys | None = None

    def _require_signature(self) -> bytes:
        self._file.seek(0)
        found, left = hashlib.sha256(), self._end
        while left and (data := self._file.read(min(left, _READ_BYTES))):
            found.update(data)
            left -= len(data)
        trailer = self._file.read(_TRAILER_BYTES + 1)
        digest, signature = trailer[:DIGEST_BYTES], trailer[DIGEST_BYTES:]
        if digest != found.digest() or not crypto.signature_holds(
            self.header.signer, signature, _signed_text(digest)
        ):
            raise ArchiveIsDamaged("The signature does not fit the file.")
        return digest

    def is_foreign(self) -> bool:
        """Whether neither our signing keys nor our root keys know who signed it."""
        rows = ServerKey.objects.filter(purpose=Purpose.AUDIT_SIGNING).exclude(state=KeyState.DESTROYED)
        for row in rows:
            if str(row.id) == self.header.signer_id:
                return crypto.public_key(keys.unwrap(row)) != self.header.signer
        return not locks.is_vouched_for(self.header.archive_id, self.header.signer, self.header.vouched)

    def require_trust(self, *, trust_foreign: bool) -> bool:
        """Whether it is foreign. Raises ArchiveIsForeign unless that is trusted."""
        foreign = self.is_foreign()
        if foreign and not trust_foreign:
            raise ArchiveIsForeign
        return foreign

    @property
    def keys(self) -> ArchiveKeys:
        """Raises ArchiveIsLocked and MissingRootKey."""
        if self._keys is None:
            self._keys = locks.unlock(self.header.archive_id, self.header.key)
        return self._keys

    def lines(self) -> Iterator[Any]:
        """What was written, line by line. Raises ArchiveIsDamaged where it is not that any more."""
        pending = b""
        for frame in self._frames():
            *whole, pending = (pending + frame).split(b"\n")
            if len(pending) > LINE_MAX_BYTES:
                raise ArchiveIsDamaged("A line is too long.")
            for line in whole:
                try:
                    yield orjson.loads(line)
                except orjson.JSONDecodeError:
                    raise ArchiveIsDamaged("A line is not JSON.") from None
        if pending:
            raise ArchiveIsDamaged("The last line has no end.")

    def _frames(self) -> Iterator[bytes]:
        self._file.seek(self._frames_at)
        at, number, is_last = self._frames_at, 0, False
        while not is_last:
            start = self._file.read(_FRAME.size)
            if len(start) < _FRAME.size:
                raise ArchiveIsDamaged("The archive ends too early.")
            flag, length = _FRAME.unpack(start)
            at += _FRAME.size + length
            if flag > 1 or length > _FRAME_MAX_BYTES or at > self._end:
                raise ArchiveIsDamaged(f"Frame {number} is not what was written.")
            is_last = flag == 1
            binding = _frame_binding(self._header_digest, number, is_last=is_last)
            try:
                yield crypto.unseal(self.keys.frames, self._file.read(length), bound_to=binding)
            except crypto.DoesNotOpen:
                raise ArchiveIsDamaged(f"Frame {number} is not what was written.") from None
            number += 1
        if at != self._end:
            raise ArchiveIsDamaged("Something follows the last frame.")
