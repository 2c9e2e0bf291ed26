"""Workload identities in the management API."""

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
    page_of,
    require_list,
    tagged,
    visible,
)
from apps.core.api.pages import list_parameters, paged
from apps.core.api.requests import expected_version
from apps.services import operations
from apps.services.api.serializers import WorkloadIdentitySerializer
from apps.services.api.views.services import service_of
from apps.services.models import WorkloadIdentity

_ORDER = ("-created_at", "provider", "issuer", "subject")


def _show(identity: WorkloadIdentity) -> dict[str, Any]:
    return {
        "id": identity.pk,
        "provider": identity.provider,
        "issuer": identity.issuer,
        "audience": identity.audience,
        "subject": identity.subject,
        "claims": identity.claims,
        "pins_key_set": identity.key_set is not None,
        "pins_ca": bool(identity.ca_pem),
        "is_single_use": identity.is_single_use,
        "disabled": identity.disabled_at is not None,
        "use_count": identity.use_count,
        "last_used_at": identity.last_used_at,
        "created_at": identity.created_at,
        "row_version": identity.row_version,
    }


class WorkloadIdentitiesView(ManageView):
    @extend_schema(
        operation_id="manage_list_workload_identities",
        summary="The workloads that a service trusts",
        parameters=list_parameters(orderings=_ORDER),
        responses={200: page_of(WorkloadIdentitySerializer), **NOT_FOUND, **PROBLEMS},
    )
    def get(self, request: Request, service_id: UUID) -> Response:
        service = service_of(request, service_id)
        require_list(request, "workload_identity:manage", service)
        page = paged(
            request,
            WorkloadIdentity.objects.filter(service=service),
            _show,
            orderings=_ORDER,
            search=("issuer", "subject"),
        )
        return Response(page)


class WorkloadIdentityView(ManageView):
    def _identity(self, request: Request, service_id: UUID, identity_id: UUID) -> WorkloadIdentity:
        identities = WorkloadIdentity.objects.filter(service=service_id)
        return visible(
            request,
            identities.select_related("service__project__tenant"),
            "workload_identity:manage",
            identity_id,
        )

    @extend_schema(
        operation_id="manage_read_workload_identity",
        summary="One workload that a service trusts",
        responses={200: WorkloadIdentitySerializer, **NOT_FOUND, **PROBLEMS},
    )
    def get(self, request: Request, service_id: UUID, identity_id: UUID) -> Response:
        identity = self._identity(request, service_id, identity_id)
        return tagged(identity, _show(identity))

    @extend_schema(
        operation_id="manage_distrust_workload",
        summary="Trust a workload no more; its sessions are refused",
        parameters=[IF_MATCH],
        responses={204: None, **NOT_FOUND, **STALE, **PROBLEMS},
    )
    def delete(self, request: Request, service_id: UUID, identity_id: UUID) -> Response:
        identity = self._identity(request, service_id, identity_id)
        operations.distrust_workload(
            actor=actor_of(request),
            service=identity.service,
            identity_id=identity.pk,
            expected_row_version=expected_version(request),
        )
        return Response(status=204)
