"""Who works in a project, in the management API."""

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
    require_list,
    tagged,
    visible,
)
from apps.core.access import ProjectRole
from apps.core.api.pages import list_parameters, paged
from apps.core.api.requests import expected_version
from apps.core.idempotency import Answer
from apps.projects import members
from apps.projects.api.filters import ProjectMemberFilters
from apps.projects.api.serializers import (
    ProjectMemberChangeSerializer,
    ProjectMemberSerializer,
    ProjectMemberWriteSerializer,
)
from apps.projects.models import Project, ProjectMember

_ORDER = ("created_at", "role")


def _show(member: ProjectMember) -> dict[str, Any]:
    return {
        "id": member.pk,
        "email": member.user.email,
        "name": member.user.name,
        "role": member.role,
        "is_service_account": member.user.is_service_account,
        "ends_at": member.ends_at,
        "created_at": member.created_at,
        "row_version": member.row_version,
    }


class ProjectMembersView(ManageView):
    @extend_schema(
        operation_id="manage_list_project_members",
        summary="Who works in a project, for its owners and managers",
        parameters=list_parameters(orderings=_ORDER, filters=ProjectMemberFilters),
        responses={200: page_of(ProjectMemberSerializer), **NOT_FOUND, **PROBLEMS},
    )
    def get(self, request: Request, project_id: UUID) -> Response:
        project = visible(request, Project.objects.all(), "project:read", project_id)
        require_list(request, "member:read", project)
        return Response(
            paged(
                request,
                project.members.select_related("user"),
                _show,
                orderings=_ORDER,
                search=("user__email", "user__name"),
                filters=ProjectMemberFilters,
            )
        )

    @extend_schema(
        operation_id="manage_create_project_member",
        summary="Give a role to somebody who has an account and no role in the project",
        parameters=[IDEMPOTENCY_KEY],
        request=ProjectMemberWriteSerializer,
        responses={201: ProjectMemberSerializer, **NOT_FOUND, **CONFLICT, **PROBLEMS},
    )
    def post(self, request: Request, project_id: UUID) -> Response:
        project = visible(request, Project.objects.all(), "project:read", project_id)
        body = body_of(request, ProjectMemberWriteSerializer)

        def make() -> Answer:
            member = members.add_project_member(
                actor=actor_of(request), project=project, email=body["email"], role=ProjectRole(body["role"])
            )
            return Answer(_show(member), etag_of(member))

        return created(request, asks=[("member:manage", project)], make=make)


class ProjectMemberView(ManageView):
    def _member(self, request: Request, project_id: UUID, member_id: UUID) -> ProjectMember:
        rows = ProjectMember.objects.filter(project=project_id).select_related("user", "project__tenant")
        return visible(request, rows, "member:read", member_id)

    @extend_schema(
        operation_id="manage_read_project_member",
        summary="One member of a project",
        responses={200: ProjectMemberSerializer, **NOT_FOUND, **PROBLEMS},
    )
    def get(self, request: Request, project_id: UUID, member_id: UUID) -> Response:
        member = self._member(request, project_id, member_id)
        return tagged(member, _show(member))

    @extend_schema(
        operation_id="manage_change_project_member",
        summary="Give a member another role; being lowered takes extra grants and sent invitations",
        parameters=[IF_MATCH],
        request=ProjectMemberChangeSerializer,
        responses={200: ProjectMemberSerializer, **NOT_FOUND, **CONFLICT, **STALE, **PROBLEMS},
    )
    def patch(self, request: Request, project_id: UUID, member_id: UUID) -> Response:
        member = self._member(request, project_id, member_id)
        body = body_of(request, ProjectMemberChangeSerializer)
        changed = members.change_project_member(
            actor=actor_of(request),
            project=member.project,
            member_id=member_id,
            role=ProjectRole(body["role"]),
            expected_row_version=expected_version(request),
        )
        return tagged(changed, _show(changed))

    @extend_schema(
        operation_id="manage_delete_project_member",
        summary="Take a member's role, with their extra grants and sent invitations",
        parameters=[IF_MATCH],
        responses={204: None, **NOT_FOUND, **CONFLICT, **STALE, **PROBLEMS},
    )
    def delete(self, request: Request, project_id: UUID, member_id: UUID) -> Response:
        member = self._member(request, project_id, member_id)
        members.remove_member_by_id(
            actor=actor_of(request),
            project=member.project,
            member_id=member_id,
            expected_row_version=expected_version(request),
        )
        return Response(status=204)
