"""How a superuser gets into a tenant that is not theirs: by themselves, for hours, and told to its owners."""

from datetime import timedelta

from django.db import transaction
from django.utils import timezone

from apps.audit.events import Action
from apps.audit.operations import record
from apps.core import outbox
from apps.core.access import TenantRole, require, require_presence
from apps.core.actor import Actor
from apps.core.errors import Conflict, InvalidInput, NotPermitted
from apps.tenancy.models import Tenant, TenantMember, User
from apps.tenancy.operations import locked_tenant

# SPEC 3: so long it opens a tenant.
HOLDS = timedelta(hours=4)
REASON_MAX_LENGTH = 500


@transaction.atomic
def break_glass(*, actor: Actor, tenant: Tenant, role: TenantRole, reason: str) -> TenantMember:
    """Give the superuser who acts a role in the tenant for 4 hours, and mail its owners.

    `reason` is 1 to 500 printable characters; it stands in the event and in the mails. Opening once
    more replaces role and end. Raises NotPermitted, ReauthenticationRequired, InvalidInput, and
    Conflict for one who belongs to the tenant lastingly.
    """
    require(actor, "tenant:administer", tenant)
    if actor.user_id is None:
        raise NotPermitted("Only a person can join a tenant.", permission="tenant:administer", target=tenant)
    require_presence(actor)
    reason = _require_reason(reason)
    tenant = locked_tenant(tenant)
    ends_at = timezone.now() + HOLDS
    member = TenantMember.objects.select_related("user").filter(tenant=tenant, user=actor.user_id).first()
    before = None
    if member is None:
        user = User.objects.get(pk=actor.user_id)
        member = TenantMember.objects.create(tenant=tenant, user=user, role=role, ends_at=ends_at)
    elif member.ends_at is None:
        raise Conflict(f"You belong to {tenant.slug} as {member.role}; there is no glass to break.")
    else:
        before = member.role if member.ends_at > timezone.now() else None
        member.role, member.ends_at = role, ends_at
        member.save(update_fields=["role", "ends_at"])
    record(
        actor=actor,
        action=Action.BREAK_GLASS_OPENED,
        target=member.audit_target(),
        changes={"role": [before, role], "reason": [None, reason], "ends_at": [None, ends_at.isoformat()]},
    )
    _tell_owners(tenant, member, reason)
    return member


def _require_reason(reason: str) -> str:
    reason = reason.strip()
    if not 1 <= len(reason) <= REASON_MAX_LENGTH or not reason.isprintable():
        raise InvalidInput.of("reason", f"Give 1 to {REASON_MAX_LENGTH} printable characters.")
    return reason


def _tell_owners(tenant: Tenant, member: TenantMember, reason: str) -> None:
    assert member.ends_at is not None  # noqa: S101 - it was set above
    text = (
        f"{member.user.email}, who administers this installation of Nexus, took the role {member.role} "
        f"in the tenant {tenant.slug}.\n\n"
        f"Reason given: {reason}\n"
        f"It ends by itself at {member.ends_at:%Y-%m-%d %H:%M} UTC. "
        "What they do until then stands in the audit log.\n"
    )
    owners = tenant.members.lasting_owners().select_related("user").order_by("user__email")
    for owner in owners:
        subject = f"{member.user.email} entered the tenant {tenant.slug}"
        outbox.enqueue("mail", {"to": owner.user.email, "subject": subject, "text": text})
