from django.urls import path

from apps.vault.api import transfer
from apps.vault.api.manage_configs import ManagedConfigsView, ManagedConfigView
from apps.vault.api.manage_secrets import ManagedSecretsView, ManagedSecretView, RevealSecretView

_SERVICE = "services/<uuid:service_id>"

urlpatterns = [
    path(f"{_SERVICE}/secrets", ManagedSecretsView.as_view(), name="manage_secrets"),
    path(f"{_SERVICE}/secrets/<str:key>", ManagedSecretView.as_view(), name="manage_secret"),
    path(f"{_SERVICE}/secrets/<str:key>/reveal", RevealSecretView.as_view(), name="manage_reveal"),
    path(f"{_SERVICE}/configs", ManagedConfigsView.as_view(), name="manage_configs"),
    path(f"{_SERVICE}/configs/<str:key>", ManagedConfigView.as_view(), name="manage_config"),
    path(f"{_SERVICE}/import", transfer.ImportView.as_view(), name="manage_import"),
    path(f"{_SERVICE}/export", transfer.ExportView.as_view(), name="manage_export"),
    path(f"{_SERVICE}/compare", transfer.CompareView.as_view(), name="manage_compare"),
    path(f"{_SERVICE}/promote", transfer.PromoteView.as_view(), name="manage_promote"),
]
