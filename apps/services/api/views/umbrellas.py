"""Linking services to umbrellas in the management API."""

from typing import Any
from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from apps.audit.api.manage import (
    IF_MATCH,
    NOT_FOUND,
    PROBLEMS,
    STALE,
    ManageView,
    actor_of,
    body_of,
    tagged,
)
from apps.core.api.requests import expected_version
from apps.services import operations
from apps.services.api.serializers import LinkedSerializer, LinkSerializer, UnlinkSerializer
from apps.services.api.views.services import service_of
from apps.services.models import EntryKind, Service

_MEMBERS = {EntryKind.SECRET: "secrets", EntryKind.CONFIG: "configs", EntryKind.FLAG: "flags"}


def _show(linked: operations.Linked) -> dict[str, Any]:
    document: dict[str, Any] = {
        "umbrella": linked.umbrella_id,
        "applied": linked.applied,
        "row_version": linked.service.row_version,
    }
    for kind, member in _MEMBERS.items():
        effect, readable = linked.effects[kind], kind in linked.readable
        document[member] = {
            "gains": list(effect.gains) if readable else None,
            "loses": list(effect.loses) if readable else None,
            "changes": [{"key": key, "effect": how} for key, how in effect.changes] if readable else None,
            "counts": {
                "gains": len(effect.gains),
                "loses": len(effect.loses),
                "changes": len(effect.changes),
            },
        }
    return document


def _change(request: Request, service: Service, umbrella: Service | None, dry_run: bool) -> Response:
    linked = operations.change_umbrella(
        actor=actor_of(request),
        service=service,
        umbrella=umbrella,
        dry_run=dry_run,
        expected_row_version=expected_version(request),
    )
    return tagged(linked.service, _show(linked))


class ServiceLinkView(ManageView):
    @extend_schema(
        operation_id="manage_link_service",
        summary="Let a service inherit from an umbrella; a dry run only tells what that would do",
        parameters=[IF_MATCH],
        request=LinkSerializer,
        responses={200: LinkedSerializer, **NOT_FOUND, **STALE, **PROBLEMS},
    )
    def post(self, request: Request, service_id: UUID) -> Response:
        service = service_of(request, service_id)
        body = body_of(request, LinkSerializer)
        umbrella = service_of(request, body["umbrella"])
        return _change(request, service, umbrella, body.get("dry_run", False))


class ServiceUnlinkView(ManageView):
    @extend_schema(
        operation_id="manage_unlink_service",
        summary="Let a service inherit no more; a dry run only tells what that would do",
        parameters=[IF_MATCH],
        request=UnlinkSerializer,
        responses={200: LinkedSerializer, **NOT_FOUND, **STALE, **PROBLEMS},
    )
    def post(self, request: Request, service_id: UUID) -> Response:
        service = service_of(request, service_id)
        body = body_of(request, UnlinkSerializer)
        return _change(request, service, None, body.get("dry_run", False))
