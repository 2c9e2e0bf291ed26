"""Audit events of a project, and of a tenant outside its projects, in the management API."""

from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from apps.audit.api.documents import EVENT_PAGE, LIST_PARAMETERS, AuditEventSerializer, event_page, show_event
from apps.audit.api.manage import NOT_FOUND, PROBLEMS, ManageView, actor_of, require_list, visible
from apps.audit.models import AuditEvent, AuditEventQuerySet
from apps.core.access import permitted
from apps.core.errors import NotFound, NotPermitted
from apps.projects.models import Project
from apps.tenancy.models import Tenant

_READS = ("audit:read", "audit:read_non_secret")


def _of_project(request: Request, project_id: UUID) -> AuditEventQuerySet:
    # The project outside the rule of rights, so that its index finds the newest at once.
    return AuditEvent.objects.readable_by(actor_of(request)).filter(project_id=project_id)


def _of_tenant(request: Request, tenant_id: UUID) -> AuditEventQuerySet:
    return AuditEvent.objects.readable_by(actor_of(request)).filter(tenant_id=tenant_id, project_id=None)


def _one(events: AuditEventQuerySet, event_id: UUID) -> Response:
    event = events.filter(pk=event_id).first()
    if event is None:
        raise NotFound
    return Response(show_event(event))


class ProjectEventsView(ManageView):
    @extend_schema(
        operation_id="manage_list_project_audit_events",
        summary="A project's audit log; testers read what is not about secrets",
        parameters=LIST_PARAMETERS,
        responses={200: EVENT_PAGE, **NOT_FOUND, **PROBLEMS},
    )
    def get(self, request: Request, project_id: UUID) -> Response:
        project = visible(request, Project.objects.all(), "project:read", project_id)
        if not permitted(actor_of(request), _READS, project):
            raise NotPermitted(permission="audit:read", target=project)
        return Response(event_page(request, _of_project(request, project_id)))


class ProjectEventView(ManageView):
    @extend_schema(
        operation_id="manage_read_project_audit_event",
        summary="One event of a project's audit log",
        responses={200: AuditEventSerializer, **NOT_FOUND, **PROBLEMS},
    )
    def get(self, request: Request, project_id: UUID, event_id: UUID) -> Response:
        visible(request, Project.objects.all(), "project:read", project_id)
        return _one(_of_project(request, project_id), event_id)


class TenantEventsView(ManageView):
    @extend_schema(
        operation_id="manage_list_tenant_audit_events",
        summary="What happened in a tenant outside its projects, for its owners",
        parameters=LIST_PARAMETERS,
        responses={200: EVENT_PAGE, **NOT_FOUND, **PROBLEMS},
    )
    def get(self, request: Request, tenant_id: UUID) -> Response:
        tenant = visible(request, Tenant.objects.all(), "tenant:read", tenant_id)
        require_list(request, "tenant:read_audit", tenant)
        return Response(event_page(request, _of_tenant(request, tenant_id)))


class TenantEventView(ManageView):
    @extend_schema(
        operation_id="manage_read_tenant_audit_event",
        summary="One event of a tenant, outside its projects",
        responses={200: AuditEventSerializer, **NOT_FOUND, **PROBLEMS},
    )
    def get(self, request: Request, tenant_id: UUID, event_id: UUID) -> Response:
        visible(request, Tenant.objects.all(), "tenant:read", tenant_id)
        return _one(_of_tenant(request, tenant_id), event_id)
