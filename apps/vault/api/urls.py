from django.urls import path

from apps.vault.api.export import ExportView
from apps.vault.api.views import SecretsView, SecretView

urlpatterns = [
    path("export", ExportView.as_view(), name="export"),
    path("secrets", SecretsView.as_view(), name="secrets"),
    path("secrets/<path:key>", SecretView.as_view(), name="secret"),
]
