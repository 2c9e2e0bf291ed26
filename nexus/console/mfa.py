"""The second factor: a code that changes every 30 seconds (TOTP, RFC 6238), or a recovery code.

allauth keeps the rows and knows the arithmetic. What is stored is sealed for the person it belongs
to, a code counts once, and each change is an operation with its event.
"""

import base64
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from allauth.core.internal.cryptokit import compare_user_code
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import TOTP, format_hotp_value, generate_totp_secret, hotp_value
from django.conf import settings
from django.db import transaction
from django.utils import timezone

from apps.audit.events import Action
from apps.audit.operations import record
from apps.core import crypto, keys
from apps.core.access import require_presence
from apps.core.actor import Actor, ActorType
from apps.core.errors import Conflict, InvalidInput, NotFound, NotPermitted, Unreadable
from apps.core.models import Purpose, ServerKey
from apps.tenancy.models import User

STEP_SECONDS = 30
# RFC 6238 section 5.2: one step for a slow network or a slow typist, either way of the clock.
STEPS_OFF = 1
# A set-up page that was left open longer shows a new secret.
SET_UP_SECONDS = 15 * 60

# allauth's hooks for sealing are not told whose secret it is; each call here says it around them.
_owner: ContextVar[tuple[str, str] | None] = ContextVar("nexus_mfa_owner", default=None)


@contextmanager
def _sealing_for(user: User, kind: str) -> Iterator[None]:
    token = _owner.set((str(user.pk), kind))
    try:
        yield
    finally:
        _owner.reset(token)


def _binding(key_id: UUID, owner: tuple[str, str]) -> bytes:
    return crypto.length_prefixed("nexus.mfa.1", str(key_id), *owner)


class SealingAdapter(DefaultMFAAdapter):  # type: ignore[misc] # allauth has no types
    """Seals what allauth stores: a row copied to another person does not open there."""

    def encrypt(self, text: str) -> str:
        key = keys.server_key(Purpose.MFA)
        sealed = crypto.seal(key.secret, text.encode(), bound_to=_binding(key.id, self._owner()))
        return f"{key.id}.{base64.urlsafe_b64encode(sealed).decode('ascii')}"

    def decrypt(self, encrypted_text: str) -> str:
        """Raises Unreadable when the text was changed, or sealed for somebody else."""
        owner = self._owner()
        key_id, _, sealed = encrypted_text.partition(".")
        try:
            key = keys.server_key_by_id(UUID(key_id))
            data = base64.urlsafe_b64decode(sealed)
            return crypto.unseal(key.secret, data, bound_to=_binding(key.id, owner)).decode()
        except (ValueError, crypto.DoesNotOpen, ServerKey.DoesNotExist):
            raise Unreadable(
                "The stored second factor does not open. Whoever runs Nexus can reset it."
            ) from None

    def get_totp_issuer(self) -> str:
        return f"Nexus {urlsplit(settings.NEXUS_PUBLIC_URL).hostname or ''}".strip()

    def _owner(self) -> tuple[str, str]:
        owner = _owner.get()
        if owner is None:
            raise RuntimeError("A second factor is sealed and opened by nexus.console.mfa alone.")
        return owner


# ---- what there is


def _rows(user: User) -> Any:
    return Authenticator.objects.filter(user_id=user.pk)


def has_second_factor(user: User) -> bool:
    return bool(_rows(user).filter(type=Authenticator.Type.TOTP).exists())


def recovery_codes_left(user: User) -> int:
    """How many codes still count; their text is not made for that."""
    row = _rows(user).filter(type=Authenticator.Type.RECOVERY_CODES).first()
    if row is None:
        return 0
    return int(settings.MFA_RECOVERY_CODE_COUNT) - int(row.data["used_mask"]).bit_count()


def unreadable_factors() -> list[int]:
    """Numbers of the rows that do not open; what they hold is not kept."""
    failed = []
    for row in Authenticator.objects.select_related("user").order_by("pk").iterator(500):
        try:
            with _sealing_for(row.user, row.type):
                for name in ("secret", "seed"):
                    if name in row.data:
                        SealingAdapter().decrypt(row.data[name])
        except Unreadable:
            failed.append(row.pk)
    return failed


# ---- proving


def _matching_step(secret: str, code: str, *, after: int) -> int | None:
    """The 30-second step whose code this is, if it is near now and later than `after`."""
    now = int(time.time()) // STEP_SECONDS
    for step in range(now - STEPS_OFF, now + STEPS_OFF + 1):
        expected = format_hotp_value(hotp_value(secret, step))
        if step > after and compare_user_code(actual=code, expected=expected):
            return step
    return None


@transaction.atomic
def spend_code(user: User, code: str) -> Authenticator | None:
    """What `code` proves `user` by, and the code spent with it; None when it proves nothing.

    A TOTP code counts once, and so does every earlier one (RFC 6238 section 5.2): the row itself
    remembers the last step, so that no cache has to. Raises Unreadable.
    """
    rows = {row.type: row for row in _rows(user).select_for_update()}
    totp = rows.get(Authenticator.Type.TOTP)
    if totp is None:
        # Recovery codes stand in for a TOTP code; by themselves they are no second factor.
        return None
    with _sealing_for(user, Authenticator.Type.TOTP):
        secret = SealingAdapter().decrypt(totp.data["secret"])
    step = _matching_step(secret, code, after=totp.data["last_step"])
    if step is not None:
        totp.data["last_step"] = step
        return _used(totp)
    recovery = rows.get(Authenticator.Type.RECOVERY_CODES)
    if recovery is not None:
        codes = RecoveryCodes(recovery)
        with _sealing_for(user, Authenticator.Type.RECOVERY_CODES):
            if codes.validate_code(code):
                return _used(codes.instance)
    return None


