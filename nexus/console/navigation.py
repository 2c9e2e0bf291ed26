"""The sidebar: by the hierarchy, tenant → project → service, as far as this person may see it."""

from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.urls import reverse

from apps.audit.models import AuditEvent
from apps.core.access import allows_here
from apps.core.actor import Actor
from apps.core.admin import list_url, page_url
from apps.flags.models import Flag
from apps.projects.models import Project
from apps.services.models import ApiKey, Service
from apps.tenancy.models import Tenant, User
from apps.vault.models import Config, Secret

# More would be a list, and lists have search; the sidebar shows the way to them.
PROJECTS_SHOWN = 12
SERVICES_SHOWN = 30


def _item(title: str, link: str, icon: str, request: HttpRequest, *, exact: bool = False) -> dict[str, Any]:
    here = request.path == link if exact else request.path.startswith(link.removesuffix("change/"))
    return {"title": title, "link": link, "icon": icon, "active": here, "permission": None}


def navigation(request: HttpRequest) -> list[dict[str, Any]]:
    """unfold's form of a sidebar. Titles are escaped here: unfold draws them as they are."""
    actor = getattr(request, "actor", None)
    if not isinstance(actor, Actor):
        return []
    groups: list[dict[str, Any]] = [
        {"items": [_item("Dashboard", reverse("admin:index"), "space_dashboard", request, exact=True)]}
    ]
    projects = (
        Project.objects.visible_to(actor, "project:read")
        .select_related("tenant")
        .order_by("tenant__slug", "slug")[:PROJECTS_SHOWN]
    )
    place: Service | None = getattr(request, "console_service", None)
    visible = Tenant.objects.visible_to(actor, "tenant:read").order_by("slug")[:PROJECTS_SHOWN]
    tenants: dict[Tenant, list[dict[str, Any]]] = {
        tenant: [_item("Overview", page_url(tenant), "domain", request)] for tenant in visible
    }
    for project in projects:
        item = _item(project.slug, page_url(project), "deployed_code", request)
        tenants.setdefault(project.tenant, []).append(item)
        if place is not None and place.project_id == project.pk:
            tenants[project.tenant] += _beside(actor, place)
    for tenant, items in tenants.items():
        groups.append({"title": tenant.slug, "separator": True, "items": items})
    if tenants:
        groups.append(
            {
                "title": "Everywhere",
                "separator": True,
                "items": [
                    _item("Services", list_url(Service), "dns", request),
                    _item("Secrets", list_url(Secret), "key_vertical", request),
                    _item("Configs", list_url(Config), "tune", request),
                    _item("Flags", list_url(Flag), "flag", request),
                    _item("API keys", list_url(ApiKey), "vpn_key", request),
                ],
            }
        )
    more = [_item("Audit log", list_url(AuditEvent), "history", request)]
    if allows_here(actor, "account:manage"):
        more.append(_item("Operators", list_url(User), "group", request))
        more.append(_item("Tenants", list_url(Tenant), "domain", request))
    groups.append({"title": "Oversight", "separator": True, "items": more})
    return groups


def _beside(actor: Actor, place: Service) -> list[dict[str, Any]]:
    """The services of the environment that one stands in, that one marked."""
    services = Service.objects.visible_to(actor, "service:read").filter(
        project=place.project_id, environment=place.environment
    )
    return [
        {
            "title": service.slug,
            "link": page_url(service),
            "icon": "radio_button_checked" if service.pk == place.pk else "chevron_right",
            "active": service.pk == place.pk,
            "permission": None,
        }
        for service in services.only("id", "slug").order_by("slug")[:SERVICES_SHOWN]
    ]


def installation_badge(request: HttpRequest) -> list[str]:
    """What kind of installation this is, in the header of each page."""
    name = str(settings.NEXUS_ENV)
    return [name.capitalize(), "danger" if name == "production" else "info"]
