"""Services by what people call them: `TENANT/PROJECT/ENVIRONMENT/SLUG`."""

from apps.core.errors import NotFound
from apps.projects.addresses import parts_of
from apps.services.models import Service

FORM = "TENANT/PROJECT/ENVIRONMENT/SLUG"


def service_at(text: str) -> Service:
    """The live service at `TENANT/PROJECT/ENVIRONMENT/SLUG`."""
    tenant, project, environment, slug = parts_of(text, FORM)
    service = (
        Service.objects.live()
        .select_related("project__tenant", "umbrella")
        .filter(project__tenant__slug=tenant, project__slug=project, environment=environment, slug=slug)
        .first()
    )
    if service is None:
        raise NotFound(f"There is no service {text}.")
    return service
