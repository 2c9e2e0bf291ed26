"""Service accounts in the management API."""

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
from apps.core.api.pages import list_parameters, paged
from apps.core.api.requests import expected_version
from apps.core.idempotency import Answer
from apps.tenancy import automation
from apps.tenancy.api.serializers import (
    ServiceAccountChangeSerializer,
    ServiceAccountSerializer,
    ServiceAccountWriteSerializer,
)
from apps.tenancy.api.views.tenants import listed_tenant
from apps.tenancy.models import ServiceAccount

_ORDER = ("name", "created_at")


def _show_account(account: ServiceAccount) -> dict[str, Any]:
    return {
        "id": account.pk,
        "name": account.name,
        "description": account.description,
        "email": account.user.email,
        "created_at": account.created_at,
        "row_version": account.row_version,
    }


class ServiceAccountsView(ManageView):
    @extend_schema(
        operation_id="manage_list_service_accounts",
        summary="A tenant's service accounts, for its owners",
        parameters=list_parameters(orderings=_ORDER),
        responses={200: page_of(ServiceAccountSerializer), **NOT_FOUND, **PROBLEMS},
    )
    def get(self, request: Request, tenant_id: UUID) -> Response:
        tenant = listed_tenant(request, tenant_id)
        require_list(request, "tenant:manage_members", tenant)
        accounts = tenant.service_accounts.of_automation().select_related("user")
        return Response(paged(request, accounts, _show_account, orderings=_ORDER, search=("name",)))

    @extend_schema(
        operation_id="manage_create_service_account",
        summary="Make a service account",
        parameters=[IDEMPOTENCY_KEY],
        request=ServiceAccountWriteSerializer,
        responses={201: ServiceAccountSerializer, **NOT_FOUND, **CONFLICT, **PROBLEMS},
    )
    def post(self, request: Request, tenant_id: UUID) -> Response:
        tenant = listed_tenant(request, tenant_id)
        body = body_of(request, ServiceAccountWriteSerializer)

        def make() -> Answer:
            account = automation.create_service_account(
                actor=actor_of(request),
                tenant=tenant,
                name=body["name"],
                description=body.get("description", ""),
            )
            return Answer(_show_account(account), etag_of(account))

        return created(request, asks=[("tenant:manage_members", tenant)], make=make)


class ServiceAccountView(ManageView):
    def _account(self, request: Request, tenant_id: UUID, account_id: UUID) -> ServiceAccount:
        accounts = ServiceAccount.objects.of_automation().filter(tenant=tenant_id)
        accounts = accounts.select_related("user", "tenant")
        return visible(request, accounts, "tenant:manage_members", account_id)

    @extend_schema(
        operation_id="manage_read_service_account",
        summary="One service account",
        responses={200: ServiceAccountSerializer, **NOT_FOUND, **PROBLEMS},
    )
    def get(self, request: Request, tenant_id: UUID, account_id: UUID) -> Response:
        account = self._account(request, tenant_id, account_id)
        return tagged(account, _show_account(account))

    @extend_schema(
        operation_id="manage_change_service_account",
        summary="Say anew what a service account is for",
        parameters=[IF_MATCH],
        request=ServiceAccountChangeSerializer,
        responses={200: ServiceAccountSerializer, **NOT_FOUND, **STALE, **PROBLEMS},
    )
    def patch(self, request: Request, tenant_id: UUID, account_id: UUID) -> Response:
        account = self._account(request, tenant_id, account_id)
        body = body_of(request, ServiceAccountChangeSerializer)
        changed = automation.change_service_account(
            actor=actor_of(request),
            account=account,
            description=body["description"],
            expected_row_version=expected_version(request),
        )
        return tagged(changed, _show_account(changed))

    @extend_schema(
        operation_id="manage_delete_service_account",
        summary="End a service account, its tokens and its roles",
        parameters=[IF_MATCH],
        responses={204: None, **NOT_FOUND, **STALE, **PROBLEMS},
    )
    def delete(self, request: Request, tenant_id: UUID, account_id: UUID) -> Response:
        automation.delete_service_account(
            actor=actor_of(request),
            account=self._account(request, tenant_id, account_id),
            expected_row_version=expected_version(request),
        )
        return Response(status=204)
