"""Tenants, service accounts and access tokens in the management API."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from apps.audit.api.manage import (
    IDEMPOTENCY_KEY,
    IF_MATCH,
    PROBLEMS,
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
from apps.core.actor import ActorType
from apps.core.api.pages import list_parameters, paged
from apps.core.api.problems import ProblemSerializer
from apps.core.api.requests import expected_version
from apps.core.errors import NotFound, NotPermitted
from apps.core.idempotency import Answer
from apps.tenancy import automation, operations
from apps.tenancy.api.serializers import (
    AccessTokenIssuedSerializer,
    AccessTokenSerializer,
    AccessTokenWriteSerializer,
    ServiceAccountSerializer,
    ServiceAccountWriteSerializer,
    TenantChangeSerializer,
    TenantMemberSerializer,
    TenantSerializer,
)
from apps.tenancy.models import AccessToken, ServiceAccount, Tenant, TenantMember, User

_TENANT_ORDER = ("slug", "name", "created_at")
_MEMBER_ORDER = ("created_at", "role")
_ACCOUNT_ORDER = ("name", "created_at")
_TOKEN_ORDER = ("-created_at", "expires_at", "name")


def show_tenant(tenant: Tenant) -> dict[str, Any]:
    return {
        "id": tenant.pk,
        "slug": tenant.slug,
        "name": tenant.name,
        "suspended": tenant.suspended_at is not None,
        "created_at": tenant.created_at,
        "row_version": tenant.row_version,
    }


class TenantsView(ManageView):
    @extend_schema(
        operation_id="manage_list_tenants",
        summary="The tenants that one belongs to",
        parameters=list_parameters(orderings=_TENANT_ORDER),
        responses={200: page_of(TenantSerializer), **PROBLEMS},
    )
    def get(self, request: Request) -> Response:
        tenants = Tenant.objects.visible_to(actor_of(request), "tenant:read")
        return Response(
            paged(
                request,
                tenants,
                show_tenant,
                orderings=_TENANT_ORDER,
                search=("slug", "name"),
            )
        )


class TenantView(ManageView):
    @extend_schema(
        operation_id="manage_read_tenant",
        summary="One tenant",
        responses={200: TenantSerializer, 404: ProblemSerializer, **PROBLEMS},
    )
    def get(self, request: Request, tenant_id: UUID) -> Response:
        tenant = visible(request, Tenant.objects.all(), "tenant:read", tenant_id)
        return tagged(tenant, show_tenant(tenant))

    @extend_schema(
        operation_id="manage_change_tenant",
        summary="Change a tenant's name",
        parameters=[IF_MATCH],
        request=TenantChangeSerializer,
        responses={200: TenantSerializer, 404: ProblemSerializer, 412: ProblemSerializer, **PROBLEMS},
    )
    def patch(self, request: Request, tenant_id: UUID) -> Response:
        tenant = visible(request, Tenant.objects.all(), "tenant:read", tenant_id)
        body = body_of(request, TenantChangeSerializer)
        changed = operations.change_tenant(
            actor=actor_of(request),
            tenant=tenant,
            name=body["name"],
            expected_row_version=expected_version(request),
        )
        return tagged(changed, show_tenant(changed))


def _show_member(member: TenantMember) -> dict[str, Any]:
    return {
        "id": member.pk,
        "email": member.user.email,
        "name": member.user.name,
        "role": member.role,
        "is_service_account": member.user.is_service_account,
        "ends_at": member.ends_at,
        "row_version": member.row_version,
    }


class TenantMembersView(ManageView):
    @extend_schema(
        operation_id="manage_list_tenant_members",
        summary="Who belongs to a tenant, for its owners",
        parameters=list_parameters(orderings=_MEMBER_ORDER),
        responses={200: page_of(TenantMemberSerializer), 404: ProblemSerializer, **PROBLEMS},
    )
    def get(self, request: Request, tenant_id: UUID) -> Response:
        tenant = visible(request, Tenant.objects.all(), "tenant:read", tenant_id)
        require_list(request, "tenant:manage_members", tenant)
        members = tenant.members.select_related("user")
        return Response(
            paged(
                request,
                members,
                _show_member,
                orderings=_MEMBER_ORDER,
                search=("user__email", "user__name"),
            )
        )


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
        parameters=list_parameters(orderings=_ACCOUNT_ORDER),
        responses={200: page_of(ServiceAccountSerializer), 404: ProblemSerializer, **PROBLEMS},
    )
    def get(self, request: Request, tenant_id: UUID) -> Response:
        tenant = visible(request, Tenant.objects.all(), "tenant:read", tenant_id)
        require_list(request, "tenant:manage_members", tenant)
        accounts = tenant.service_accounts.select_related("user")
        return Response(paged(request, accounts, _show_account, orderings=_ACCOUNT_ORDER, search=("name",)))

    @extend_schema(
        operation_id="manage_create_service_account",
        summary="Make a service account",
        parameters=[IDEMPOTENCY_KEY],
        request=ServiceAccountWriteSerializer,
        responses={
            201: ServiceAccountSerializer,
            404: ProblemSerializer,
            409: ProblemSerializer,
            **PROBLEMS,
        },
    )
    def post(self, request: Request, tenant_id: UUID) -> Response:
        tenant = visible(request, Tenant.objects.all(), "tenant:read", tenant_id)
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
        accounts = ServiceAccount.objects.filter(tenant=tenant_id).select_related("user", "tenant")
        return visible(request, accounts, "tenant:manage_members", account_id)

    @extend_schema(
        operation_id="manage_read_service_account",
        summary="One service account",
        responses={200: ServiceAccountSerializer, 404: ProblemSerializer, **PROBLEMS},
    )
    def get(self, request: Request, tenant_id: UUID, account_id: UUID) -> Response:
        account = self._account(request, tenant_id, account_id)
        return tagged(account, _show_account(account))

    @extend_schema(
        operation_id="manage_delete_service_account",
        summary="End a service account, its tokens and its roles",
        responses={204: None, 404: ProblemSerializer, **PROBLEMS},
    )
    def delete(self, request: Request, tenant_id: UUID, account_id: UUID) -> Response:
        account = self._account(request, tenant_id, account_id)
        automation.delete_service_account(actor=actor_of(request), account=account)
        return Response(status=204)


def _show_token(token: AccessToken) -> dict[str, Any]:
    account = token.user.service_account if token.user.is_service_account else None
    return {
        "id": token.pk,
        "name": token.name,
        "last4": token.last4,
        "scopes": token.scopes,
        "service_account": account.pk if account else None,
        "created_at": token.created_at,
        "expires_at": token.expires_at,
        "last_used_at": token.last_used_at,
        "revoked_at": token.revoked_at,
        "row_version": token.row_version,
    }


def _manageable_tokens(request: Request) -> Any:
    """One's own tokens and those of the service accounts of tenants that one owns. In a session only."""
    actor = actor_of(request)
    if actor.type is not ActorType.OPERATOR:
        raise NotPermitted("Tokens are managed by people in a session.", permission="access_token:manage")
    accounts = ServiceAccount.objects.visible_to(actor, "tenant:manage_members")
    tokens = AccessToken.objects.select_related("user__service_account")
    return tokens.filter(user=actor.user_id) | tokens.filter(user__service_account__in=accounts)


