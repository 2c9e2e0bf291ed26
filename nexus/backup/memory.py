"""Whether a living tenant still knows everything that was removed since an archive was made.

What is gone for good is known by its event alone, and events leave by a prune. An archive from before
the first event that is left could bring back what nobody here remembers having removed.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from django.db.models import Q
from django.utils import timezone

from apps.audit.events import ChainKind
from apps.audit.models import AuditChain, AuditEvent
from apps.projects.models import Project
from apps.projects.tiers import TIERS
from apps.tenancy.models import Tenant
from nexus.backup.errors import ArchiveIsDamaged, ArchiveIsTooOld

# No chain forgets anything younger, whatever the tier is or was.
ALWAYS_KEPT = timedelta(days=min(tier.audit_retention_days for tier in TIERS.values()))


def require_remembered(created_at: str, tenant: Tenant, projects: Sequence[Project]) -> None:
    """Raise ArchiveIsTooOld unless each chain of the tenant and its projects reaches back to `created_at`.

    Chains of purged projects do not matter: their destroyed data keys tell for ever.
    """
    try:
        made = datetime.fromisoformat(created_at)
    except ValueError:
        made = None
    if made is None or made.tzinfo is None:
        raise ArchiveIsDamaged("The archive does not say when it was made.")
    if made >= timezone.now() - ALWAYS_KEPT:
        return
    of_tenant = Q(kind=ChainKind.TENANT, tenant_id=tenant.pk)
    of_projects = Q(kind=ChainKind.CHANGES, project_id__in=[project.pk for project in projects])
    for chain in AuditChain.objects.filter(of_tenant | of_projects, pruned_through__gt=0).order_by("pk"):
        first = AuditEvent.objects.filter(chain=chain).order_by("sequence").first()
        if first is None or first.time > made:
            raise ArchiveIsTooOld(
                f"The archive is of {made:%Y-%m-%d}, and an audit log of {tenant.slug} begins "
                f"{f'{first.time:%Y-%m-%d}' if first else 'anew'}: what was removed between would come "
                "back. Restore it into an installation of its own, and bring over what is missing by "
                "export and import."
            )
