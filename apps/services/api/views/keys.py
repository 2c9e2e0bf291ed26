"""API keys in the management API."""

from collections.abc import Mapping
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
)
from apps.core.api.pages import list_parameters, paged
from apps.core.api.requests import expected_version
from apps.core.errors import NotFound
from apps.core.idempotency import Answer
from apps.services import operations
from apps.services.api.filters import ApiKeyFilter
from apps.services.api.serializers import (
    ApiKeyChangeSerializer,
    ApiKeyIssuedSerializer,
    ApiKeyRotateSerializer,
    ApiKeySerializer,
    ApiKeyWriteSerializer,
)
from apps.services.api.views.services import service_of
from apps.services.models import ApiKey, Slot
from apps.services.operations.keys import OVERLAP_DEFAULT_SECONDS, rights_to_issue

_ORDER = ("-created_at", "slot")


def _show(key: ApiKey) -> dict[str, Any]:
    return {
        "id": key.pk,
        "slot": key.slot,
        "prefix": key.prefix,
        "last4": key.last4,
        "scopes": key.scopes,
        "allowed_networks": key.allowed_networks,
        "expires_at": key.expires_at,
        "is_outgoing": key.is_outgoing,
        "ends_at": key.ends_at,
        "revoked_at": key.revoked_at,
        "created_at": key.created_at,
        "last_used_at": key.last_used_at,
        "row_version": key.row_version,
    }


def _key_of(request: Request, service_id: UUID, key_id: UUID) -> ApiKey:
    """The key, for those who may issue or end keys there."""
    actor = actor_of(request)
    keys = ApiKey.objects.filter(service=service_id, pk=key_id).select_related("service__project__tenant")
    for permission in ("api_key:issue", "api_key:revoke"):
        found = keys.visible_to(actor, permission).first()
        if found is not None:
            return found
    raise NotFound


def _made(key: ApiKey, text: str) -> Answer:
    return Answer(_show(key), etag_of(key), shown_once={"key": text})


class ApiKeysView(ManageView):
    @extend_schema(
        operation_id="manage_list_api_keys",
        summary="A service's keys, revoked ones too, without their texts",
        parameters=list_parameters(orderings=_ORDER, filters=ApiKeyFilter),
        responses={200: page_of(ApiKeySerializer), **NOT_FOUND, **PROBLEMS},
    )
    def get(self, request: Request, service_id: UUID) -> Response:
        service = service_of(request, service_id)
        require_list(request, "api_key:issue", service)
        page = paged(
            request,
            ApiKey.objects.filter(service=service),
            _show,
            orderings=_ORDER,
            search=("last4",),
            filters=ApiKeyFilter,
        )
        return Response(page)

    @extend_schema(
        operation_id="manage_issue_api_key",
        summary="Issue a key into a free slot; its text is in this answer alone",
        parameters=[IDEMPOTENCY_KEY],
        request=ApiKeyWriteSerializer,
        responses={201: ApiKeyIssuedSerializer, **NOT_FOUND, **CONFLICT, **PROBLEMS},
    )
    def post(self, request: Request, service_id: UUID) -> Response:
        service = service_of(request, service_id)
        body = body_of(request, ApiKeyWriteSerializer)

        def make() -> Answer:
            return _made(
                *operations.issue_api_key(
                    actor=actor_of(request),
                    service=service,
                    slot=body.get("slot", Slot.PRIMARY),
                    scopes=body.get("scopes", ()),
                    expires_at=body.get("expires_at"),
                    allowed_networks=body.get("allowed_networks", ()),
                )
            )

        return created(request, asks=rights_to_issue(service, body.get("scopes", ())), make=make)


def _terms(body: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Of what a body may leave out, what it says; the rest stays as the key has it."""
    return {name: body.get(name, operations.KEEP) for name in names}


class ApiKeyView(ManageView):
    @extend_schema(
        operation_id="manage_read_api_key",
        summary="One key, without its text",
        responses={200: ApiKeySerializer, **NOT_FOUND, **PROBLEMS},
    )
    def get(self, request: Request, service_id: UUID, key_id: UUID) -> Response:
        key = _key_of(request, service_id, key_id)
        return tagged(key, _show(key))

    @extend_schema(
        operation_id="manage_change_api_key",
        summary="Change when a key expires and where it may come from; asks what issuing asks",
        parameters=[IF_MATCH],
        request=ApiKeyChangeSerializer,
        responses={200: ApiKeySerializer, **NOT_FOUND, **CONFLICT, **STALE, **PROBLEMS},
    )
    def patch(self, request: Request, service_id: UUID, key_id: UUID) -> Response:
        key = _key_of(request, service_id, key_id)
        body = body_of(request, ApiKeyChangeSerializer)
        changed = operations.change_api_key(
            actor=actor_of(request),
            key=key,
            expected_row_version=expected_version(request),
            **_terms(body, "expires_at", "allowed_networks"),
        )
        return tagged(changed, _show(changed))

    @extend_schema(
        operation_id="manage_revoke_api_key",
        summary="End a key: a current one with its whole slot, an outgoing one alone",
        parameters=[IF_MATCH],
        responses={204: None, **NOT_FOUND, **CONFLICT, **STALE, **PROBLEMS},
    )
    def delete(self, request: Request, service_id: UUID, key_id: UUID) -> Response:
        key = _key_of(request, service_id, key_id)
        operations.end_api_key(
            actor=actor_of(request), key=key, expected_row_version=expected_version(request)
        )
        return Response(status=204)


class ApiKeyRotateView(ManageView):
    @extend_schema(
        operation_id="manage_rotate_api_key",
        summary="Replace a key; the old one works on for the overlap",
        parameters=[IDEMPOTENCY_KEY, IF_MATCH],
        request=ApiKeyRotateSerializer,
        responses={201: ApiKeyIssuedSerializer, **NOT_FOUND, **CONFLICT, **STALE, **PROBLEMS},
    )
    def post(self, request: Request, service_id: UUID, key_id: UUID) -> Response:
        key = _key_of(request, service_id, key_id)
        body = body_of(request, ApiKeyRotateSerializer)
        # Read before a repeat is looked for: one that cannot be read is refused then too.
        expected = expected_version(request)

        def make() -> Answer:
            return _made(
                *operations.rotate_api_key(
                    actor=actor_of(request),
                    key=key,
                    overlap_seconds=body.get("overlap_seconds", OVERLAP_DEFAULT_SECONDS),
                    expected_row_version=expected,
                    **_terms(body, "scopes", "expires_at", "allowed_networks"),
                )
            )

        asks = rights_to_issue(key.service, body.get("scopes", key.scopes))
        return created(request, asks=asks, make=make)
