"""Make people and tenants, and say who belongs to which."""

import secrets
from datetime import timedelta
from uuid import UUID

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import IntegrityError, transaction
from django.utils import timezone

from apps.audit.events import Action
from apps.audit.operations import record
from apps.core.access import TenantRole, allows, require, require_here, require_presence
from apps.core.actor import Actor
from apps.core.changes import ChangeEvent, announce
from apps.core.errors import (
    AlreadyExists,
    Conflict,
    InvalidInput,
    LastOwner,
    NotFound,
    NotPermitted,
    VersionConflict,
)
from apps.core.names import require_name, require_slug
from apps.tenancy.departures import depart
from apps.tenancy.models import Invitation, Tenant, TenantMember, User
from apps.tenancy.staying import require_giver_stays

# 18 random bytes: 144 bits, typed by hand once.
PASSWORD_BYTES = 18
EMAIL_MAX_LENGTH = 254
# SPEC 4: what is deleted softly can be restored for so long.
RESTORABLE = timedelta(days=30)
# From the most to the least; being lowered takes grants and invitations as being removed does.
_RANKS = list(TenantRole)


def normalised_email(email: str) -> str:
    """`email` in lower case. Raises InvalidInput for what is no address."""
    email = email.strip().lower()
    try:
        validate_email(email)
        if len(email) > EMAIL_MAX_LENGTH:
            raise ValidationError("too long")
    except ValidationError:
        raise InvalidInput.of("email", "Give an e-mail address such as ada@example.org.") from None
    return email


def operator_with(email: str) -> User:
    """The active operator with this address. Raises NotFound when there is none."""
    user = User.objects.filter(email=normalised_email(email), is_active=True).first()
    if user is None:
        raise _no_operator(email)
    return user


def _no_operator(email: str) -> NotFound:
    return NotFound(f"There is no operator {email}. Make one with create_operator first.")


@transaction.atomic
def create_operator(
    *, actor: Actor, email: str, name: str = "", superuser: bool = False, must_change_password: bool = True
) -> tuple[User, str]:
    """Make a person who may enter the console, with a random password that is returned once.

    Raises AlreadyExists when the address is taken, and ReauthenticationRequired.
    """
    require_here(actor, "account:manage")
    require_presence(actor)
    email = normalised_email(email)
    name = require_name(name) if name else ""
    taken = AlreadyExists(f"There is an operator {email} already.")
    if User.objects.filter(email=email).exists():
        raise taken
    password = secrets.token_urlsafe(PASSWORD_BYTES)
    user = User(email=email, name=name, is_superuser=superuser, must_change_password=must_change_password)
    user.set_password(password)
    try:
        with transaction.atomic():
            user.save(force_insert=True)
    except IntegrityError:
        # Made between the look and the write.
        raise taken from None
    record(
        actor=actor,
        action=Action.OPERATOR_CREATED,
        target=user.audit_target(),
        changes={"email": [None, email], "is_superuser": [None, superuser]},
    )
    return user, password


@transaction.atomic
def change_own_password(*, actor: Actor, user: User, new_password: str, current_password: str = "") -> User:
    """Give `user` the new password. It ends all sessions but the one whose hash the caller renews.

    Only the person changes it, and proves it by the current password or by presence. Raises
    NotPermitted, ReauthenticationRequired, and InvalidInput for a wrong current password, for a new
    one that AUTH_PASSWORD_VALIDATORS refuse, and for the same one again.
    """
    if actor.user_id is None or actor.user_id != user.pk:
        raise NotPermitted("A password is changed by the person whose it is.", target=user)
    user = User.objects.select_for_update(no_key=True).get(pk=user.pk)
    if not current_password:
        require_presence(actor)
    elif not user.check_password(current_password):
        raise InvalidInput.of("current_password", "This is not your present password.")
    if user.check_password(new_password):
        raise InvalidInput.of("new_password", "This is the password that you have now. Choose another.")
    try:
        validate_password(new_password, user)
    except ValidationError as error:
        raise InvalidInput({"new_password": error.messages}) from None
    user.set_password(new_password)
    user.must_change_password = False
    user.save(update_fields=["password", "must_change_password"])
    record(actor=actor, action=Action.PASSWORD_CHANGED, target=user.audit_target())
    return user


