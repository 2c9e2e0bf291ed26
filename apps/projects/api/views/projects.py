"""Projects in the management API."""

from typing import Any
from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from apps.audit.api.manage import (
    CONFLICT,
    IDEMPOTENCY_KEY,
    IF_MATCH,
    NOT_FOUND,
    PROBLEMS,
    STALE,
    ManageView,
    actor_of,
    body_of,
    created,
    etag_of,
    page_of,
    require_no_members,
    tagged,
    visible,
)
from apps.core.api.pages import list_parameters, paged
from apps.core.api.requests import expected_version
from apps.core.errors import NotFound
from apps.core.idempotency import Answer
from apps.projects import lifecycle, operations
from apps.projects.api.filters import ProjectFilters
from apps.projects.api.serializers import ProjectChangeSerializer, ProjectSerializer, ProjectWriteSerializer
from apps.projects.models import Project
from apps.tenancy.models import Tenant

_ORDER = ("slug", "name", "tier", "created_at")


def show_project(project: Project) -> dict[str, Any]:
    return {
        "id": project.pk,
        "tenant": project.tenant_id,
        "slug": project.slug,
        "name": project.name,
        "tier": project.tier,
        "environments": project.environments,
        "add_ons": sorted(add_on.name for add_on in project.add_ons.all()),
        "created_at": project.created_at,
        "deleted_at": project.deleted_at,
        "purge_after": project.purge_after,
        "row_version": project.row_version,
    }


class ProjectsView(ManageView):
    @extend_schema(
        operation_id="manage_list_projects",
        summary="The projects that one sees, or those that one may restore",
        parameters=list_parameters(orderings=_ORDER, filters=ProjectFilters),
        responses={200: page_of(ProjectSerializer), **PROBLEMS},
    )
    def get(self, request: Request) -> Response:
        actor = actor_of(request)
        if request.query_params.get("deleted") == "true":
            rows = lifecycle.restorable_by(actor)
        else:
            rows = Project.objects.visible_to(actor, "project:read")
        return Response(
            paged(
                request,
                rows.prefetch_related("add_ons"),
                show_project,
                orderings=_ORDER,
                search=("slug", "name"),
                filters=ProjectFilters,
            )
        )

    @extend_schema(
        operation_id="manage_create_project",
        summary="Make a project",
        parameters=[IDEMPOTENCY_KEY],
        request=ProjectWriteSerializer,
        responses={201: ProjectSerializer, **NOT_FOUND, **CONFLICT, **PROBLEMS},
    )
    def post(self, request: Request) -> Response:
        body = body_of(request, ProjectWriteSerializer)
        tenant = visible(request, Tenant.objects.all(), "tenant:read", body["tenant"])

        def make() -> Answer:
            project = operations.create_project(
                actor=actor_of(request),
                tenant=tenant,
                **{name: value for name, value in body.items() if name != "tenant"},
            )
            return Answer(show_project(project), etag_of(project))

        return created(request, asks=[("project:create", tenant)], make=make)


class ProjectView(ManageView):
    def _project(self, request: Request, project_id: UUID) -> Project:
        return visible(request, Project.objects.select_related("tenant"), "project:read", project_id)

    @extend_schema(
        operation_id="manage_read_project",
        summary="One project",
        responses={200: ProjectSerializer, **NOT_FOUND, **PROBLEMS},
    )
    def get(self, request: Request, project_id: UUID) -> Response:
        project = self._project(request, project_id)
        return tagged(project, show_project(project))

    @extend_schema(
        operation_id="manage_change_project",
        summary="Change a project's name, environments or tier, all or nothing",
        description="Where a smaller tier could not hold what there is: 409 `downgrade_blocked`, `blockers`.",
        parameters=[IF_MATCH],
        request=ProjectChangeSerializer,
        responses={200: ProjectSerializer, **NOT_FOUND, **CONFLICT, **STALE, **PROBLEMS},
    )
    def patch(self, request: Request, project_id: UUID) -> Response:
        project = self._project(request, project_id)
        body = body_of(request, ProjectChangeSerializer)
        changed = lifecycle.edit_project(
            actor=actor_of(request),
            project=project,
            expected_row_version=expected_version(request),
            **body,
        )
        return tagged(changed, show_project(changed))

    @extend_schema(
        operation_id="manage_delete_project",
        summary="Delete a project softly; its keys die at once",
        parameters=[IF_MATCH],
        responses={204: None, **NOT_FOUND, **STALE, **PROBLEMS},
    )
    def delete(self, request: Request, project_id: UUID) -> Response:
        lifecycle.delete_project(
            actor=actor_of(request),
            project=self._project(request, project_id),
            expected_row_version=expected_version(request),
        )
        return Response(status=204)


class ProjectRestoreView(ManageView):
    @extend_schema(
        operation_id="manage_restore_project",
        summary="Take the deletion of a project back, within 30 days",
        request=None,
        responses={200: ProjectSerializer, **NOT_FOUND, **CONFLICT, **PROBLEMS},
    )
    def post(self, request: Request, project_id: UUID) -> Response:
        require_no_members(request)
        try:
            project = visible(request, Project.objects.all(), "project:delete", project_id, deleted=True)
        except NotFound:
            # One that lives: who sees it is told that they may not restore it.
            project = visible(request, Project.objects.all(), "project:read", project_id)
        restored = lifecycle.restore_project(actor=actor_of(request), project=project)
        return tagged(restored, show_project(restored))
