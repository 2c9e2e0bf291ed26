from django.urls import URLPattern, path

from apps.services.api import grants

urlpatterns: list[URLPattern] = [
    path("projects/<uuid:project_id>/grants", grants.GrantsView.as_view(), name="manage_grants"),
    path(
        "projects/<uuid:project_id>/grants/<uuid:grant_id>", grants.GrantView.as_view(), name="manage_grant"
    ),
]
