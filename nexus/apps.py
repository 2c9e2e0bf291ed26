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
        from django.apps import apps
        from django.contrib import admin

        # Groups give no right here; a page for them would promise one. allauth's pages would write past
        # operations, and show what second factors are made from.
        for name in ("auth.Group", "account.EmailAddress", "mfa.Authenticator"):
            admin.site.unregister(apps.get_model(name))
