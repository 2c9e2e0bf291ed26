"""What apps above put on a tenant's page: `tenancy` sits below them and may not import them."""

from collections.abc import Callable

from django.http import HttpRequest

from apps.core.pages import Panel
from apps.tenancy.models import Tenant

Panels = Callable[[HttpRequest, Tenant], list[Panel]]

_panels: list[Panels] = []


def register_panels(panels: Panels) -> None:
    if panels not in _panels:
        _panels.append(panels)


def tenant_panels(request: HttpRequest, tenant: Tenant) -> list[Panel]:
    return [panel for each in _panels for panel in each(request, tenant)]
