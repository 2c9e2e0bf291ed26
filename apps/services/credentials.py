"""Is this credential good? One answer for delivery, which asks its memory, and for control, which
asks the database.

An API key is `sk_live_` (backend) or `pk_live_` (frontend), 56 random hex digits, and the CRC-32
of all before it as 8 hex digits: a typo, or a leaked key in somebody's repository, is recognised
without a look-up.
"""

import logging
import re
import secrets
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

from django.db.models import Q

from apps.core import crypto, keys
from apps.core.access import permissions_of_scopes
from apps.core.actor import Actor, ActorType, Origin
from apps.core.client_address import Network, is_inside, parse_address, parse_networks
from apps.core.errors import AuthenticationRequired, Conflict, InvalidCredential, PaymentRequired
from apps.core.models import Purpose
from apps.services.models import ApiKey, Kind

logger = logging.getLogger(__name__)

PREFIXES = {Kind.BACKEND.value: "sk_live_", Kind.FRONTEND.value: "pk_live_"}
_RANDOM_BYTES = 28  # 56 hex digits, 224 bits
_KEY = re.compile(r"([sp]k_live_[0-9a-f]{56})([0-9a-f]{8})\Z", re.ASCII)
_KEY_IN_URL = re.compile(r"[sp]k_live_|nxp_", re.ASCII)


def _checksum(body: str) -> str:
    return f"{zlib.crc32(body.encode()):08x}"


def new_key_text(kind: str) -> str:
    """A fresh key for a service of `kind`. It is shown once and never stored."""
    body = PREFIXES[kind] + secrets.token_hex(_RANDOM_BYTES)
    return body + _checksum(body)


def is_well_formed(text: str) -> bool:
    """Whether `text` has the form of a key and its checksum fits."""
    match = _KEY.match(text)
    return match is not None and secrets.compare_digest(_checksum(match[1]), match[2])


def presented_key(
    *, api_key_headers: Sequence[str], authorization_headers: Sequence[str], query_string: str
) -> str:
    """The one credential that a request carries.

    `X-Nexus-API-Key`, `X-API-Key` and `Authorization: Bearer` mean the same. Raises
    AuthenticationRequired when there is none, InvalidCredential when there is more than one, or
    one in the URL, where logs and histories would keep it.
    """
    if query_string and _KEY_IN_URL.search(query_string):
        raise InvalidCredential
    given = list(api_key_headers)
    for value in authorization_headers:
        scheme, _, token = value.partition(" ")
        if scheme.lower() != "bearer":
            raise InvalidCredential
        given.append(token.strip())
    if not given:
        raise AuthenticationRequired
    if len(given) > 1 or not given[0]:
        raise InvalidCredential
    return given[0]


@dataclass(slots=True, eq=False)
class Credential:
    """A current key of a live service, as both doors know it.

    `expires_at` is in Unix seconds: the key's own expiry or the end of its overlap, whichever
    comes first. `used` is set by readers and cleared by whoever writes down the last use.
    """

    id: UUID
    digest: bytes
    service_id: UUID
    project_id: UUID
    tenant_id: UUID
    kind: str
    name: str
    scopes: frozenset[str]
    expires_at: float | None
    networks: tuple[Network, ...]
    tenant_suspended: bool
    # To the minute; as of the load.
    last_used_at: datetime | None = None
    used: bool = False
    # Whether `require_good` has anything to check; most keys never expire and come from anywhere.
    restricted: bool = field(init=False)
    service_key: int = field(init=False)

    def __post_init__(self) -> None:
        self.service_key = self.service_id.int
        self.restricted = bool(self.expires_at is not None or self.networks or self.tenant_suspended)

    def require_good(self, *, now: float, address: str) -> None:
        """Raise InvalidCredential or PaymentRequired unless it may be used now from `address`.

        Whatever else is wrong is said before the suspension: only a good key learns of it.
        """
        if self.expires_at is not None and now >= self.expires_at:
            raise InvalidCredential
        if self.networks and not is_inside(parse_address(address), self.networks):
            raise InvalidCredential
        if self.tenant_suspended:
            raise PaymentRequired

    def actor(self, origin: Origin) -> Actor:
        return Actor(
            type=ActorType.API_KEY,
            id=str(self.id),
            name=self.name,
            origin=origin,
            service_id=self.service_id,
            permissions=permissions_of_scopes(self.scopes),
        )


