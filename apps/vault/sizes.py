"""How large a service's snapshot gets, so that a write beyond the limit is refused (SPEC 6)."""

from typing import Any

import orjson
from django.conf import settings
from django.db.models import BigIntegerField, F, Func, OuterRef, Q, Subquery, Value
from django.db.models.functions import Coalesce

from apps.core import keys
from apps.core.crypto import DoesNotOpen
from apps.core.errors import SnapshotTooLarge
from apps.services.models import EntryReference, Kind, Service
from apps.vault.models import ConfigVersion, SecretVersion
from apps.vault.resolution import ResolvesTooLarge, resolved_configs, stored_configs, stored_secrets
from apps.vault.templates import RESOLVED_MAX_BYTES

# JSON writes a control character as six bytes; nothing grows by more, base64 included.
_WORST_GROWTH = 6


def _sum(rows: Any) -> Subquery:
    total = Func(F("size_bytes"), function="SUM", output_field=BigIntegerField())
    return Subquery(rows.order_by().annotate(total=total).values("total"))


def _in_scope(owner: str) -> Q:
    return Q(**{f"{owner}__service_id": OuterRef("pk")}) | Q(
        **{f"{owner}__service_id": OuterRef("umbrella_id")}
    )


def stored_bytes() -> Any:
    """What the values that a service reads take as they are stored, for a query over services.

    A config with a template counts as what it may at most become.
    """
    secrets = SecretVersion.objects.filter(
        _in_scope("secret"), secret__deleted_at=None, version=F("secret__active_version")
    )
    configs = ConfigVersion.objects.filter(
        _in_scope("config"), config__deleted_at=None, version=F("config__active_version")
    )
    referring = EntryReference.objects.filter(
        Q(source_service=OuterRef("pk")) | Q(source_service=OuterRef("umbrella_id"))
    ).order_by()
    number = Func(F("source_id"), template="COUNT(DISTINCT %(expressions)s)", output_field=BigIntegerField())
    templates = Subquery(referring.annotate(number=number).values("number"))
    zero = Value(0, BigIntegerField())
    return (
        Coalesce(_sum(secrets), zero)
        + Coalesce(_sum(configs), zero)
        + Coalesce(templates, zero) * Value(RESOLVED_MAX_BYTES, BigIntegerField())
    )


def require_fits(service: Service, *, before_bytes: int, added_bytes: int, has_templates: bool) -> None:
    """Raise SnapshotTooLarge where what `service` reads has outgrown a snapshot, the write being done.

    `before_bytes` is what `stored_bytes` said. Only where that comes near the limit is it worked out
    exactly, by building what would be sent.
    """
    limit: int = settings.NEXUS_SNAPSHOT_MAX_BYTES
    added = RESOLVED_MAX_BYTES if has_templates else added_bytes
    if (before_bytes + added) * _WORST_GROWTH <= limit or exact_bytes(service, limit) <= limit:
        return
    raise SnapshotTooLarge(
        f"What {service} reads would hold more than {limit} bytes. Delete or shorten something first.",
        limit_bytes=limit,
    )


def exact_bytes(service: Service, limit: int) -> int:
    """The size of the secrets and configs in a snapshot, as JSON. Nothing of it is kept or told.

    Where lengths alone say that it is beyond `limit`, nothing is built: the answer is just beyond it.
    """
    members: dict[str, Any] = {}
    texts: dict[str, str | None] | None = None
    if service.kind == Kind.BACKEND:
        found = stored_secrets(service)
        data_keys = keys.opening_keys({stored.data_key_id for stored, _ in found.values()})
        texts = {}
        for key, (stored, source) in found.items():
            try:
                opened = stored.unseal(
                    data_keys, tenant_id=service.project.tenant_id, project_id=service.project_id
                )
            except DoesNotOpen:
                texts[key] = None
                continue
            wire = members[f"secret:{key}"] = stored.wire(opened, source)
            texts[key] = wire["value"]
    configs = stored_configs(service)
    # Flags stand for `false`, the longer of the two.
    try:
        values, _ = resolved_configs(configs, secrets=texts, flags=_Everything(), limit_bytes=limit)
    except ResolvesTooLarge:
        return limit + 1
    for key, value in values.items():
        members[f"config:{key}"] = {"value": orjson.Fragment(value), **_FRAME}
    return len(orjson.dumps(members))


# The members beside a config's value.
_FRAME = {"type": "boolean", "version": 1_000_000, "source": "umbrella"}


class _Everything(dict[str, bool]):
    """Flags, whichever are asked for."""

    def __contains__(self, key: object) -> bool:
        return True

    def __missing__(self, key: str) -> bool:
        return False
