"""Make people and tenants, and say who belongs to which."""

import secrets
from uuid import UUID

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import transaction
from django.utils import timezone

from apps.audit.events import Action
from apps.audit.operations import record
from apps.core.access import TenantRole, require, require_here, require_presence
from apps.core.actor import Actor
from apps.core.changes import ChangeEvent, announce
from apps.core.errors import AlreadyExists, InvalidInput, LastOwner, NotFound, NotPermitted, VersionConflict
from apps.core.names import require_name, require_slug
from apps.tenancy.models import Invitation, Tenant, TenantMember, User

# 18 random bytes: 144 bits, typed by hand once.
PASSWORD_BYTES = 18


def normalised_email(email: str) -> str:
    """`email` in lower case. Raises InvalidInput for what is no address."""
    email = email.strip().lower()
    try:
        validate_email(email)
    except ValidationError:
        raise InvalidInput.of("email", "Give an e-mail address such as ada@example.org.") from None
    return email


def operator_with(email: str) -> User:
    """The active operator with this address. Raises NotFound when there is none."""
    user = User.objects.filter(email=normalised_email(email), is_active=True).first()
    if user is None:
        raise NotFound(f"There is no operator {email}. Make one with create_operator first.")
    return user


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
    if User.objects.filter(email=email).exists():
        raise AlreadyExists(f"There is an operator {email} already.")
    password = secrets.token_urlsafe(PASSWORD_BYTES)
    user = User(email=email, name=name, is_superuser=superuser, must_change_password=must_change_password)
    user.set_password(password)
    user.save()
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
    if Tenant.objects.filter(slug=slug).exists():
        raise AlreadyExists(
            f"There is a tenant {slug} already, or one was deleted recently. Choose another slug."
        )
    tenant = Tenant.objects.create(slug=slug, name=name or slug)
    TenantMember.objects.create(tenant=tenant, user=owner, role=TenantRole.OWNER)
    record(
        actor=actor,
        action=Action.TENANT_CREATED,
        target=tenant.audit_target(),
        changes={"slug": [None, slug], "name": [None, tenant.name], "owner": [None, owner.email]},
    )
    announce(event=ChangeEvent.TENANT_CHANGED, tenant_id=tenant.pk)
    return tenant


def _locked(tenant: Tenant) -> Tenant:
    return Tenant.objects.select_for_update(no_key=True).live().get(pk=tenant.pk)


@transaction.atomic
def change_tenant(
    *, actor: Actor, tenant: Tenant, name: str, expected_row_version: int | None = None
) -> Tenant:
    """Give the tenant another name; its slug stays. Raises NotPermitted, InvalidInput, VersionConflict."""
    require(actor, "tenant:change", tenant)
    name = require_name(name)
    tenant = _locked(tenant)
    if expected_row_version is not None and tenant.row_version != expected_row_version:
        raise VersionConflict
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


@transaction.atomic
def set_tenant_member(*, actor: Actor, tenant: Tenant, user: User, role: TenantRole) -> TenantMember:
    """Give `user` the role in the tenant, whether or not they had one.

    Raises LastOwner when that would leave the tenant without an owner, and NotPermitted for one's own.
    """
    require(actor, "tenant:manage_members", tenant)
    if actor.user_id == user.pk:
        raise NotPermitted(
            "Nobody changes their own role.", permission="tenant:manage_members", target=tenant
        )
    if user.is_service_account:
        raise InvalidInput.of("email", "A service account belongs to the tenant that made it, as a member.")
    _locked(tenant)
    member = TenantMember.objects.filter(tenant=tenant, user=user).first()
    if member is None:
        member = TenantMember.objects.create(tenant=tenant, user=user, role=role)
        action, before = Action.TENANT_MEMBER_ADDED, None
    else:
        before = member.role
        if before == role and member.ends_at is None:
            return member
        if before == TenantRole.OWNER and role != TenantRole.OWNER:
            _require_another_owner(tenant, member)
        member.role, member.ends_at = role, None
        member.save(update_fields=["role", "ends_at"])
        action = Action.TENANT_MEMBER_ROLE_CHANGED
    record(actor=actor, action=action, target=member.audit_target(), changes={"role": [before, role]})
    return member


def _require_another_owner(tenant: Tenant, member: TenantMember) -> None:
    # A membership that ends by itself does not keep a tenant owned.
    others = TenantMember.objects.filter(
        tenant=tenant, role=TenantRole.OWNER, ends_at=None, user__is_active=True
    )
    if not others.exclude(pk=member.pk).exists():
        raise LastOwner(
            f"{member.user.email} is the last owner of {tenant.slug}. Make somebody else an owner first."
        )


def revoke_sent_invitations(
    *, actor: Actor, user: User, tenant: Tenant, project_id: UUID | None = None
) -> list[Invitation]:
    """Revoke what `user` sent and nobody accepted yet: with `project_id`, of that project alone.

    Runs inside the operation that takes or lowers their role (SPEC 3), which asked the right.
    """
    pending = Invitation.objects.select_for_update(of=("self",), no_key=True).filter(
        tenant=tenant, invited_by=user, accepted_at=None, revoked_at=None
    )
    if project_id is not None:
        pending = pending.filter(project_id=project_id)
    found = list(pending.order_by("pk"))
    for invitation in found:
        invitation.revoked_at = timezone.now()
        invitation.save(update_fields=["revoked_at"])
        record(
            actor=actor,
            action=Action.INVITATION_REVOKED,
            target=invitation.audit_target(),
            changes={"revoked": [False, True]},
        )
    return found
