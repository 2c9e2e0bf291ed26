"""Issue, change, rotate and end the keys of services."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, Final
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from apps.audit.events import Action
from apps.audit.operations import record
from apps.core import crypto, keys
from apps.core.access import (
    SCOPE_PERMISSIONS,
    permissions_of_scopes,
    permitted,
    refusal,
    require,
    require_presence,
)
from apps.core.actor import Actor
from apps.core.changes import ChangeEvent, announce
from apps.core.client_address import parse_networks
from apps.core.errors import Conflict, InvalidInput, NotFound, SlotTaken, UmbrellaHasNoKeys, VersionConflict
from apps.core.models import Purpose
from apps.projects.memberships import refreshed
from apps.services.credentials import PREFIXES, new_key_text, row_mac, unbroken_pepper
from apps.services.inheritance import lives_in
from apps.services.models import ApiKey, Kind, Service, Slot

# SPEC 4: for so long an old key works beside the one that replaces it.
OVERLAP_DEFAULT_SECONDS = 24 * 3600
OVERLAP_MAX_SECONDS = 30 * 24 * 3600
NETWORKS_MAX = 100


class Keep(Enum):
    """Stands for "as it is": None already means that a key does not expire."""

    KEEP = "keep"


KEEP: Final = Keep.KEEP


def rights_to_issue(service: Service, scopes: Iterable[str]) -> list[tuple[str, Service]]:
    """What it takes to make, widen or keep in use a key of these scopes, as (permission, where).

    A key does by itself what its scopes open, so that nobody makes one that may do what they may not
    (SPEC 3); what it reads it reads of the umbrella too. Scopes that are none open nothing.
    """
    opened = permissions_of_scopes({"read", *(scope for scope in scopes if scope in SCOPE_PERMISSIONS)})
    if service.kind == Kind.FRONTEND:
        # It has no secrets, whatever the scope says.
        opened = frozenset(permission for permission in opened if not permission.startswith("secret:"))
    # The right to reveal first: of several that are missing it says the most.
    ordered = sorted(opened, key=lambda permission: (permission != "secret:reveal", permission))
    inherited = SCOPE_PERMISSIONS["read"] - {"service:read"}
    return [
        ("api_key:issue", service),
        *((permission, service) for permission in ordered),
        *(
            (permission, umbrella)
            for umbrella in lives_in(service)[1:]
            for permission in ordered
            if permission in inherited
        ),
    ]


def _require_may_issue(actor: Actor, service: Service, scopes: Iterable[str]) -> None:
    """Issuing or widening a key amounts to a reveal of the service's secrets: right and presence."""
    require(actor, "api_key:issue", service)
    require_presence(actor)
    asked = rights_to_issue(service, scopes)
    for where in lives_in(service):
        wanted = [permission for permission, each in asked if each == where]
        held = permitted(actor, wanted, where)
        for permission in wanted:
            if permission not in held:
                raise refusal(actor, permission, where)


def _require_may_still_issue(actor: Actor, service: Service, scopes: Iterable[str]) -> None:
    """Asked of the locked service: it may have been linked, or a role taken, before the lock was had."""
    _require_may_issue(refreshed(actor), service, scopes)


@transaction.atomic
def issue_api_key(
    *,
    actor: Actor,
    service: Service,
    slot: str = Slot.PRIMARY,
    scopes: Sequence[str] = ("read",),
    expires_at: datetime | None = None,
    allowed_networks: Sequence[str] = (),
) -> tuple[ApiKey, str]:
    """Issue a key into a free slot and return it with its text, which is never shown again.

    Issuing amounts to a reveal of the service's secrets, so that right and presence are asked as
    well; and all that the key may do, `actor` may. Raises NotPermitted, ReauthenticationRequired,
    SlotTaken, UmbrellaHasNoKeys, and InvalidInput for scopes, times and networks that are none.
    """
    _require_may_issue(actor, service, scopes)
    scopes = _canonical_scopes(service, scopes)
    networks = _canonical_networks(allowed_networks)
    if slot not in Slot.values:
        raise InvalidInput.of("slot", f"Choose {' or '.join(Slot.values)}.")
    _require_to_come(expires_at)
    service = Service.objects.locked(service, actor=actor)
    if service.is_umbrella:
        raise UmbrellaHasNoKeys
    _require_may_still_issue(actor, service, scopes)
    if ApiKey.objects.filter(service=service, slot=slot, revoked_at=None, is_outgoing=False).exists():
        raise SlotTaken(
            f"The {slot} slot of {service} has a key. Rotate or revoke it, or use the other slot."
        )
    key, text = _make(service, slot, scopes, expires_at, networks)
    record(actor=actor, action=Action.API_KEY_ISSUED, target=key.audit_target(), changes=_terms_of(key))
    announce(event=ChangeEvent.CREDENTIAL_CHANGED, service_id=service.pk, credential_id=key.pk)
    return key, text


