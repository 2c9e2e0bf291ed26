from django.urls import URLPattern, path

from apps.vault.api import history, transfer
from apps.vault.api.manage_configs import ManagedConfigsView, ManagedConfigView
from apps.vault.api.manage_secrets import ManagedSecretsView, ManagedSecretView, RevealSecretView

_SERVICE = "services/<uuid:service_id>"


def _history(collection: str, views: history.Views) -> list[URLPattern]:
    entry = f"{_SERVICE}/{collection}/<str:key>"
    version = f"{entry}/versions/<int:version>"
    return [
        path(f"{entry}/versions", views.versions.as_view(), name=f"manage_{collection}_versions"),
        path(version, views.version.as_view(), name=f"manage_{collection}_version"),
        path(
            f"{version}/restore", views.restore_version.as_view(), name=f"manage_{collection}_restore_version"
        ),
        path(f"{entry}/rename", views.rename.as_view(), name=f"manage_{collection}_rename"),
        path(f"{entry}/restore", views.restore.as_view(), name=f"manage_{collection}_restore"),
        path(f"{entry}/diff", views.diff.as_view(), name=f"manage_{collection}_diff"),
    ]


urlpatterns = [
    path(f"{_SERVICE}/secrets", ManagedSecretsView.as_view(), name="manage_secrets"),
    path(f"{_SERVICE}/secrets/<str:key>", ManagedSecretView.as_view(), name="manage_secret"),
    path(f"{_SERVICE}/secrets/<str:key>/reveal", RevealSecretView.as_view(), name="manage_reveal"),
    *_history("secrets", history.SECRET_VIEWS),
    path(f"{_SERVICE}/configs", ManagedConfigsView.as_view(), name="manage_configs"),
    path(f"{_SERVICE}/configs/<str:key>", ManagedConfigView.as_view(), name="manage_config"),
    *_history("configs", history.CONFIG_VIEWS),
    path(f"{_SERVICE}/import", transfer.ImportView.as_view(), name="manage_import"),
    path(f"{_SERVICE}/export", transfer.ExportView.as_view(), name="manage_export"),
    path(f"{_SERVICE}/compare", transfer.CompareView.as_view(), name="manage_compare"),
    path(f"{_SERVICE}/promote", transfer.PromoteView.as_view(), name="manage_promote"),
]
