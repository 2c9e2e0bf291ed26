"""Access tokens and service accounts: how people let programs manage things in their stead."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from django.db import transaction
from django.utils import timezone

from apps.audit.events import Action
from apps.audit.operations import record
from apps.core import crypto, keys
from apps.core.access import (
    TOKEN_PERMISSIONS,
    TenantRole,
    allows,
    held_somewhere,
    require,
    require_presence,
)
from apps.core.actor import Actor, ActorType
from apps.core.errors import AlreadyExists, InvalidInput, NotFound, NotPermitted, VersionConflict
from apps.core.models import Purpose
from apps.core.names import require_name, require_slug
from apps.tenancy.models import AccessToken, ServiceAccount, Tenant, TenantMember, User
from apps.tenancy.operations import locked_tenant
from apps.tenancy.tokens import new_text, row_mac

# SPEC 10: no token lives longer.
TOKEN_MAX_AGE = timedelta(days=365)
TOKEN_NAME_MAX_LENGTH = 100
DESCRIPTION_MAX_LENGTH = 255
# Nobody receives mail there (RFC 2606 section 2).
_ACCOUNT_DOMAIN = "service-account.invalid"


@transaction.atomic
def create_service_account(
    *, actor: Actor, tenant: Tenant, name: str, description: str = ""
) -> ServiceAccount:
    """Make a non-person actor of the tenant. It has no right until it has a role in a project.

    Raises AlreadyExists, and InvalidInput for a name that is no slug.
    """
    require(actor, "tenant:manage_members", tenant)
    require_slug(name, field="name")
    description = _require_description(description)
    tenant = locked_tenant(tenant)
    if ServiceAccount.objects.filter(tenant=tenant, name=name).exists():
        raise AlreadyExists(f"{tenant.slug} has a service account {name} already.")
    user = User(email=f"{name}@{tenant.slug}.{_ACCOUNT_DOMAIN}", name=name, is_service_account=True)
    user.set_unusable_password()
    user.save()
    TenantMember.objects.create(tenant=tenant, user=user, role=TenantRole.MEMBER)
    account = ServiceAccount.objects.create(tenant=tenant, user=user, name=name, description=description)
    record(
        actor=actor,
        action=Action.SERVICE_ACCOUNT_CREATED,
        target=account.audit_target(),
        changes={"name": [None, name], "email": [None, user.email]},
    )
    return account


def _require_description(text: str) -> str:
    text = text.strip()
    if len(text) > DESCRIPTION_MAX_LENGTH or not text.isprintable():
        raise InvalidInput.of("description", f"Give at most {DESCRIPTION_MAX_LENGTH} printable characters.")
    return text


def _locked_account(account: ServiceAccount, expected_row_version: int | None) -> ServiceAccount:
    found = ServiceAccount.objects.of_automation().select_for_update(of=("self",))
    row = found.select_related("user", "tenant").filter(pk=account.pk).first()
    if row is None:
        raise NotFound
    if expected_row_version is not None and row.row_version != expected_row_version:
        raise VersionConflict
    return row


@transaction.atomic
def change_service_account(
    *, actor: Actor, account: ServiceAccount, description: str, expected_row_version: int | None = None
) -> ServiceAccount:
    """Say anew what the account is for, in at most 255 characters; its name stays.

    Raises NotPermitted, InvalidInput, NotFound when it ended meanwhile, and VersionConflict.
    """
    require(actor, "tenant:manage_members", account.tenant)
    description = _require_description(description)
    account = _locked_account(account, expected_row_version)
    before = account.description
    if before == description:
        return account
    account.description = description
    account.save(update_fields=["description"])
    record(
        actor=actor,
        action=Action.SERVICE_ACCOUNT_UPDATED,
        target=account.audit_target(),
        changes={"description": [before, description]},
    )
    return account


@transaction.atomic
def delete_service_account(
    *, actor: Actor, account: ServiceAccount, expected_row_version: int | None = None
) -> None:
    """End a service account: its tokens are refused at their next use, its roles are gone.

    Raises NotPermitted, NotFound when it ended meanwhile, and VersionConflict.
    """
    require(actor, "tenant:manage_members", account.tenant)
    account = _locked_account(account, expected_row_version)
    record(
        actor=actor,
        action=Action.SERVICE_ACCOUNT_DELETED,
        target=account.audit_target(),
        changes={"name": [account.name, None]},
    )
    user = account.user
    account.delete()
    # Memberships, grants and tokens go with it.
    user.delete()


def _require_may_manage_tokens(actor: Actor, bearer: User) -> None:
    """People manage their own tokens, owners those of their tenant's service accounts, both in a session."""
    if actor.type is not ActorType.OPERATOR:
        raise NotPermitted("Tokens are managed by people in a session.", permission="access_token:manage")
    if actor.user_id == bearer.pk:
        return
    account = ServiceAccount.objects.of_automation().select_related("tenant").filter(user=bearer).first()
    if account is None or not allows(actor, "tenant:manage_members", account.tenant):
        raise NotFound


