"""Access tokens in the management API."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from apps.audit.api.manage import (
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
    tagged,
    visible,
)
from apps.core.actor import ActorType
from apps.core.api.pages import list_parameters, paged
from apps.core.api.requests import expected_version
from apps.core.errors import NotFound, NotPermitted
from apps.core.idempotency import Answer
from apps.tenancy import automation
from apps.tenancy.api.filters import AccessTokenFilter
from apps.tenancy.api.serializers import (
    AccessTokenIssuedSerializer,
    AccessTokenSerializer,
    AccessTokenWriteSerializer,
)
from apps.tenancy.models import AccessToken, AccessTokenQuerySet, ServiceAccount, User

_ORDER = ("-created_at", "expires_at", "name")


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


def _manageable_tokens(request: Request) -> AccessTokenQuerySet:
    """One's own tokens and those of the service accounts of tenants that one owns. In a session only."""
    actor = actor_of(request)
    if actor.type is not ActorType.OPERATOR:
        raise NotPermitted("Tokens are managed by people in a session.", permission="access_token:manage")
    return AccessToken.objects.manageable_by(actor).select_related("user__service_account")


class AccessTokensView(ManageView):
    @extend_schema(
        operation_id="manage_list_access_tokens",
        summary="One's own tokens, and those of service accounts that one manages",
        parameters=list_parameters(orderings=_ORDER, filters=AccessTokenFilter),
        responses={200: page_of(AccessTokenSerializer), **PROBLEMS},
    )
    def get(self, request: Request) -> Response:
        tokens = _manageable_tokens(request)
        return Response(
            paged(
                request,
                tokens,
                _show_token,
                orderings=_ORDER,
                search=("name",),
                filters=AccessTokenFilter,
            )
        )

    @extend_schema(
        operation_id="manage_issue_access_token",
        summary="Issue a token; its text is in this answer alone",
        parameters=[IDEMPOTENCY_KEY],
        request=AccessTokenWriteSerializer,
        responses={201: AccessTokenIssuedSerializer, **NOT_FOUND, **PROBLEMS},
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
            accounts = ServiceAccount.objects.of_automation().select_related("user__service_account")
            return visible(request, accounts, "tenant:manage_members", body["service_account"]).user
        user = User.objects.filter(pk=str(actor_of(request).user_id)).first()
        if user is None:
            raise NotFound
        return user


class AccessTokenView(ManageView):
    def _token(self, request: Request, token_id: UUID) -> AccessToken:
        found = _manageable_tokens(request).filter(pk=token_id).first()
        if found is None:
            raise NotFound
        return found

    @extend_schema(
        operation_id="manage_read_access_token",
        summary="One token, without its text",
        responses={200: AccessTokenSerializer, **NOT_FOUND, **PROBLEMS},
    )
    def get(self, request: Request, token_id: UUID) -> Response:
        token = self._token(request, token_id)
        return tagged(token, _show_token(token))

    @extend_schema(
        operation_id="manage_revoke_access_token",
        summary="Revoke a token",
        parameters=[IF_MATCH],
        responses={204: None, **NOT_FOUND, **STALE, **PROBLEMS},
    )
    def delete(self, request: Request, token_id: UUID) -> Response:
        automation.revoke_access_token(
            actor=actor_of(request),
            token=self._token(request, token_id),
            expected_row_version=expected_version(request),
        )
        return Response(status=204)
