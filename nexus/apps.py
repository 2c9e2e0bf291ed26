from django.apps import AppConfig
from django.contrib.admin import apps as admin_apps


class NexusConfig(AppConfig):
    name = "nexus"
    label = "nexus"
    default = True

    def ready(self) -> None:
        from nexus import checks  # noqa: F401 - registers them


class ConsoleConfig(admin_apps.AdminConfig):
    """The Django admin with our site."""

    default = False
    default_site = "nexus.console.site.ConsoleSite"

    def ready(self) -> None:
        super().ready()
        from django.contrib import admin
        from django.contrib.auth.models import Group

        # Groups give no right here; a page for them would promise one.
        admin.site.unregister(Group)