@transaction.atomic
def create_tenant(*, actor: Actor, slug: str, name: str = "", owner: User) -> Tenant:
    """Make a tenant whose first owner is `owner`.

    Raises AlreadyExists when the slug is taken, also by a tenant deleted less than 30 days ago.
    """
    require_here(actor, "tenant:create")
    require_slug(slug)
    name = require_name(name) if name else slug
    if owner.is_service_account:
        raise InvalidInput.of("owner", "A service account owns nothing; name a person.")
    taken = AlreadyExists(
        f"There is a tenant {slug} already, or one was deleted recently. Choose another slug."
    )
    if Tenant.objects.filter(slug=slug).exists():
        raise taken
    try:
        with transaction.atomic():
            tenant = Tenant.objects.create(slug=slug, name=name)
    except IntegrityError:
        raise taken from None
    TenantMember.objects.create(tenant=tenant, user=owner, role=TenantRole.OWNER)
    record(
        actor=actor,
        action=Action.TENANT_CREATED,
        target=tenant.audit_target(),
        changes={"slug": [None, slug], "name": [None, tenant.name], "owner": [None, owner.email]},
    )
    announce(event=ChangeEvent.TENANT_CHANGED, tenant_id=tenant.pk)
    return tenant


def locked_tenant(tenant: Tenant) -> Tenant:
    """The live tenant under a lock that lasts to the end of the transaction. Raises NotFound.

    Taken before any project of it is locked, by whatever changes the tenant or who belongs to it.
    """
    found = Tenant.objects.select_for_update(no_key=True).live().filter(pk=tenant.pk).first()
    if found is None:
        raise NotFound
    return found


def require_version(row: Tenant | TenantMember | User, expected_row_version: int | None) -> None:
    """Raise VersionConflict when the locked `row` is not the one that was read (If-Match)."""
    if expected_row_version is not None and row.row_version != expected_row_version:
        raise VersionConflict


@transaction.atomic
def change_tenant(
    *, actor: Actor, tenant: Tenant, name: str, expected_row_version: int | None = None
) -> Tenant:
    """Give the tenant another name; its slug stays. Raises NotPermitted, InvalidInput, VersionConflict."""
    require(actor, "tenant:change", tenant)
    name = require_name(name)
    tenant = locked_tenant(tenant)
    require_version(tenant, expected_row_version)
    before = tenant.name
    if before == name:
        return tenant
    tenant.name = name
    tenant.save(update_fields=["name"])
    record(
        actor=actor,
        action=Action.TENANT_UPDATED,
        target=tenant.audit_target(),
        changes={"name": [before, name]},
    )
    return tenant


def _require_may_end(actor: Actor, tenant: Tenant, *, deleted: bool = False) -> None:
    """Owners end and restore their tenant, superusers every one."""
    if not allows(actor, "tenant:administer", tenant, deleted=deleted):
        require(actor, "tenant:delete", tenant, deleted=deleted)


@transaction.atomic
def delete_tenant(*, actor: Actor, tenant: Tenant, expected_row_version: int | None = None) -> Tenant:
    """Delete the tenant with all that is in it; owners and superusers may restore it for 30 days.

    Its keys stop at once, its slug stays reserved. Raises NotPermitted and VersionConflict.
    """
    _require_may_end(actor, tenant)
    tenant = locked_tenant(tenant)
    require_version(tenant, expected_row_version)
    tenant.deleted_at = timezone.now()
    tenant.purge_after = tenant.deleted_at + RESTORABLE
    tenant.save(update_fields=["deleted_at", "purge_after"])
    record(
        actor=actor,
        action=Action.TENANT_DELETED,
        target=tenant.audit_target(),
        changes={"deleted": [False, True], "purge_after": [None, tenant.purge_after.isoformat()]},
    )
    announce(event=ChangeEvent.TENANT_CHANGED, tenant_id=tenant.pk)
    return tenant


