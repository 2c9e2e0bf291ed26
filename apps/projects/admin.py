from django.contrib import admin

from apps.core.admin import OperationAdmin
from apps.projects.models import Project, ProjectMember


@admin.register(Project)
class ProjectAdmin(OperationAdmin):
    read_permission = "project:read"
    list_display = ("slug", "name", "tenant", "tier", "created_at")
    list_select_related = ("tenant",)
    list_filter = ("tier",)
    search_fields = ("slug", "name")
    ordering = ("slug",)


@admin.register(ProjectMember)
class ProjectMemberAdmin(OperationAdmin):
    read_permission = "member:read"
    list_display = ("user", "project", "role", "ends_at")
    list_select_related = ("user", "project__tenant")
    ordering = ("project", "user")
