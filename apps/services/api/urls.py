from django.urls import path

from apps.services.api import grants
from apps.services.api.views import keys, services, umbrellas, workloads

_SERVICE = "services/<uuid:service_id>"
_KEY = f"{_SERVICE}/api-keys/<uuid:key_id>"
_IDENTITIES = f"{_SERVICE}/workload-identities"

urlpatterns = [
    path("services", services.ServicesView.as_view(), name="manage_services"),
    path(_SERVICE, services.ServiceView.as_view(), name="manage_service"),
    path(f"{_SERVICE}/restore", services.ServiceRestoreView.as_view(), name="manage_service_restore"),
    path(f"{_SERVICE}/disable", services.ServiceDisableView.as_view(), name="manage_service_disable"),
    path(f"{_SERVICE}/resume", services.ServiceResumeView.as_view(), name="manage_service_resume"),
    path(f"{_SERVICE}/link", umbrellas.ServiceLinkView.as_view(), name="manage_service_link"),
    path(f"{_SERVICE}/unlink", umbrellas.ServiceUnlinkView.as_view(), name="manage_service_unlink"),
    path(f"{_SERVICE}/api-keys", keys.ApiKeysView.as_view(), name="manage_api_keys"),
    path(_KEY, keys.ApiKeyView.as_view(), name="manage_api_key"),
    path(f"{_KEY}/rotate", keys.ApiKeyRotateView.as_view(), name="manage_api_key_rotate"),
    path(_IDENTITIES, workloads.WorkloadIdentitiesView.as_view(), name="manage_workload_identities"),
    path(
        f"{_IDENTITIES}/<uuid:identity_id>",
        workloads.WorkloadIdentityView.as_view(),
        name="manage_workload_identity",
    ),
    path("projects/<uuid:project_id>/grants", grants.GrantsView.as_view(), name="manage_grants"),
    path(
        "projects/<uuid:project_id>/grants/<uuid:grant_id>", grants.GrantView.as_view(), name="manage_grant"
    ),
]
