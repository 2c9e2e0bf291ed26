"""Tenants in the management API."""

from typing import Any
from uuid import UUID

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
)
from apps.core.access import require_here
from apps.core.api.pages import list_parameters, paged
from apps.core.api.requests import expected_version
from apps.core.errors import InvalidInput, NotFound
from apps.core.idempotency import Answer
from apps.tenancy import operations
from apps.tenancy.api.serializers import TenantChangeSerializer, TenantCreateSerializer, TenantSerializer
from apps.tenancy.models import Tenant

_ORDER = ("slug", "name", "created_at")
_DELETED = OpenApiParameter(
    "deleted", OpenApiTypes.BOOL, description="Those that were deleted and may still be restored."
)


def listed_tenant(request: Request, tenant_id: UUID, *, deleted: bool = False) -> Tenant:
    """The tenant, if it exists for this actor: to a superuser every one's bare row does. Else NotFound."""
    found = Tenant.objects.listed_to(actor_of(request), deleted=deleted).filter(pk=tenant_id).first()
    if found is None:
        raise NotFound
    return found


def show_tenant(tenant: Tenant) -> dict[str, Any]:
    return {
        "id": tenant.pk,
        "slug": tenant.slug,
        "name": tenant.name,
        "suspended": tenant.suspended_at is not None,
        "created_at": tenant.created_at,
        "deleted_at": tenant.deleted_at,
        "purge_after": tenant.purge_after,
        "row_version": tenant.row_version,
    }


def _asks_for_deleted(request: Request) -> bool:
    text = request.query_params.get("deleted", "false")
    if text not in ("true", "false"):
        raise InvalidInput.of("deleted", "Give true or false.")
    return text == "true"


class TenantsView(ManageView):
    @extend_schema(
        operation_id="manage_list_tenants",
        summary="The tenants that one belongs to; to superusers all",
        parameters=[*list_parameters(orderings=_ORDER), _DELETED],
        responses={200: page_of(TenantSerializer), **PROBLEMS},
    )
    def get(self, request: Request) -> Response:
        tenants = Tenant.objects.listed_to(actor_of(request), deleted=_asks_for_deleted(request))
        return Response(
            paged(
                request,
                tenants,
                show_tenant,
                orderings=_ORDER,
                search=("slug", "name"),
                parameters=("deleted",),
            )
        )

    @extend_schema(
        operation_id="manage_create_tenant",
        summary="Make a tenant with its first owner, as a superuser",
        parameters=[IDEMPOTENCY_KEY],
        request=TenantCreateSerializer,
        responses={201: TenantSerializer, **NOT_FOUND, **CONFLICT, **PROBLEMS},
    )
    def post(self, request: Request) -> Response:
        # Before the owner is looked up: others must not learn who has an account. Asked of a repeat too.
        require_here(actor_of(request), "tenant:create")
        body = body_of(request, TenantCreateSerializer)

        def make() -> Answer:
            tenant = operations.create_tenant(
                actor=actor_of(request),
                slug=body["slug"],
                name=body.get("name", ""),
                owner=operations.operator_with(body["owner"]),
            )
            return Answer(show_tenant(tenant), etag_of(tenant))

        return created(request, asks=[], make=make)


class TenantView(ManageView):
    @extend_schema(
        operation_id="manage_read_tenant",
        summary="One tenant",
        responses={200: TenantSerializer, **NOT_FOUND, **PROBLEMS},
    )
    def get(self, request: Request, tenant_id: UUID) -> Response:
        tenant = listed_tenant(request, tenant_id)
        return tagged(tenant, show_tenant(tenant))

    @extend_schema(
        operation_id="manage_change_tenant",
        summary="Change a tenant's name",
        parameters=[IF_MATCH],
        request=TenantChangeSerializer,
        responses={200: TenantSerializer, **NOT_FOUND, **STALE, **PROBLEMS},
    )
    def patch(self, request: Request, tenant_id: UUID) -> Response:
        tenant = listed_tenant(request, tenant_id)
        body = body_of(request, TenantChangeSerializer)
        changed = operations.change_tenant(
            actor=actor_of(request),
            tenant=tenant,
            name=body["name"],
            expected_row_version=expected_version(request),
        )
        return tagged(changed, show_tenant(changed))

    @extend_schema(
        operation_id="manage_delete_tenant",
        summary="Delete a tenant with all that is in it; for 30 days it may be restored",
        parameters=[IF_MATCH],
        responses={204: None, **NOT_FOUND, **STALE, **PROBLEMS},
    )
    def delete(self, request: Request, tenant_id: UUID) -> Response:
        tenant = listed_tenant(request, tenant_id)
        operations.delete_tenant(
            actor=actor_of(request), tenant=tenant, expected_row_version=expected_version(request)
        )
        return Response(status=204)


class TenantRestoreView(ManageView):
    @extend_schema(
        operation_id="manage_restore_tenant",
        summary="Bring back a deleted tenant",
        parameters=[IF_MATCH],
        request=None,
        responses={200: TenantSerializer, **NOT_FOUND, **CONFLICT, **STALE, **PROBLEMS},
    )
    def post(self, request: Request, tenant_id: UUID) -> Response:
        require_no_members(request)
        try:
            tenant = listed_tenant(request, tenant_id, deleted=True)
        except NotFound:
            # One that lives: whoever could restore it is told so, who only sees it may not.
            tenant = listed_tenant(request, tenant_id)
        restored = operations.restore_tenant(
            actor=actor_of(request), tenant=tenant, expected_row_version=expected_version(request)
        )
        return tagged(restored, show_tenant(restored))
