"""What apps above put on a project's page: `projects` sits below them and may not import them."""

from collections.abc import Callable

from django.http import HttpRequest

from apps.core.pages import Panel
from apps.projects.models import Project

Panels = Callable[[HttpRequest, Project], list[Panel]]

_panels: list[Panels] = []


def register_panels(panels: Panels) -> None:
    if panels not in _panels:
        _panels.append(panels)


def project_panels(request: HttpRequest, project: Project) -> list[Panel]:
    return [panel for each in _panels for panel in each(request, project)]
