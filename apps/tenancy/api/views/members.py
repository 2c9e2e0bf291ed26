"""Who belongs to a tenant, in the management API; and how a superuser gets in."""

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
from apps.core.access import TenantRole
from apps.core.api.pages import list_parameters, paged
from apps.core.api.requests import expected_version
from apps.core.idempotency import Answer
from apps.tenancy import operations
from apps.tenancy.api.filters import TenantMemberFilter
from apps.tenancy.api.serializers import (
    BreakGlassSerializer,
    TenantMemberAddSerializer,
    TenantMemberChangeSerializer,
    TenantMemberSerializer,
)
from apps.tenancy.api.views.tenants import listed_tenant
from apps.tenancy.break_glass import break_glass
from apps.tenancy.models import TenantMember

_ORDER = ("created_at", "role")


def _show_member(member: TenantMember) -> dict[str, Any]:
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


class TenantMembersView(ManageView):
    @extend_schema(
        operation_id="manage_list_tenant_members",
        summary="Who belongs to a tenant, for its owners",
        parameters=list_parameters(orderings=_ORDER, filters=TenantMemberFilter),
        responses={200: page_of(TenantMemberSerializer), **NOT_FOUND, **PROBLEMS},
    )
    def get(self, request: Request, tenant_id: UUID) -> Response:
        tenant = listed_tenant(request, tenant_id)
        require_list(request, "tenant:manage_members", tenant)
        members = tenant.members.holding().select_related("user")
        return Response(
            paged(
                request,
                members,
                _show_member,
                orderings=_ORDER,
                search=("user__email", "user__name"),
                filters=TenantMemberFilter,
            )
        )

    @extend_schema(
        operation_id="manage_add_tenant_member",
        summary="Let an operator join a tenant",
        parameters=[IDEMPOTENCY_KEY],
        request=TenantMemberAddSerializer,
        responses={201: TenantMemberSerializer, **NOT_FOUND, **CONFLICT, **PROBLEMS},
    )
    def post(self, request: Request, tenant_id: UUID) -> Response:
        tenant = listed_tenant(request, tenant_id)
        # Before the address is looked up: others must not learn who has an account.
        require_list(request, "tenant:manage_members", tenant)
        body = body_of(request, TenantMemberAddSerializer)

        def make() -> Answer:
            member = operations.add_tenant_member(
                actor=actor_of(request),
                tenant=tenant,
                user=operations.operator_with(body["email"]),
                role=TenantRole(body["role"]),
            )
            return Answer(_show_member(member), etag_of(member))

        return created(request, asks=[("tenant:manage_members", tenant)], make=make)


class TenantMemberView(ManageView):
    def _member(self, request: Request, tenant_id: UUID, member_id: UUID) -> TenantMember:
        members = TenantMember.objects.holding().filter(tenant=tenant_id).select_related("user", "tenant")
        return visible(request, members, "tenant:manage_members", member_id)

    @extend_schema(
        operation_id="manage_read_tenant_member",
        summary="One who belongs to a tenant",
        responses={200: TenantMemberSerializer, **NOT_FOUND, **PROBLEMS},
    )
    def get(self, request: Request, tenant_id: UUID, member_id: UUID) -> Response:
        member = self._member(request, tenant_id, member_id)
        return tagged(member, _show_member(member))

    @extend_schema(
        operation_id="manage_change_tenant_member",
        summary="Change a role; a lower one takes their grants and the invitations that they sent",
        parameters=[IF_MATCH],
        request=TenantMemberChangeSerializer,
        responses={200: TenantMemberSerializer, **NOT_FOUND, **CONFLICT, **STALE, **PROBLEMS},
    )
    def patch(self, request: Request, tenant_id: UUID, member_id: UUID) -> Response:
        member = self._member(request, tenant_id, member_id)
        body = body_of(request, TenantMemberChangeSerializer)
        changed = operations.change_tenant_member(
            actor=actor_of(request),
            member=member,
            role=TenantRole(body["role"]),
            expected_row_version=expected_version(request),
        )
        return tagged(changed, _show_member(changed))

    @extend_schema(
        operation_id="manage_remove_tenant_member",
        summary="Remove somebody from a tenant, with all their roles, grants and sent invitations in it",
        parameters=[IF_MATCH],
        responses={204: None, **NOT_FOUND, **CONFLICT, **STALE, **PROBLEMS},
    )
    def delete(self, request: Request, tenant_id: UUID, member_id: UUID) -> Response:
        operations.remove_tenant_member(
            actor=actor_of(request),
            member=self._member(request, tenant_id, member_id),
            expected_row_version=expected_version(request),
        )
        return Response(status=204)


class BreakGlassView(ManageView):
    @extend_schema(
        operation_id="manage_break_glass",
        summary="Take a role in a tenant for 4 hours, as a superuser; its owners are told by mail",
        parameters=[IDEMPOTENCY_KEY],
        request=BreakGlassSerializer,
        responses={201: TenantMemberSerializer, **NOT_FOUND, **CONFLICT, **PROBLEMS},
    )
    def post(self, request: Request, tenant_id: UUID) -> Response:
        tenant = listed_tenant(request, tenant_id)
        require_list(request, "tenant:administer", tenant)
        body = body_of(request, BreakGlassSerializer)

        def make() -> Answer:
            member = break_glass(
                actor=actor_of(request), tenant=tenant, role=TenantRole(body["role"]), reason=body["reason"]
            )
            return Answer(_show_member(member), etag_of(member))

        return created(request, asks=[("tenant:administer", tenant)], make=make)
