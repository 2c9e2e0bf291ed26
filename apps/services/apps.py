from django.apps import AppConfig


class ServicesConfig(AppConfig):
    name = "apps.services"
    label = "services"

    def ready(self) -> None:
        from apps.core.access import live_grants, register_grants
        from apps.projects import holdings
        from apps.services.models import ServiceGrant
        from apps.services.operations import (
            count_services,
            drop_service_grants,
            purge_due_services,
            purge_services,
            service_blockers,
            service_environments,
        )

        register_grants("service", live_grants(ServiceGrant))
        holdings.register_counter("services", count_services)
        holdings.register_blockers(service_blockers)
        holdings.register_environments(service_environments)
        holdings.register_grant_dropper(drop_service_grants)
        holdings.register_purger(purge_services)
        holdings.register_due_purger(purge_due_services)