def digests_of(text: str, peppers: Iterable[keys.Key]) -> list[bytes]:
    return [crypto.keyed_digest(pepper.secret, text.encode()) for pepper in peppers]


def row_mac(pepper: keys.Key, row: ApiKey, kind: str) -> bytes:
    """What binds a key's row: whoever can write the table cannot make or widen a key."""
    return crypto.mac(
        pepper.secret,
        "nexus.api-key-row.1",
        bytes(row.digest),
        str(row.service_id),
        kind,
        ",".join(sorted(row.scopes)),
        row.expires_at.astimezone(UTC).isoformat() if row.expires_at else "",
        ",".join(row.allowed_networks),
    )


def unbroken_pepper(row: ApiKey) -> keys.Key:
    """The pepper that `row` is sealed under. Raises Conflict unless the row is what was written."""
    peppers = (each for each in keys.server_keys(Purpose.API_KEY_PEPPER) if each.id == row.pepper_id)
    pepper = next(peppers, None)
    if pepper is None or not crypto.same(bytes(row.mac), row_mac(pepper, row, row.service.kind)):
        raise Conflict("This key is refused already: its row is not what was written. Revoke it.")
    return pepper


# A key works while neither it nor anything that it hangs on is gone.
LIVE = Q(
    revoked_at=None,
    service__deleted_at=None,
    service__disabled_at=None,
    service__project__deleted_at=None,
    service__project__tenant__deleted_at=None,
)


def load(which: Q, *, using: str = "default", serving: Iterable[keys.Key] | None = None) -> list[Credential]:
    """The live credentials that match `which`. A row whose MAC does not hold is left out and logged.

    `serving` are the peppers, where the caller has them.
    """
    serving = keys.server_keys(Purpose.API_KEY_PEPPER) if serving is None else serving
    peppers = {pepper.id: pepper for pepper in serving}
    rows = (
        ApiKey.objects.using(using)
        .filter(LIVE, which)
        .select_related("service__project__tenant")
        .only(
            *(field.name for field in ApiKey._meta.concrete_fields),
            "service__kind",
            "service__project__tenant__suspended_at",
        )
    )
    return [found for row in rows.iterator(2000) if (found := _credential(row, peppers)) is not None]


def _credential(row: ApiKey, peppers: dict[UUID, keys.Key]) -> Credential | None:
    service = row.service
    pepper = peppers.get(row.pepper_id)
    if pepper is None or not crypto.same(bytes(row.mac), row_mac(pepper, row, service.kind)):
        logger.error("API key %s is refused: its row is not what was written.", row.id)
        return None
    ends = [at.timestamp() for at in (row.expires_at, row.ends_at) if at is not None]
    return Credential(
        id=row.id,
        digest=bytes(row.digest),
        service_id=service.id,
        project_id=service.project_id,
        tenant_id=service.project.tenant_id,
        kind=service.kind,
        name=str(row),
        scopes=frozenset(row.scopes),
        expires_at=min(ends) if ends else None,
        networks=parse_networks(row.allowed_networks),
        tenant_suspended=service.project.tenant.suspended_at is not None,
        last_used_at=row.last_used_at,
    )


def find_in_database(text: str) -> Credential:
    """The credential whose text is `text`. Raises InvalidCredential when there is none."""
    if not is_well_formed(text):
        raise InvalidCredential
    for peppers in keys.looks(Purpose.API_KEY_PEPPER):
        found = load(Q(digest__in=digests_of(text, peppers)), serving=peppers)
        if len(found) == 1:
            return found[0]
    raise InvalidCredential
