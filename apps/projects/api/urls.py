from django.urls import path

from apps.projects.api.views import add_ons, audit, invitations, members, projects, usage

urlpatterns = [
    path("projects", projects.ProjectsView.as_view(), name="manage_projects"),
    path("projects/<uuid:project_id>", projects.ProjectView.as_view(), name="manage_project"),
    path(
        "projects/<uuid:project_id>/restore",
        projects.ProjectRestoreView.as_view(),
        name="manage_project_restore",
    ),
    path(
        "projects/<uuid:project_id>/members",
        members.ProjectMembersView.as_view(),
        name="manage_project_members",
    ),
    path(
        "projects/<uuid:project_id>/members/<uuid:member_id>",
        members.ProjectMemberView.as_view(),
        name="manage_project_member",
    ),
    path("projects/<uuid:project_id>/add-ons", add_ons.AddOnsView.as_view(), name="manage_add_ons"),
    path("projects/<uuid:project_id>/add-ons/<slug:name>", add_ons.AddOnView.as_view(), name="manage_add_on"),
    path("projects/<uuid:project_id>/usage", usage.ProjectUsageView.as_view(), name="manage_project_usage"),
    path("tenants/<uuid:tenant_id>/usage", usage.TenantUsageView.as_view(), name="manage_tenant_usage"),
    path(
        "projects/<uuid:project_id>/audit-events",
        audit.ProjectEventsView.as_view(),
        name="manage_project_events",
    ),
    path(
        "projects/<uuid:project_id>/audit-events/<uuid:event_id>",
        audit.ProjectEventView.as_view(),
        name="manage_project_event",
    ),
    path(
        "tenants/<uuid:tenant_id>/audit-events",
        audit.TenantEventsView.as_view(),
        name="manage_tenant_events",
    ),
    path(
        "tenants/<uuid:tenant_id>/audit-events/<uuid:event_id>",
        audit.TenantEventView.as_view(),
        name="manage_tenant_event",
    ),
    path(
        "tenants/<uuid:tenant_id>/invitations",
        invitations.InvitationsView.as_view(),
        name="manage_invitations",
    ),
    path(
        "tenants/<uuid:tenant_id>/invitations/<uuid:invitation_id>",
        invitations.InvitationView.as_view(),
        name="manage_invitation",
    ),
    path("invitations/accept", invitations.AcceptInvitationView.as_view(), name="manage_accept_invitation"),
]