@transaction.atomic
def restore_tenant(*, actor: Actor, tenant: Tenant, expected_row_version: int | None = None) -> Tenant:
    """Bring a softly deleted tenant back, with all that was in it and still is.

    Raises NotPermitted, Conflict for one that is not deleted, NotFound for one whose 30 days are
    over, and VersionConflict.
    """
    _require_may_end(actor, tenant, deleted=True)
    found = Tenant.objects.select_for_update(no_key=True).filter(pk=tenant.pk).first()
    if found is None or (found.purge_after is not None and found.purge_after <= timezone.now()):
        raise NotFound
    require_version(found, expected_row_version)
    if found.deleted_at is None:
        raise Conflict(f"The tenant {found.slug} is not deleted.")
    found.deleted_at = found.purge_after = None
    found.save(update_fields=["deleted_at", "purge_after"])
    record(
        actor=actor,
        action=Action.TENANT_RESTORED,
        target=found.audit_target(),
        changes={"deleted": [True, False]},
    )
    announce(event=ChangeEvent.TENANT_CHANGED, tenant_id=found.pk)
    return found


# ---- who belongs to a tenant


def _locked_for_members(actor: Actor, tenant: Tenant, user: User, role: TenantRole | None = None) -> Tenant:
    """The locked tenant, for one who may say at this very moment what `user` is in it, and give `role`."""
    require(actor, "tenant:manage_members", tenant)
    if actor.user_id == user.pk:
        raise NotPermitted(
            "Nobody changes their own role.", permission="tenant:manage_members", target=tenant
        )
    if user.is_service_account:
        # Another tenant's automation is nothing to know of.
        if user.service_account.tenant_id != tenant.pk:
            raise _no_operator(user.email)
        raise InvalidInput.of("email", "A service account belongs to the tenant that made it, as a member.")
    tenant = locked_tenant(tenant)
    if actor.user_id is not None:
        # Roles were read at the door. Of two owners who remove each other at once, one comes second.
        still = TenantMember.objects.holding().filter(tenant=tenant, user=actor.user_id)
        if not still.filter(role=TenantRole.OWNER).exists():
            raise NotPermitted(permission="tenant:manage_members", target=tenant)
    if role is not None:
        require_giver_stays(actor, tenant, role)
    return tenant


@transaction.atomic
def set_tenant_member(*, actor: Actor, tenant: Tenant, user: User, role: TenantRole) -> TenantMember:
    """Give `user` the role in the tenant, whether or not they had one.

    Raises LastOwner when that would leave the tenant without an owner, and NotPermitted for one's own,
    and for owner and finance by one whose own membership ends.
    """
    tenant = _locked_for_members(actor, tenant, user, role)
    member = TenantMember.objects.filter(tenant=tenant, user=user).first()
    return _add(actor, tenant, user, role) if member is None else _change(actor, tenant, member, role)


@transaction.atomic
def add_tenant_member(*, actor: Actor, tenant: Tenant, user: User, role: TenantRole) -> TenantMember:
    """Let `user` join the tenant. Raises AlreadyExists for one who belongs to it, and NotPermitted.

    Owner and finance are given by those alone whose own membership stays.
    """
    tenant = _locked_for_members(actor, tenant, user, role)
    member = TenantMember.objects.filter(tenant=tenant, user=user).first()
    if member is None:
        return _add(actor, tenant, user, role)
    if member.ends_at is None:
        raise AlreadyExists(f"{user.email} belongs to {tenant.slug} already; change their role.")
    # What a superuser granted themselves ends by itself; an owner may let them stay.
    return _change(actor, tenant, member, role)


@transaction.atomic
def change_tenant_member(
    *, actor: Actor, member: TenantMember, role: TenantRole, expected_row_version: int | None = None
) -> TenantMember:
    """Give a member of the tenant another role; a lower one takes their extra grants and invitations.

    Raises LastOwner when the tenant would lose its last owner, NotPermitted for one's own role, and for
    owner and finance by one whose own membership ends, NotFound when they left meanwhile, and
    VersionConflict.
    """
    tenant = _locked_for_members(actor, member.tenant, member.user, role)
    member = _locked_member(member.pk)
    require_version(member, expected_row_version)
    return _change(actor, tenant, member, role)


