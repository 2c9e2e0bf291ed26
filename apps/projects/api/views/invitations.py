"""Invitations into a tenant and its projects, in the management API."""

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
    tagged,
    visible,
)
from apps.core.access import ProjectRole, TenantRole
from apps.core.api.pages import list_parameters, paged
from apps.core.api.requests import expected_version
from apps.core.errors import NotFound, NotPermitted
from apps.core.idempotency import Answer
from apps.projects import invitations
from apps.projects.api.filters import InvitationFilters
from apps.projects.api.serializers import (
    InvitationAcceptedSerializer,
    InvitationSerializer,
    InvitationTokenSerializer,
    InvitationWriteSerializer,
)
from apps.projects.models import Project
from apps.tenancy.models import Invitation, Tenant

_ORDER = ("-created_at", "expires_at", "email")


def _state(invitation: Invitation) -> str:
    if invitation.accepted_at:
        return "accepted"
    if invitation.revoked_at:
        return "revoked"
    return "pending" if invitations.is_pending(invitation) else "expired"


def _show(invitation: Invitation) -> dict[str, Any]:
    return {
        "id": invitation.pk,
        "email": invitation.email,
        "role": invitation.role,
        "project": invitation.project_id,
        "project_role": invitation.project_role or None,
        "invited_by": invitation.invited_by.email,
        "state": _state(invitation),
        "created_at": invitation.created_at,
        "expires_at": invitation.expires_at,
        "row_version": invitation.row_version,
    }


class InvitationsView(ManageView):
    @extend_schema(
        operation_id="manage_list_invitations",
        summary="Invitations into a tenant; for managers those into their projects",
        parameters=list_parameters(orderings=_ORDER, filters=InvitationFilters),
        responses={200: page_of(InvitationSerializer), **NOT_FOUND, **PROBLEMS},
    )
    def get(self, request: Request, tenant_id: UUID) -> Response:
        tenant = visible(request, Tenant.objects.all(), "tenant:read", tenant_id)
        rows = invitations.readable_invitations(actor_of(request), tenant).select_related("invited_by")
        return Response(
            paged(request, rows, _show, orderings=_ORDER, search=("email",), filters=InvitationFilters)
        )

    @extend_schema(
        operation_id="manage_create_invitation",
        summary="Invite an address; the mail is sent by itself",
        parameters=[IDEMPOTENCY_KEY],
        request=InvitationWriteSerializer,
        responses={201: InvitationSerializer, **NOT_FOUND, **CONFLICT, **PROBLEMS},
    )
    def post(self, request: Request, tenant_id: UUID) -> Response:
        tenant = visible(request, Tenant.objects.all(), "tenant:read", tenant_id)
        body = body_of(request, InvitationWriteSerializer)
        project = None
        if "project" in body:
            projects = Project.objects.filter(tenant=tenant)
            project = visible(request, projects, "project:read", body["project"])

        def make() -> Answer:
            invitation = invitations.create_invitation(
                actor=actor_of(request),
                tenant=tenant,
                email=body["email"],
                role=TenantRole(body.get("role", TenantRole.MEMBER)),
                project=project,
                project_role=ProjectRole(body["project_role"]) if "project_role" in body else None,
            )
            return Answer(_show(invitation), etag_of(invitation))

        ask = ("tenant:manage_members", tenant) if project is None else ("member:manage", project)
        return created(request, asks=[ask], make=make)


class InvitationView(ManageView):
    def _invitation(self, request: Request, tenant_id: UUID, invitation_id: UUID) -> Invitation:
        tenant = visible(request, Tenant.objects.all(), "tenant:read", tenant_id)
        try:
            rows = invitations.readable_invitations(actor_of(request), tenant)
        except NotPermitted:
            raise NotFound from None
        found = rows.select_related("invited_by", "tenant").filter(pk=invitation_id).first()
        if found is None:
            raise NotFound
        return found

    @extend_schema(
        operation_id="manage_read_invitation",
        summary="One invitation",
        responses={200: InvitationSerializer, **NOT_FOUND, **PROBLEMS},
    )
    def get(self, request: Request, tenant_id: UUID, invitation_id: UUID) -> Response:
        invitation = self._invitation(request, tenant_id, invitation_id)
        return tagged(invitation, _show(invitation))

    @extend_schema(
        operation_id="manage_revoke_invitation",
        summary="Take an invitation back",
        parameters=[IF_MATCH],
        responses={204: None, **NOT_FOUND, **CONFLICT, **STALE, **PROBLEMS},
    )
    def delete(self, request: Request, tenant_id: UUID, invitation_id: UUID) -> Response:
        invitations.revoke_invitation(
            actor=actor_of(request),
            invitation=self._invitation(request, tenant_id, invitation_id),
            expected_row_version=expected_version(request),
        )
        return Response(status=204)


class AcceptInvitationView(ManageView):
    @extend_schema(
        operation_id="manage_accept_invitation",
        summary="Accept an invitation that was sent to one's own address, in a session",
        request=InvitationTokenSerializer,
        responses={200: InvitationAcceptedSerializer, **NOT_FOUND, **CONFLICT, **PROBLEMS},
    )
    def post(self, request: Request) -> Response:
        body = body_of(request, InvitationTokenSerializer)
        accepted = invitations.accept_invitation(actor=actor_of(request), token=body["token"])
        return Response(
            {
                "tenant": accepted.tenant_id,
                "role": accepted.role,
                "project": accepted.project_id,
                "project_role": accepted.project_role or None,
            }
        )
