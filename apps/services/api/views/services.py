"""Services in the management API: list, make, name, stop, delete, restore."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.db.models import Exists, OuterRef
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
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
from apps.core.actor import Actor
from apps.core.api.pages import list_parameters, paged
from apps.core.api.requests import expected_version
from apps.core.errors import InvalidInput
from apps.core.idempotency import Answer
from apps.projects.models import Project
from apps.services import operations
from apps.services.api.filters import ServiceFilter
from apps.services.api.serializers import (
    ServiceChangeSerializer,
    ServiceRestoredSerializer,
    ServiceSerializer,
    ServiceWriteSerializer,
)
from apps.services.models import Kind, Service, ServiceQuerySet

_ORDER = ("slug", "name", "environment", "created_at")
_DELETED = OpenApiParameter(
    "deleted", OpenApiTypes.BOOL, description="Those that were deleted and that one may restore."
)


def seen_services(actor: Actor) -> ServiceQuerySet:
    """All services with `sees_umbrella`: whether this actor may know what each inherits from.

    An extra grant may be for the child alone; to its holder the umbrella does not exist.
    """
    seen = Service.objects.visible_to(actor, "service:read")
    return Service.objects.select_related("project__tenant").annotate(
        sees_umbrella=Exists(seen.filter(pk=OuterRef("umbrella_id")))
    )


def service_of(request: Request, service_id: UUID) -> Any:
    """The service of the address, as far as it exists for this actor."""
    return visible(request, seen_services(actor_of(request)), "service:read", service_id)


def show_service(service: Any, *, sees_umbrella: bool) -> dict[str, Any]:
    return {
        "id": service.pk,
        "project": service.project_id,
        "environment": service.environment,
        "slug": service.slug,
        "kind": service.kind,
        "name": service.name,
        "is_umbrella": service.is_umbrella,
        "umbrella": service.umbrella_id if sees_umbrella else None,
        "disabled": service.disabled_at is not None,
        "revision": service.revision,
        "created_at": service.created_at,
        "deleted_at": service.deleted_at,
        "purge_after": service.purge_after,
        "row_version": service.row_version,
    }


def _show(service: Any) -> dict[str, Any]:
    return show_service(service, sees_umbrella=service.sees_umbrella)


class ServicesView(ManageView):
    @extend_schema(
        operation_id="manage_list_services",
        summary="The services that one sees",
        parameters=[*list_parameters(orderings=_ORDER, filters=ServiceFilter), _DELETED],
        responses={200: page_of(ServiceSerializer), **PROBLEMS},
    )
    def get(self, request: Request) -> Response:
        actor = actor_of(request)
        services = seen_services(actor)
        asked = request.query_params.get("deleted", "false")
        if asked not in ("true", "false"):
            raise InvalidInput.of("deleted", "Give true or false.")
        if asked == "true":
            rows = operations.restorable(services.visible_to(actor, "service:manage", deleted=True))
        else:
            rows = services.visible_to(actor, "service:read")
        page = paged(
            request,
            rows,
            _show,
            orderings=_ORDER,
            search=("slug", "name"),
            filters=ServiceFilter,
            parameters=("deleted",),
        )
        return Response(page)

    @extend_schema(
        operation_id="manage_create_service",
        summary="Make a service, an umbrella, or a child of one",
        parameters=[IDEMPOTENCY_KEY],
        request=ServiceWriteSerializer,
        responses={201: ServiceSerializer, **NOT_FOUND, **CONFLICT, **PROBLEMS},
    )
    def post(self, request: Request) -> Response:
        body = body_of(request, ServiceWriteSerializer)
        projects = Project.objects.select_related("tenant")
        project = visible(request, projects, "project:read", body["project"])
        umbrella = None
        asks: list[tuple[str, Any]] = [("service:manage", project)]
        if body.get("umbrella"):
            umbrella = service_of(request, body["umbrella"])
            if umbrella.kind == Kind.BACKEND:
                asks.append(("secret:reveal", umbrella))

        def make() -> Answer:
            service = operations.create_service(
                actor=actor_of(request),
                project=project,
                environment=body["environment"],
                slug=body["slug"],
                kind=body["kind"],
                name=body.get("name", ""),
                is_umbrella=body.get("is_umbrella", False),
                umbrella=umbrella,
            )
            return Answer(show_service(service, sees_umbrella=True), etag_of(service))

        return created(request, asks=asks, make=make)


class ServiceView(ManageView):
    @extend_schema(
        operation_id="manage_read_service",
        summary="One service",
        responses={200: ServiceSerializer, **NOT_FOUND, **PROBLEMS},
    )
    def get(self, request: Request, service_id: UUID) -> Response:
        service = service_of(request, service_id)
        return tagged(service, _show(service))

    @extend_schema(
        operation_id="manage_change_service",
        summary="Change a service's name; slug, kind and environment never change",
        parameters=[IF_MATCH],
        request=ServiceChangeSerializer,
        responses={200: ServiceSerializer, **NOT_FOUND, **STALE, **PROBLEMS},
    )
    def patch(self, request: Request, service_id: UUID) -> Response:
        service = service_of(request, service_id)
        body = body_of(request, ServiceChangeSerializer)
        changed = operations.change_service(
            actor=actor_of(request),
            service=service,
            name=body["name"],
            expected_row_version=expected_version(request),
        )
        return tagged(changed, show_service(changed, sees_umbrella=service.sees_umbrella))

    @extend_schema(
        operation_id="manage_delete_service",
        summary="Delete a service; for 30 days it can be restored",
        parameters=[IF_MATCH],
        responses={204: None, **NOT_FOUND, **CONFLICT, **STALE, **PROBLEMS},
    )
    def delete(self, request: Request, service_id: UUID) -> Response:
        service = service_of(request, service_id)
        operations.delete_service(
            actor=actor_of(request), service=service, expected_row_version=expected_version(request)
        )
        return Response(status=204)


class ServiceRestoreView(ManageView):
    @extend_schema(
        operation_id="manage_restore_service",
        summary="Bring back a deleted service with its entries and keys",
        parameters=[IF_MATCH],
        request=None,
        responses={200: ServiceRestoredSerializer, **NOT_FOUND, **CONFLICT, **STALE, **PROBLEMS},
    )
    def post(self, request: Request, service_id: UUID) -> Response:
        require_no_members(request)
        actor = actor_of(request)
        services = seen_services(actor)
        service: Any = services.visible_to(actor, "service:read").filter(pk=service_id).first()
        if service is None:
            # A deleted one exists for those alone who may bring it back.
            service = visible(
                request, operations.restorable(services), "service:manage", service_id, deleted=True
            )
        restored, was_unlinked = operations.restore_service(
            actor=actor, service=service, expected_row_version=expected_version(request)
        )
        document = show_service(restored, sees_umbrella=service.sees_umbrella)
        return tagged(restored, {**document, "was_unlinked": was_unlinked})


class _StateView(ManageView):
    """Stop and start differ in the operation alone."""

    def change(self, request: Request, service_id: UUID, operation: Callable[..., Service]) -> Response:
        require_no_members(request)
        service = service_of(request, service_id)
        changed = operation(
            actor=actor_of(request), service=service, expected_row_version=expected_version(request)
        )
        return tagged(changed, show_service(changed, sees_umbrella=service.sees_umbrella))


class ServiceDisableView(_StateView):
    @extend_schema(
        operation_id="manage_disable_service",
        summary="Stop serving a service: its keys are refused",
        parameters=[IF_MATCH],
        request=None,
        responses={200: ServiceSerializer, **NOT_FOUND, **CONFLICT, **STALE, **PROBLEMS},
    )
    def post(self, request: Request, service_id: UUID) -> Response:
        return self.change(request, service_id, operations.disable_service)


class ServiceResumeView(_StateView):
    @extend_schema(
        operation_id="manage_resume_service",
        summary="Serve a disabled service again",
        parameters=[IF_MATCH],
        request=None,
        responses={200: ServiceSerializer, **NOT_FOUND, **STALE, **PROBLEMS},
    )
    def post(self, request: Request, service_id: UUID) -> Response:
        return self.change(request, service_id, operations.resume_service)
