"""What a value's ciphertext is bound to: the one row that it was sealed for (SPEC 5)."""

from functools import lru_cache
from uuid import UUID

from apps.core import crypto
from apps.core.keys import Key

SCHEMA_VERSION = "1"

# Writing an id out costs as much as sealing 200 bytes; those of a project come again with each row.
_encoded_id = lru_cache(maxsize=16_384)(lambda number: crypto.length_prefixed(str(UUID(int=number))))
_encoded_text = lru_cache(maxsize=4096)(crypto.length_prefixed)


def entry_binding(
    *,
    tenant_id: UUID,
    project_id: UUID,
    service_id: UUID,
    entry_kind: str,
    entry_id: UUID,
    entry_type: str,
    version: int,
    data_key_id: UUID,
) -> bytes:
    """The additional data of a value: the length-prefixed tuple that names its row.

    It is `length_prefixed` of SCHEMA_VERSION and the arguments in this order, as text. A ciphertext
    copied to another row, version, type, service, project or tenant, or said to be under another
    key, does not open.
    """
    return b"".join(
        (
            _encoded_text(SCHEMA_VERSION),
            _encoded_id(tenant_id.int),
            _encoded_id(project_id.int),
            _encoded_id(service_id.int),
            _encoded_text(entry_kind),
            _encoded_id(entry_id.int),
            _encoded_text(entry_type),
            _encoded_text(str(version)),
            _encoded_id(data_key_id.int),
        )
    )


def secret_binding(
    key: Key,
    *,
    tenant_id: UUID,
    project_id: UUID,
    service_id: UUID,
    secret_id: UUID,
    secret_type: str,
    version: int,
) -> bytes:
    return entry_binding(
        tenant_id=tenant_id,
        project_id=project_id,
        service_id=service_id,
        entry_kind="secret",
        entry_id=secret_id,
        entry_type=secret_type,
        version=version,
        data_key_id=key.id,
    )


class SecretBindings:
    """`secret_binding` for who makes many of one project under one key: ids come as text."""

    def __init__(self, key_id: UUID, *, tenant_id: UUID, project_id: UUID) -> None:
        self._head = crypto.length_prefixed(SCHEMA_VERSION, str(tenant_id), str(project_id))
        self._kind = crypto.length_prefixed("secret")
        self._key = crypto.length_prefixed(str(key_id))

    def of(self, service_id: str, secret_id: str, secret_type: str, version: int) -> bytes:
        return b"".join(
            (
                self._head,
                _encoded_text(service_id),
                self._kind,
                _encoded_text(secret_id),
                _encoded_text(secret_type),
                _encoded_text(str(version)),
                self._key,
            )
        )
