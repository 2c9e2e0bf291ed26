"""Add-ons of a project in the management API."""

from typing import Any
from uuid import UUID

from drf_spectacular.utils import extend_schema
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
    etag_of,
    page_of,
    visible,
)
from apps.core.api.pages import list_parameters, paged
from apps.core.errors import NotFound
from apps.core.idempotency import Answer
from apps.projects import operations
from apps.projects.api.serializers import AddOnSerializer, AddOnWriteSerializer
from apps.projects.models import AddOn, Project

_ORDER = ("name", "created_at")


def _show(add_on: AddOn) -> dict[str, Any]:
    return {"name": add_on.name, "created_at": add_on.created_at, "row_version": add_on.row_version}


class AddOnsView(ManageView):
    @extend_schema(
        operation_id="manage_list_add_ons",
        summary="The add-ons that are active in a project",
        parameters=list_parameters(orderings=_ORDER, search=False),
        responses={200: page_of(AddOnSerializer), **NOT_FOUND, **PROBLEMS},
    )
    def get(self, request: Request, project_id: UUID) -> Response:
        project = visible(request, Project.objects.all(), "project:read", project_id)
        return Response(paged(request, project.add_ons.all(), _show, orderings=_ORDER))

    @extend_schema(
        operation_id="manage_activate_add_on",
        summary="Activate an add-on that the tier allows",
        parameters=[IDEMPOTENCY_KEY],
        request=AddOnWriteSerializer,
        responses={201: AddOnSerializer, **NOT_FOUND, **CONFLICT, **PROBLEMS},
    )
    def post(self, request: Request, project_id: UUID) -> Response:
        project = visible(request, Project.objects.all(), "project:read", project_id)
        body = body_of(request, AddOnWriteSerializer)

        def make() -> Answer:
            add_on = operations.activate_add_on(
                actor=actor_of(request), project=project, name=body["name"], must_be_new=True
            )
            return Answer(_show(add_on), etag_of(add_on))

        return created(request, asks=[("project:change_tier", project)], make=make)


class AddOnView(ManageView):
    @extend_schema(
        operation_id="manage_deactivate_add_on",
        summary="Deactivate an add-on; what was made with it stays",
        responses={204: None, **NOT_FOUND, **PROBLEMS},
    )
    def delete(self, request: Request, project_id: UUID, name: str) -> Response:
        project = visible(request, Project.objects.all(), "project:read", project_id)
        if not project.add_ons.filter(name=name).exists():
            raise NotFound
        operations.deactivate_add_on(actor=actor_of(request), project=project, name=name)
        return Response(status=204)
