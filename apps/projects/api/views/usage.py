"""How much of its quotas each project uses, in the management API."""

from typing import Any
from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from apps.audit.api.manage import (
    NOT_FOUND,
    PROBLEMS,
    ManageView,
    actor_of,
    page_of,
    require_list,
    visible,
)
from apps.core.api.pages import list_parameters, paged
from apps.core.errors import NotFound
from apps.projects import holdings
from apps.projects.api.serializers import ProjectUsageSerializer
from apps.projects.models import Project
from apps.tenancy.models import Tenant

_ORDER = ("slug", "tier")


def _show(project: Project, usage: list[holdings.Usage]) -> dict[str, Any]:
    return {
        "project": project.pk,
        "slug": project.slug,
        "tier": project.tier,
        "quotas": [{"quota": each.quota, "used": each.used, "cap": each.cap} for each in usage],
    }


class ProjectUsageView(ManageView):
    @extend_schema(
        operation_id="manage_read_project_usage",
        summary="What a project uses of its quotas; finance sees it too",
        responses={200: ProjectUsageSerializer, **NOT_FOUND, **PROBLEMS},
    )
    def get(self, request: Request, project_id: UUID) -> Response:
        actor = actor_of(request)
        readable = Project.objects.visible_to(actor, "project:read") | Project.objects.visible_to(
            actor, "usage:read"
        )
        project = readable.filter(pk=project_id).first()
        if project is None:
            raise NotFound
        return Response(_show(project, holdings.usage(project.pk, project.tier)))


class TenantUsageView(ManageView):
    @extend_schema(
        operation_id="manage_list_tenant_usage",
        summary="What each project of a tenant uses, for its owners and finance",
        parameters=list_parameters(orderings=_ORDER),
        responses={200: page_of(ProjectUsageSerializer), **NOT_FOUND, **PROBLEMS},
    )
    def get(self, request: Request, tenant_id: UUID) -> Response:
        tenant = visible(request, Tenant.objects.all(), "tenant:read", tenant_id)
        require_list(request, "usage:read", tenant)
        page = paged(
            request,
            Project.objects.live().filter(tenant=tenant),
            lambda project: {"project": project},
            orderings=_ORDER,
            search=("slug", "name"),
        )
        projects: list[Project] = [row["project"] for row in page["results"]]
        used = holdings.usages({project.pk: project.tier for project in projects})
        return Response({**page, "results": [_show(project, used[project.pk]) for project in projects]})
