from django.contrib import admin

from apps.core.admin import OperationAdmin
from apps.vault.models import Config, Secret


@admin.register(Secret)
class SecretAdmin(OperationAdmin):
    """Keys and metadata. Versions, where the ciphertext stands, are not registered at all."""

    read_permission = "secret:list"
    list_display = ("key", "service", "active_version", "is_final", "updated_at")
    list_select_related = ("service__project__tenant",)
    search_fields = ("key",)
    ordering = ("service", "key")


@admin.register(Config)
class ConfigAdmin(OperationAdmin):
    read_permission = "config:read"
    list_display = ("key", "service", "active_version", "is_final", "updated_at")
    list_select_related = ("service__project__tenant",)
    search_fields = ("key",)
    ordering = ("service", "key")
