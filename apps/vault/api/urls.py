from django.urls import path

from apps.vault.api.export import ExportView
from apps.vault.api.versions import (
    DestroySecretVersionView,
    RestoreSecretVersionView,
    SecretVersionsView,
)
from apps.vault.api.views import SecretsView, SecretView, UnknownAddressView

urlpatterns = [
    path("export", ExportView.as_view(), name="export"),
    path("secrets", SecretsView.as_view(), name="secrets"),
    path("secrets/<str:key>/versions", SecretVersionsView.as_view(), name="secret_versions"),
    path(
        "secrets/<str:key>/versions/<int:version>",
        DestroySecretVersionView.as_view(),
        name="secret_version",
    ),
    path(
        "secrets/<str:key>/versions/<int:version>/restore",
        RestoreSecretVersionView.as_view(),
        name="restore_secret_version",
    ),
    # What is no number names no version, and is no key either.
    path("secrets/<str:key>/versions/<path:rest>", UnknownAddressView.as_view()),
    path("secrets/<path:key>", SecretView.as_view(), name="secret"),
]
