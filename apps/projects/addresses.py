"""Tenants and projects by what people call them: `TENANT`, `TENANT/PROJECT`."""

from apps.core.errors import InvalidInput, NotFound
from apps.projects.models import Project
from apps.tenancy.models import Tenant


def parts_of(text: str, form: str) -> list[str]:
    """The parts of an address written as `form`. Raises InvalidInput for another number of them."""
    parts = text.split("/")
    if len(parts) != form.count("/") + 1 or not all(parts):
        raise InvalidInput.of("address", f"Write it as {form}; {text!r} is not of that form.")
    return parts


def tenant_at(slug: str) -> Tenant:
    tenant = Tenant.objects.live().filter(slug=slug).first()
    if tenant is None:
        raise NotFound(f"There is no tenant {slug}.")
    return tenant


def project_at(text: str) -> Project:
    """The live project at `TENANT/PROJECT`."""
    tenant, slug = parts_of(text, "TENANT/PROJECT")
    project = Project.objects.live().select_related("tenant").filter(tenant__slug=tenant, slug=slug).first()
    if project is None:
        raise NotFound(f"There is no project {text}.")
    return project
