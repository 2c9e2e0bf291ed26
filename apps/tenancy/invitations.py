"""What an invitation's mail carries: computed from its row, stored nowhere.

`nxi_` and base64url of the id's 16 bytes and an HMAC-SHA-256 under the server key of invitations,
over all that must hold: id, address, expiry, tenant. Whoever reads the tables cannot make one, and
a row that was edited takes none.
"""

import base64
import binascii
from datetime import UTC
from uuid import UUID

from apps.core import crypto, keys
from apps.core.errors import NotFound
from apps.core.models import Purpose
from apps.tenancy.models import Invitation

PREFIX = "nxi_"
_ID_BYTES, _MAC_BYTES = 16, 32
# Of base64url without padding: 48 bytes are 64 characters.
_TEXT_LENGTH = len(PREFIX) + 64


def _mac(key: keys.Key, invitation: Invitation) -> bytes:
    return crypto.mac(
        key.secret,
        "nexus.invitation.1",
        str(invitation.pk),
        invitation.email,
        invitation.expires_at.astimezone(UTC).isoformat(timespec="microseconds"),
        str(invitation.tenant_id),
    )


def token_of(invitation: Invitation) -> str:
    """The token of the invitation, for its mail alone."""
    data = invitation.pk.bytes + _mac(keys.server_key(Purpose.INVITATION), invitation)
    return PREFIX + base64.urlsafe_b64encode(data).decode("ascii")


def invitation_of(token: str) -> Invitation:
    """The invitation that `token` was made for, in whatever state it is, with its tenant and sender.

    Raises NotFound alike for a token that is none and for one of another row.
    """
    if len(token) != _TEXT_LENGTH or not token.startswith(PREFIX):
        raise NotFound
    try:
        data = base64.b64decode(token.removeprefix(PREFIX), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise NotFound from None
    if len(data) != _ID_BYTES + _MAC_BYTES:
        raise NotFound
    found = (
        Invitation.objects.select_related("tenant", "invited_by")
        .filter(pk=UUID(bytes=data[:_ID_BYTES]), tenant__deleted_at=None)
        .first()
    )
    if found is None:
        raise NotFound
    given = data[_ID_BYTES:]
    if not any(crypto.same(_mac(key, found), given) for key in keys.server_keys(Purpose.INVITATION)):
        raise NotFound
    return found