def _make(
    service: Service, slot: str, scopes: list[str], expires_at: datetime | None, networks: list[str]
) -> tuple[ApiKey, str]:
    pepper = keys.server_key(Purpose.API_KEY_PEPPER)
    text = new_key_text(service.kind)
    key = ApiKey(
        service=service,
        slot=slot,
        prefix=PREFIXES[service.kind],
        last4=text[-4:],
        digest=crypto.keyed_digest(pepper.secret, text.encode()),
        pepper_id=pepper.id,
        scopes=scopes,
        allowed_networks=networks,
        expires_at=expires_at,
    )
    key.mac = row_mac(pepper, key, service.kind)
    key.save()
    return key, text


def _told(at: datetime | None) -> str | None:
    return at.isoformat() if at else None


def _terms_of(key: ApiKey) -> dict[str, list[Any]]:
    """What a new key may do, as its event tells it."""
    return {
        "scopes": [None, key.scopes],
        "expires_at": [None, _told(key.expires_at)],
        "allowed_networks": [None, key.allowed_networks],
    }


def _canonical_scopes(service: Service, scopes: Sequence[str]) -> list[str]:
    found = sorted(set(scopes) | {"read"})
    if not SCOPE_PERMISSIONS.keys() >= set(found):
        raise InvalidInput.of("scopes", f"Choose of {', '.join(SCOPE_PERMISSIONS)}.")
    if service.kind == Kind.FRONTEND and found != ["read"]:
        raise InvalidInput.of("scopes", "A key of a frontend service can only read.")
    return found


def _canonical_networks(texts: Sequence[str]) -> list[str]:
    if len(texts) > NETWORKS_MAX:
        raise InvalidInput.of("allowed_networks", f"Give at most {NETWORKS_MAX} networks.")
    try:
        return [str(network) for network in parse_networks(texts)]
    except ValueError:
        raise InvalidInput.of(
            "allowed_networks", "Give networks such as 192.0.2.0/24 or 2001:db8::/32, host bits zero."
        ) from None


def _require_to_come(expires_at: datetime | None) -> None:
    if expires_at is not None and expires_at <= timezone.now():
        raise InvalidInput.of("expires_at", "This time has passed already.")


def _locked_key(service: Service, key_id: UUID, expected_row_version: int | None) -> ApiKey:
    """The key of the locked `service`. Raises NotFound, VersionConflict, and Conflict if it was revoked."""
    key = ApiKey.objects.select_for_update(of=("self",)).filter(service=service, pk=key_id).first()
    if key is None:
        raise NotFound
    key.service = service
    if expected_row_version is not None and key.row_version != expected_row_version:
        raise VersionConflict
    if key.revoked_at is not None:
        raise Conflict("This key is revoked, for good. Issue another.")
    return key


@transaction.atomic
def change_api_key(
    *,
    actor: Actor,
    key: ApiKey,
    expires_at: datetime | Keep | None = KEEP,
    allowed_networks: Sequence[str] | Keep = KEEP,
    expected_row_version: int | None = None,
) -> ApiKey:
    """Let the key expire at another time (None: never), or come from other networks (none: everywhere).

    It may widen the key, so that it asks what issuing asks. In effect within 2 s. Raises
    InvalidInput, VersionConflict, and Conflict for a revoked key or one whose row was tampered with.
    """
    _require_may_issue(actor, key.service, key.scopes)
    networks = KEEP if allowed_networks is KEEP else _canonical_networks(allowed_networks)
    if expires_at is not KEEP:
        _require_to_come(expires_at)
    service = Service.objects.locked(key.service, actor=actor)
    key = _locked_key(service, key.pk, expected_row_version)
    _require_may_still_issue(actor, service, key.scopes)
    # Sealing anew what somebody edited in the database would make it good.
    pepper = unbroken_pepper(key)
    changes: dict[str, list[Any]] = {}
    if expires_at is not KEEP and expires_at != key.expires_at:
        changes["expires_at"] = [_told(key.expires_at), _told(expires_at)]
        key.expires_at = expires_at
    if networks is not KEEP and networks != key.allowed_networks:
        changes["allowed_networks"] = [key.allowed_networks, networks]
        key.allowed_networks = networks
    if not changes:
        return key
    key.mac = row_mac(pepper, key, service.kind)
    key.save(update_fields=["expires_at", "allowed_networks", "mac"])
    record(actor=actor, action=Action.API_KEY_UPDATED, target=key.audit_target(), changes=changes)
    announce(event=ChangeEvent.CREDENTIAL_CHANGED, service_id=service.pk, credential_id=key.pk)
    return key


