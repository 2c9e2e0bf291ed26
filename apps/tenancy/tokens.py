"""Access tokens: their form, and whether one is good.

`nxp_` and 64 hex digits: 56 random, then the CRC-32 of all before it as 8, as keys of services
have it, so that a typo is refused and a leaked token recognised without a look-up.
"""

import re
import secrets
import zlib
from datetime import UTC

from django.db.models import Q, QuerySet
from django.utils import timezone

from apps.core import crypto, keys, prepared
from apps.core.actor import ActorType
from apps.core.errors import InvalidCredential
from apps.core.models import Purpose
from apps.tenancy.models import AccessToken

PREFIX = "nxp_"
_RANDOM_BYTES = 28  # 56 hex digits, 224 bits
_TOKEN = re.compile(r"(nxp_[0-9a-f]{56})([0-9a-f]{8})\Z", re.ASCII)


def new_text() -> str:
    """A fresh token. It is shown once and never stored."""
    body = PREFIX + secrets.token_hex(_RANDOM_BYTES)
    return body + f"{zlib.crc32(body.encode()):08x}"


def is_well_formed(text: str) -> bool:
    match = _TOKEN.match(text)
    return match is not None and secrets.compare_digest(f"{zlib.crc32(match[1].encode()):08x}", match[2])


def row_mac(pepper: keys.Key, row: AccessToken) -> bytes:
    return crypto.mac(
        pepper.secret,
        "nexus.access-token-row.1",
        bytes(row.digest),
        str(row.user_id),
        ",".join(sorted(row.scopes)),
        row.expires_at.astimezone(UTC).isoformat(),
    )


def good_token(text: str) -> AccessToken:
    """The live token of this text, with its bearer. Raises InvalidCredential for everything else."""
    if not is_well_formed(text):
        raise InvalidCredential
    row, pepper = _found(text)
    now = timezone.now()
    if row is None or row.revoked_at or row.expires_at <= now or not row.user.is_active:
        raise InvalidCredential
    # Automation stops with its tenant, and goes on if that is restored.
    if row.user.is_service_account and row.user.service_account.tenant.deleted_at is not None:
        raise InvalidCredential
    if pepper is None or not secrets.compare_digest(row_mac(pepper, row), bytes(row.mac)):
        raise InvalidCredential
    # To the minute, as SPEC 4 says of keys: a write for each use would be a write for each read.
    minute = now.replace(second=0, microsecond=0)
    if row.last_used_at is None or row.last_used_at < minute:
        AccessToken.objects.filter(Q(last_used_at=None) | Q(last_used_at__lt=minute), pk=row.pk).update(
            last_used_at=now
        )
    return row


def _found(text: str) -> tuple[AccessToken | None, keys.Key | None]:
    """The row of this text and the pepper that it names, whatever else is wrong with it."""
    for peppers in keys.looks(Purpose.API_KEY_PEPPER):
        digests = tuple(crypto.keyed_digest(pepper.secret, text.encode()) for pepper in peppers)
        for row in prepared.fetch("tenancy.tokens", _by_digest, digests):
            return row, next((each for each in peppers if each.id == row.pepper_id), None)
    return None, None


def _by_digest(digests: tuple[bytes, ...]) -> "QuerySet[AccessToken]":
    return AccessToken.objects.select_related("user__service_account__tenant").filter(digest__in=digests)


def actor_type(token: AccessToken) -> ActorType:
    return ActorType.SERVICE_ACCOUNT if token.user.is_service_account else ActorType.ACCESS_TOKEN
