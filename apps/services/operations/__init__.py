"""Make services, link them, issue and end their keys, and let go of what was deleted."""

from apps.services.operations.keys import (
    KEEP,
    change_api_key,
    end_api_key,
    issue_api_key,
    revoke_api_key,
    rotate_api_key,
)
from apps.services.operations.purge import purge_due_services, purge_services
from apps.services.operations.services import (
    RESTORABLE,
    change_service,
    count_services,
    create_service,
    delete_service,
    disable_service,
    drop_service_grants,
    restorable,
    restore_service,
    resume_service,
    service_blockers,
    service_environments,
)
from apps.services.operations.umbrellas import Linked, change_umbrella, link_umbrella
from apps.services.operations.workloads import distrust_workload

__all__ = [
    "KEEP",
    "RESTORABLE",
    "Linked",
    "change_api_key",
    "change_service",
    "change_umbrella",
    "count_services",
    "create_service",
    "delete_service",
    "disable_service",
    "distrust_workload",
    "drop_service_grants",
    "end_api_key",
    "issue_api_key",
    "link_umbrella",
    "purge_due_services",
    "purge_services",
    "restorable",
    "restore_service",
    "resume_service",
    "revoke_api_key",
    "rotate_api_key",
    "service_blockers",
    "service_environments",
]