@transaction.atomic
def remove_tenant_member(
    *, actor: Actor, member: TenantMember, expected_row_version: int | None = None
) -> None:
    """End somebody's belonging to the tenant, with all that they have in it.

    Their roles and extra grants in its projects, and the invitations that they sent, leave in the
    same transaction. Raises LastOwner for the last owner of the tenant or of one of its projects,
    NotPermitted for oneself, NotFound when they left meanwhile, and VersionConflict.
    """
    tenant = _locked_for_members(actor, member.tenant, member.user)
    member = _locked_member(member.pk)
    require_version(member, expected_row_version)
    _require_another_owner(tenant, member)
    _leave(actor, tenant, member.user, removed=True)
    target = member.audit_target()
    TenantMember.objects.filter(pk=member.pk).delete()
    record(
        actor=actor,
        action=Action.TENANT_MEMBER_REMOVED,
        target=target,
        changes={"role": [member.role, None]},
    )


def _locked_member(pk: UUID) -> TenantMember:
    found = TenantMember.objects.select_for_update(of=("self",)).select_related("user", "tenant")
    member = found.filter(pk=pk).first()
    if member is None:
        raise NotFound
    return member


def _add(actor: Actor, tenant: Tenant, user: User, role: TenantRole) -> TenantMember:
    member = TenantMember.objects.create(tenant=tenant, user=user, role=role)
    record(
        actor=actor,
        action=Action.TENANT_MEMBER_ADDED,
        target=member.audit_target(),
        changes={"role": [None, role]},
    )
    return member


def _change(actor: Actor, tenant: Tenant, member: TenantMember, role: TenantRole) -> TenantMember:
    before = TenantRole(member.role)
    if before == role and member.ends_at is None:
        return member
    changes: dict[str, list[str | None]] = {"role": [before, role]}
    if member.ends_at is not None:
        changes["ends_at"] = [member.ends_at.isoformat(), None]
    if role != TenantRole.OWNER:
        _require_another_owner(tenant, member)
    if is_lower(role, before):
        _leave(actor, tenant, member.user, removed=False)
    member.role, member.ends_at = role, None
    member.save(update_fields=["role", "ends_at"])
    record(
        actor=actor,
        action=Action.TENANT_MEMBER_ROLE_CHANGED,
        target=member.audit_target(),
        changes=changes,
    )
    return member


def is_lower(role: TenantRole, before: TenantRole) -> bool:
    return _RANKS.index(role) > _RANKS.index(before)


def _leave(actor: Actor, tenant: Tenant, user: User, *, removed: bool) -> None:
    # Projects first: they are locked before the invitations into them.
    depart(actor=actor, tenant=tenant, user=user, removed=removed)
    revoke_sent_invitations(actor=actor, user=user, tenant=tenant)


def _require_another_owner(tenant: Tenant, member: TenantMember) -> None:
    """Raise LastOwner if `member` alone keeps the locked tenant owned."""
    # A membership that ends by itself does not keep a tenant owned.
    if member.role != TenantRole.OWNER or member.ends_at is not None:
        return
    if not tenant.members.lasting_owners().exclude(pk=member.pk).exists():
        raise LastOwner(
            f"{member.user.email} is the last owner of {tenant.slug}. Make somebody else an owner first."
        )


@transaction.atomic
def revoke_sent_invitations(
    *, actor: Actor, user: User, tenant: Tenant, project_id: UUID | None = None
) -> int:
    """Take back the invitations of `user` into the tenant, or into one project of it, that still wait.

    Part of whatever lowers or removes `user`, which has asked whether it may and holds the lock of
    the tenant or project. Returns how many there were, each with its event.
    """
    waiting = Invitation.objects.select_for_update(of=("self",)).filter(
        tenant=tenant, invited_by=user, accepted_at=None, revoked_at=None
    )
    if project_id is not None:
        waiting = waiting.filter(project_id=project_id)
    # In the order of their chains, so that two at once never wait for each other's.
    invitations = list(waiting.order_by("project_id", "pk"))
    for invitation in invitations:
        invitation.revoked_at = timezone.now()
        invitation.save(update_fields=["revoked_at"])
        record(
            actor=actor,
            action=Action.INVITATION_REVOKED,
            target=invitation.audit_target(),
            changes={"revoked": [False, True]},
        )
    return len(invitations)
