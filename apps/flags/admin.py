from django.contrib import admin

from apps.core.admin import OperationAdmin
from apps.flags.models import Flag


@admin.register(Flag)
class FlagAdmin(OperationAdmin):
    read_permission = "flag:read"
    list_display = ("key", "service", "type", "enabled", "starts_at", "ends_at", "is_final")
    list_select_related = ("service__project__tenant",)
    list_filter = ("enabled", "type")
    search_fields = ("key",)
    ordering = ("service", "key")
