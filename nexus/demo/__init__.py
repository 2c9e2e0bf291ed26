"""A small believable company and its last thirty days, made through the operations that people use.

`company` says who and what there is, `history` what happened when, `acts` how one does such things.
"""

import json
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from apps.core import clock
from apps.core.access import TenantRole
from apps.core.actor import Actor
from apps.projects.models import ProjectMember
from apps.services.models import Service
from apps.tenancy.models import Tenant, TenantMember
from nexus.demo.acts import Company
from nexus.demo.company import OWNER, PEOPLE, TENANT
from nexus.demo.history import history
from nexus.installation import write_private


@transaction.atomic
def make_demo(actor: Actor, url: str) -> dict[str, Any] | None:
    """Make the demo tenant and write `demo.json`; None where the tenant is there already.

    `demo.json` is written before the transaction commits: keys that nobody was shown would be
    worth nothing. Raises NotPermitted in production (docs/decisions/0007).
    """
    if Tenant.objects.filter(slug=TENANT).exists():
        return None
    company = Company(host=actor, today=timezone.now())
    for moment in history(company.today):
        with clock.demo_time(moment.at):
            moment.act(company, company.actor(moment.who))
    demo = {
        "url": url,
        "operator": {"email": PEOPLE[OWNER].email, "password": company.passwords[OWNER]},
        "people": _people(company),
        "services": _services(company),
    }
    write_private(settings.NEXUS_VAR / "demo.json", json.dumps(demo, indent=2) + "\n")
    return demo


def _people(company: Company) -> dict[str, dict[str, str]]:
    """The others, with what they are: `finance of acme`, `manager of acme/shop, …`."""
    found = {}
    for short, user in company.people.items():
        tenant_role = TenantMember.objects.get(tenant=company.tenant, user=user).role
        roles = [f"{tenant_role} of {TENANT}"] if tenant_role != TenantRole.MEMBER else []
        memberships = ProjectMember.objects.filter(user=user).select_related("project__tenant")
        roles += [f"{member.role} of {member.project}" for member in memberships.order_by("project__slug")]
        if short != OWNER:
            found[user.email] = {"password": company.passwords[short], "role": ", ".join(roles)}
    return found


def _services(company: Company) -> dict[str, dict[str, str]]:
    """Each service that answers now, with the key in its primary slot."""
    found = {}
    for address, text in sorted(company.keys.items()):
        if "#" not in address:
            service = Service.objects.select_related("project__tenant").get(pk=company.services[address].pk)
            if service.disabled_at is None and service.deleted_at is None:
                found[str(service)] = {"id": str(service.pk), "kind": service.kind, "key": text}
    return found