def _used(row: Authenticator) -> Authenticator:
    row.last_used_at = timezone.now()
    row.save(update_fields=["data", "last_used_at"])
    return row


# ---- setting up


def new_secret(user: User) -> tuple[str, str]:
    """A secret for the authenticator, and the same sealed, for the page to bring back.

    Until a code of it was given it is stored nowhere, in the session as little as in a table.
    """
    secret = generate_totp_secret()
    with _sealing_for(user, "set-up"):
        return secret, SealingAdapter().encrypt(f"{int(time.time())} {secret}")


def secret_of(user: User, sealed: str) -> str | None:
    """The secret that a set-up page brings back; None when it is too old or not this person's."""
    try:
        with _sealing_for(user, "set-up"):
            made_at, _, secret = SealingAdapter().decrypt(sealed).partition(" ")
    except Unreadable:
        return None
    return secret if time.time() - int(made_at) < SET_UP_SECONDS else None


def qr_code(user: User, secret: str) -> str:
    """The secret as a picture for an authenticator: a data address, which the policy allows."""
    adapter = SealingAdapter()
    svg = adapter.build_totp_svg(adapter.build_totp_url(user, secret))
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode("ascii")


# ---- operations


def _require_oneself(actor: Actor, user: User) -> User:
    """The locked row of `user`. Nobody sets up, or ends, another's second factor."""
    if actor.user_id is None or actor.user_id != user.pk:
        raise NotPermitted("A second factor is changed by the person whose it is.", target=user)
    require_presence(actor)
    return User.objects.select_for_update(no_key=True).get(pk=user.pk)


@transaction.atomic
def enable_second_factor(*, actor: Actor, user: User, secret: str, code: str) -> list[str]:
    """From now on the log-in of `user` asks for codes of `secret`. Return the recovery codes.

    They are shown once; the database holds what makes them, sealed. Raises NotPermitted,
    ReauthenticationRequired, Conflict where there is a second factor, and InvalidInput for a code
    that is not of this secret.
    """
    user = _require_oneself(actor, user)
    if has_second_factor(user):
        raise Conflict("There is a second factor already. Turn it off before setting up another.")
    step = _matching_step(secret, code, after=-1)
    if step is None:
        raise InvalidInput.of("code", "This code does not fit. Check the clock of your device.")
    with _sealing_for(user, Authenticator.Type.TOTP):
        row = TOTP.activate(user, secret).instance
    row.data["last_step"] = step
    row.save(update_fields=["data"])
    record(actor=actor, action=Action.MFA_ENABLED, target=user.audit_target(), changes={"method": "totp"})
    return _new_recovery_codes(actor, user)


@transaction.atomic
def disable_second_factor(*, actor: Actor, user: User) -> None:
    """The log-in of `user` asks for the password alone; the recovery codes end too.

    Raises NotPermitted, ReauthenticationRequired, and NotFound where there is no second factor.
    """
    _take_away(actor, _require_oneself(actor, user))


def _take_away(actor: Actor, user: User) -> None:
    if not has_second_factor(user):
        raise NotFound("There is no second factor to turn off.")
    _rows(user).delete()
    record(actor=actor, action=Action.MFA_DISABLED, target=user.audit_target(), changes={"method": "totp"})


@transaction.atomic
def reset_second_factor(*, actor: Actor, user: User) -> None:
    """Take the second factor of `user` away, for somebody who lost device and recovery codes.

    Only a command on the host may: whoever could do it from the console would be worth attacking for
    it. Raises NotPermitted, and NotFound where there is none.
    """
    if actor.type is not ActorType.COMMAND:
        raise NotPermitted("A second factor is reset by a command on the host.", target=user)
    user = User.objects.select_for_update(no_key=True).get(pk=user.pk)
    _take_away(actor, user)


@transaction.atomic
def renew_recovery_codes(*, actor: Actor, user: User) -> list[str]:
    """Return ten new recovery codes; the earlier ones end.

    Raises NotPermitted, ReauthenticationRequired, and NotFound where there is no second factor.
    """
    user = _require_oneself(actor, user)
    if not has_second_factor(user):
        raise NotFound("Recovery codes stand in for a second factor. Set one up first.")
    return _new_recovery_codes(actor, user)


def _new_recovery_codes(actor: Actor, user: User) -> list[str]:
    _rows(user).filter(type=Authenticator.Type.RECOVERY_CODES).delete()
    with _sealing_for(user, Authenticator.Type.RECOVERY_CODES):
        codes: list[str] = RecoveryCodes.activate(user).generate_codes()
    record(
        actor=actor,
        action=Action.RECOVERY_CODES_GENERATED,
        target=user.audit_target(),
        changes={"codes": len(codes)},
    )
    return codes