@transaction.atomic
def issue_access_token(
    *, actor: Actor, bearer: User, name: str, scopes: Sequence[str], expires_at: datetime
) -> tuple[AccessToken, str]:
    """Issue a token and return it with its text, which is never shown again.

    `name` has at most 100 characters. `scopes` are permissions; what counts at each use is those that
    the bearer then still has. `expires_at` lies at most 365 days ahead. Raises
    ReauthenticationRequired, NotPermitted for a scope that `actor` lacks everywhere, and InvalidInput.
    """
    _require_may_manage_tokens(actor, bearer)
    require_presence(actor)
    name = require_name(name)
    if len(name) > TOKEN_NAME_MAX_LENGTH:
        raise InvalidInput.of("name", f"Give at most {TOKEN_NAME_MAX_LENGTH} characters.")
    now = timezone.now()
    if not now < expires_at <= now + TOKEN_MAX_AGE:
        raise InvalidInput.of("expires_at", f"Give a time within the next {TOKEN_MAX_AGE.days} days.")
    wanted = sorted(set(scopes))
    unknown = [scope for scope in wanted if scope not in TOKEN_PERMISSIONS]
    if unknown or not wanted:
        raise InvalidInput.of(
            "scopes",
            f"Choose of {', '.join(sorted(TOKEN_PERMISSIONS))}."
            if not unknown
            else f"No token can carry {unknown[0]}.",
        )
    lacking = sorted(set(wanted) - held_somewhere(actor, wanted))
    if lacking:
        raise NotPermitted(
            f"You cannot put {lacking[0]} into a token: you have it nowhere.", permission=lacking[0]
        )
    pepper = keys.server_key(Purpose.API_KEY_PEPPER)
    text = new_text()
    token = AccessToken(
        user=bearer,
        name=name,
        last4=text[-4:],
        digest=crypto.keyed_digest(pepper.secret, text.encode()),
        pepper_id=pepper.id,
        scopes=wanted,
        expires_at=expires_at,
    )
    token.mac = row_mac(pepper, token)
    token.save()
    record(
        actor=actor,
        action=Action.ACCESS_TOKEN_ISSUED,
        target=token.audit_target(),
        changes={
            "bearer": [None, bearer.email],
            "scopes": [None, wanted],
            "expires_at": [None, expires_at.isoformat()],
        },
    )
    return token, text


@transaction.atomic
def revoke_access_token(
    *, actor: Actor, token: AccessToken, expected_row_version: int | None = None
) -> AccessToken:
    """End a token: it is refused at its next use. Revoking twice is once.

    Raises NotPermitted, NotFound, and VersionConflict.
    """
    _require_may_manage_tokens(actor, token.user)
    found = AccessToken.objects.select_for_update(of=("self",)).select_related("user").filter(pk=token.pk)
    locked = found.first()
    if locked is None:
        raise NotFound
    token = locked
    if expected_row_version is not None and token.row_version != expected_row_version:
        raise VersionConflict
    if token.revoked_at is None:
        token.revoked_at = timezone.now()
        token.save(update_fields=["revoked_at"])
        record(
            actor=actor,
            action=Action.ACCESS_TOKEN_REVOKED,
            target=token.audit_target(),
            changes={"revoked": [False, True]},
        )
    return token
