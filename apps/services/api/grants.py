"""Extra grants on a project and its services, in the management API."""

from typing import Any, cast
from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from apps.audit.api.manage import (
    CONFLICT,
    IDEMPOTENCY_KEY,
    NOT_FOUND,
    PROBLEMS,
    ManageView,
    actor_of,
    body_of,
    created,
    page_of,
    require_list,
    visible,
)
from apps.core.access import GRANTABLE_PERMISSIONS, allows
from apps.core.api.pages import list_parameters, paged
from apps.core.errors import NotFound
from apps.core.idempotency import Answer
from apps.projects.models import Project, ProjectGrant
from apps.services import grants
from apps.services.models import Service, ServiceGrant

_ORDER = ("created_at",)
_PERMISSIONS = [(permission, permission) for permission in sorted(GRANTABLE_PERMISSIONS)]


class GrantSerializer(serializers.Serializer[dict[str, Any]]):
    id = serializers.UUIDField()
    email = serializers.EmailField()
    permission = serializers.ChoiceField(choices=_PERMISSIONS)
    service = serializers.UUIDField(allow_null=True, help_text="null: on the whole project.")
    granted_by = serializers.EmailField(allow_null=True)
    created_at = serializers.DateTimeField()
    ends_at = serializers.DateTimeField(allow_null=True)


class GrantWriteSerializer(serializers.Serializer[dict[str, Any]]):
    email = serializers.CharField(max_length=254)
    permission = serializers.ChoiceField(choices=_PERMISSIONS)
    service = serializers.UUIDField(required=False, allow_null=True)
    ends_at = serializers.DateTimeField(required=False, allow_null=True)


def _show(grant: ProjectGrant | ServiceGrant) -> dict[str, Any]:
    return {
        "id": grant.public_id,
        "email": grant.user.email,
        "permission": grant.permission.codename,
        "service": grant.content_object_id if isinstance(grant, ServiceGrant) else None,
        "granted_by": grant.granted_by.email if grant.granted_by else None,
        "created_at": grant.created_at,
        "ends_at": grant.ends_at,
    }


class GrantsView(ManageView):
    @extend_schema(
        operation_id="manage_list_grants",
        summary="Extra grants that hold now on a project and on its services",
        parameters=list_parameters(orderings=_ORDER),
        responses={200: page_of(GrantSerializer), **NOT_FOUND, **PROBLEMS},
    )
    def get(self, request: Request, project_id: UUID) -> Response:
        project = visible(request, Project.objects.all(), "project:read", project_id)
        require_list(request, "member:manage", project)
        rows = cast(Any, grants.GrantRows(grants.grants_in(project)))
        return Response(
            paged(
                request,
                rows,
                _show,
                orderings=_ORDER,
                search=("user__email", "permission__codename"),
                key="public_id",
            )
        )

    @extend_schema(
        operation_id="manage_give_grant",
        summary="Give a member of the tenant one permission that one has there, until an end",
        parameters=[IDEMPOTENCY_KEY],
        request=GrantWriteSerializer,
        responses={201: GrantSerializer, **NOT_FOUND, **CONFLICT, **PROBLEMS},
    )
    def post(self, request: Request, project_id: UUID) -> Response:
        project = visible(request, Project.objects.select_related("tenant"), "project:read", project_id)
        body = body_of(request, GrantWriteSerializer)
        service = None
        if body.get("service") is not None:
            services = Service.objects.filter(project=project).select_related("project__tenant")
            service = visible(request, services, "service:read", body["service"])

        def make() -> Answer:
            grant = grants.give_grant(
                actor=actor_of(request),
                project=project,
                email=body["email"],
                permission=body["permission"],
                service=service,
                ends_at=body.get("ends_at"),
            )
            return Answer(_show(grant))

        asks = [("member:manage", project), (body["permission"], service or project)]
        return created(request, asks=asks, make=make)


class GrantView(ManageView):
    @extend_schema(
        operation_id="manage_revoke_grant",
        summary="End an extra grant",
        responses={204: None, **NOT_FOUND, **PROBLEMS},
    )
    def delete(self, request: Request, project_id: UUID, grant_id: UUID) -> Response:
        project = visible(request, Project.objects.all(), "project:read", project_id)
        if not allows(actor_of(request), "member:manage", project):
            # Whoever may not list them learns of none.
            raise NotFound
        grants.revoke_grant(actor=actor_of(request), project=project, grant_id=grant_id)
        return Response(status=204)
