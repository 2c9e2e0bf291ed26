"""What a value's ciphertext is bound to: the one row that it was sealed for (SPEC 5)."""

from uuid import UUID

from apps.core import crypto
from apps.core.keys import Key

SCHEMA_VERSION = "1"


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

    A ciphertext copied to another row, version, type, service, project or tenant, or said to be
    under another key, does not open.
    """
    return crypto.length_prefixed(
        SCHEMA_VERSION,
        str(tenant_id),
        str(project_id),
        str(service_id),
        entry_kind,
        str(entry_id),
        entry_type,
        str(version),
        str(data_key_id),
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
