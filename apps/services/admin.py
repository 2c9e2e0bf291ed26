from django.contrib import admin

from apps.core.admin import OperationAdmin
from apps.services.models import ApiKey, Service


@admin.register(Service)
class ServiceAdmin(OperationAdmin):
    read_permission = "service:read"
    list_display = ("slug", "project", "environment", "kind", "is_umbrella", "umbrella", "revision")
    list_select_related = ("project__tenant", "umbrella__project__tenant")
    list_filter = ("environment", "kind", "is_umbrella")
    search_fields = ("slug", "name")
    ordering = ("project", "environment", "slug")


@admin.register(ApiKey)
class ApiKeyAdmin(OperationAdmin):
    read_permission = "api_key:issue"
    list_display = ("__str__", "service", "slot", "created_at", "last_used_at", "expires_at", "revoked_at")
    list_select_related = ("service__project__tenant",)
    fields = (
        "service",
        "slot",
        "prefix",
        "last4",
        "scopes",
        "allowed_networks",
        "expires_at",
        "last_used_at",
    )
    ordering = ("service", "slot")
