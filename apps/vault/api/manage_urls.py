from django.urls import URLPattern, path

from apps.vault.api import transfer

urlpatterns: list[URLPattern] = [
    path("services/<uuid:service_id>/import", transfer.ImportView.as_view()),
    path("services/<uuid:service_id>/export", transfer.ExportView.as_view()),
    path("services/<uuid:service_id>/compare", transfer.CompareView.as_view()),
    path("services/<uuid:service_id>/promote", transfer.PromoteView.as_view()),
]
