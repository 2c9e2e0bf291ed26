from django.contrib import admin

from apps.core.admin import OperationAdmin
from apps.tenancy.models import Tenant


@admin.register(Tenant)
class TenantAdmin(OperationAdmin):
    read_permission = "tenant:read"
    list_display = ("slug", "name", "suspended_at", "created_at")
    search_fields = ("slug", "name")
    ordering = ("slug",)
