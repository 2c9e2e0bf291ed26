from django.apps import AppConfig


class ProjectsConfig(AppConfig):
    name = "apps.projects"
    label = "projects"

    def ready(self) -> None:
        from apps.core import outbox
        from apps.core.access import live_grants, register_grants
        from apps.projects import holdings, invitations
        from apps.projects.departures import leave_projects
        from apps.projects.models import ProjectGrant
        from apps.projects.operations import count_members, environment_blockers
        from apps.tenancy.departures import register_departure

        register_grants("project", live_grants(ProjectGrant))
        holdings.register_counter("members", count_members)
        holdings.register_blockers(environment_blockers)
        outbox.register_handler(invitations.TOPIC, invitations.send_invitation)
        register_departure(leave_projects)
