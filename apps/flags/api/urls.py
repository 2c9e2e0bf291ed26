from django.urls import path

from apps.flags.api import views

urlpatterns = [
    path("services/<uuid:service_id>/flags", views.FlagsView.as_view(), name="manage_flags"),
    path("services/<uuid:service_id>/flags/<str:key>", views.FlagView.as_view(), name="manage_flag"),
    path(
        "services/<uuid:service_id>/flags/<str:key>/restore",
        views.RestoreFlagView.as_view(),
        name="manage_restore_flag",
    ),
]
