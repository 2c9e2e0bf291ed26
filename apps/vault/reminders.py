"""When a secret should be looked at: `expires_at` and `rotate_by` remind and end nothing (SPEC 5)."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from django.db import transaction

from apps.audit.events import Action
from apps.audit.operations import record
from apps.core.actor import Actor
from apps.core.errors import InvalidInput
from apps.services import entries
from apps.services.entries import Precondition
from apps.services.models import Service
from apps.vault.models import Secret

# Those that are named are set, None clears, and what is left out stays.
Reminders = Mapping[str, datetime | None]
NAMES = ("expires_at", "rotate_by")
_YEARS = range(2000, 9999)


def require_reminders(reminders: Reminders) -> None:
    """Raise InvalidInput for a time that no calendar of the databases holds, or one without its offset."""
    for name, moment in reminders.items():
        if moment is not None and (moment.tzinfo is None or moment.year not in _YEARS):
            raise InvalidInput.of(name, "Give a time with its offset, from the year 2000 on.")


def adopt_reminders(secret: Secret, reminders: Reminders, *, live: bool) -> dict[str, list[str | None]]:
    """Set what is given, and say what changed. A key that is new or revived begins without any."""
    wanted: Reminders = reminders if live else {**dict.fromkeys(NAMES), **reminders}
    changes = {}
    for name, moment in wanted.items():
        before = getattr(secret, name)
        if before != moment:
            changes[name] = [_text(before), _text(moment)]
            setattr(secret, name, moment)
    return changes


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).isoformat()


@transaction.atomic
def set_reminders(
    *,
    actor: Actor,
    service: Service,
    key: str,
    reminders: Reminders,
    expected_row_version: int | None = None,
) -> Secret:
    """Set or clear when the owners are reminded of a secret; no version is appended.

    Raises NotPermitted, NotFound, InvalidInput, and VersionConflict.
    """
    require_reminders(reminders)
    opened = entries.open_entry(
        actor=actor, permission="secret:write", service=service, rows=Secret.objects.all(), key=key
    )
    secret: Any = opened.found("secret")
    Precondition(row_version=expected_row_version).require(secret, live=True)
    changes = adopt_reminders(secret, reminders, live=True)
    if changes:
        secret.save(update_fields=[*changes])
        record(actor=actor, action=Action.SECRET_REMINDERS_SET, target=secret.audit_target(), changes=changes)
    return secret  # type: ignore[no-any-return]