class AccessTokensView(ManageView):
    @extend_schema(
        operation_id="manage_list_access_tokens",
        summary="One's own tokens, and those of service accounts that one manages",
        parameters=list_parameters(orderings=_TOKEN_ORDER),
        responses={200: page_of(AccessTokenSerializer), **PROBLEMS},
    )
    def get(self, request: Request) -> Response:
        tokens = _manageable_tokens(request)
        return Response(
            paged(
                request,
                tokens,
                _show_token,
                orderings=_TOKEN_ORDER,
                search=("name",),
            )
        )

    @extend_schema(
        operation_id="manage_issue_access_token",
        summary="Issue a token; its text is in this answer alone",
        parameters=[IDEMPOTENCY_KEY],
        request=AccessTokenWriteSerializer,
        responses={201: AccessTokenIssuedSerializer, 404: ProblemSerializer, **PROBLEMS},
    )
    def post(self, request: Request) -> Response:
        body = body_of(request, AccessTokenWriteSerializer)
        bearer = self._bearer(request, body)

        def make() -> Answer:
            token, text = automation.issue_access_token(
                actor=actor_of(request),
                bearer=bearer,
                name=body["name"],
                scopes=body["scopes"],
                expires_at=body["expires_at"],
            )
            return Answer(_show_token(token), etag_of(token), shown_once={"token": text})

        # Who may issue is asked by `_bearer` each time.
        return created(request, asks=[], make=make)

    def _bearer(self, request: Request, body: Mapping[str, Any]) -> User:
        if "service_account" in body:
            accounts = ServiceAccount.objects.select_related("user__service_account")
            return visible(request, accounts, "tenant:manage_members", body["service_account"]).user
        user = User.objects.filter(pk=str(actor_of(request).user_id)).first()
        if user is None:
            raise NotFound
        return user


class AccessTokenView(ManageView):
    def _token(self, request: Request, token_id: UUID) -> AccessToken:
        found: AccessToken | None = _manageable_tokens(request).filter(pk=token_id).first()
        if found is None:
            raise NotFound
        return found

    @extend_schema(
        operation_id="manage_read_access_token",
        summary="One token, without its text",
        responses={200: AccessTokenSerializer, 404: ProblemSerializer, **PROBLEMS},
    )
    def get(self, request: Request, token_id: UUID) -> Response:
        token = self._token(request, token_id)
        return tagged(token, _show_token(token))

    @extend_schema(
        operation_id="manage_revoke_access_token",
        summary="Revoke a token",
        responses={204: None, 404: ProblemSerializer, **PROBLEMS},
    )
    def delete(self, request: Request, token_id: UUID) -> Response:
        automation.revoke_access_token(actor=actor_of(request), token=self._token(request, token_id))
        return Response(status=204)