@transaction.atomic
def rotate_api_key(
    *,
    actor: Actor,
    key: ApiKey,
    overlap_seconds: int = OVERLAP_DEFAULT_SECONDS,
    scopes: Sequence[str] | Keep = KEEP,
    expires_at: datetime | Keep | None = KEEP,
    allowed_networks: Sequence[str] | Keep = KEEP,
    expected_row_version: int | None = None,
) -> tuple[ApiKey, str]:
    """Put a new key into the slot of `key` and return it with its text, which is never shown again.

    The old one works for `overlap_seconds` more (0 to 30 days; 0 revokes it at once); one that was
    outgoing already ends now. What is not given is as the old one has it. Asks what issuing asks.
    Raises InvalidInput, VersionConflict, and Conflict for a revoked or outgoing key.
    """
    _require_may_issue(actor, key.service, key.scopes if scopes is KEEP else scopes)
    if not 0 <= overlap_seconds <= OVERLAP_MAX_SECONDS:
        raise InvalidInput.of("overlap_seconds", f"Give 0 to {OVERLAP_MAX_SECONDS} seconds.")
    service = Service.objects.locked(key.service, actor=actor)
    old = _locked_key(service, key.pk, expected_row_version)
    if old.is_outgoing:
        raise Conflict("This key was rotated already. Rotate the one that replaced it.")
    unbroken_pepper(old)
    scopes = _canonical_scopes(service, old.scopes if scopes is KEEP else scopes)
    _require_may_still_issue(actor, service, scopes)
    until = old.expires_at if expires_at is KEEP else expires_at
    _require_to_come(until)
    now = timezone.now()
    earlier = ApiKey.objects.select_for_update(of=("self",)).filter(
        service=service, slot=old.slot, revoked_at=None, is_outgoing=True
    )
    for each in list(earlier):
        each.service = service
        _end(actor, each, now)
    old.is_outgoing, old.ends_at = True, now + timedelta(seconds=overlap_seconds)
    old.save(update_fields=["is_outgoing", "ends_at"])
    new, text = _make(
        service,
        old.slot,
        scopes,
        until,
        _canonical_networks(old.allowed_networks if allowed_networks is KEEP else allowed_networks),
    )
    record(
        actor=actor,
        action=Action.API_KEY_ROTATED,
        target=new.audit_target(),
        changes={
            **_terms_of(new),
            "key": [str(old.pk), str(new.pk)],
            "old_ends_at": [None, _told(old.ends_at)],
        },
    )
    announce(event=ChangeEvent.CREDENTIAL_CHANGED, service_id=service.pk, credential_id=old.pk)
    announce(event=ChangeEvent.CREDENTIAL_CHANGED, service_id=service.pk, credential_id=new.pk)
    if not overlap_seconds:
        _end(actor, old, now)
    return new, text


@transaction.atomic
def revoke_api_key(*, actor: Actor, service: Service, slot: str) -> list[ApiKey]:
    """End the slot's current key and its outgoing one: refused everywhere within 2 s.

    Raises NotFound when the slot is empty.
    """
    require(actor, "api_key:revoke", service)
    service = Service.objects.locked(service, actor=actor)
    ended = _end_slot(actor, service, slot)
    if not ended:
        raise NotFound(f"The {slot} slot of {service} has no key.")
    return ended


@transaction.atomic
def end_api_key(*, actor: Actor, key: ApiKey, expected_row_version: int | None = None) -> list[ApiKey]:
    """End this key: a current one with its whole slot, an outgoing one alone.

    Refused everywhere within 2 s. Raises Conflict when it was revoked already, and VersionConflict.
    """
    require(actor, "api_key:revoke", key.service)
    service = Service.objects.locked(key.service, actor=actor)
    key = _locked_key(service, key.pk, expected_row_version)
    if not key.is_outgoing:
        return _end_slot(actor, service, key.slot)
    _end(actor, key, timezone.now())
    return [key]


def _end_slot(actor: Actor, service: Service, slot: str) -> list[ApiKey]:
    # The current one first: it is the one that a caller means.
    found = list(
        ApiKey.objects.select_for_update(of=("self",))
        .filter(service=service, slot=slot, revoked_at=None)
        .order_by("is_outgoing")
    )
    for key in found:
        key.service = service
        _end(actor, key, timezone.now())
    return found


def _end(actor: Actor, key: ApiKey, now: datetime) -> None:
    key.revoked_at = now
    key.save(update_fields=["revoked_at"])
    record(
        actor=actor,
        action=Action.API_KEY_REVOKED,
        target=key.audit_target(),
        changes={"revoked": [False, True]},
    )
    announce(event=ChangeEvent.CREDENTIAL_CHANGED, service_id=key.service_id, credential_id=key.pk)
