"""What somebody may give in a tenant whose own membership ends by itself."""

from datetime import datetime

from django.db import models

from apps.core.access import TenantRole
from apps.core.actor import Actor
from apps.core.errors import NotPermitted
from apps.tenancy.models import Tenant, TenantMember

# What outlives whoever gave it, and can give on: not for those who are let in for hours.
_STAYING = (TenantRole.OWNER, TenantRole.FINANCE)


def own_end_refusal(ends_at: datetime, *, permission: str, target: models.Model) -> NotPermitted:
    """How somebody is told that they give no such role, because their own ends by itself."""
    return NotPermitted(
        f"Your own membership ends at {ends_at:%Y-%m-%d %H:%M} UTC; ask an owner who stays.",
        permission=permission,
        target=target,
    )


def require_giver_stays(actor: Actor, tenant: Tenant, role: TenantRole) -> None:
    """Raise NotPermitted for the roles that no break-glass gives (SPEC 3): access that outlasts it.

    The caller holds the lock under which the membership of `actor` was asked.
    """
    if role not in _STAYING or actor.user_id is None:
        return
    own = TenantMember.objects.filter(tenant=tenant, user=actor.user_id).first()
    if own is not None and own.ends_at is not None:
        raise own_end_refusal(own.ends_at, permission="tenant:manage_members", target=tenant)
