from django.apps import AppConfig


class CoreConfig(AppConfig):
    name = "apps.core"
    label = "core"

    def ready(self) -> None:
        from django.db.models.signals import post_migrate

        from apps.core import changes, triggers

        post_migrate.connect(triggers.reinstall, dispatch_uid="core.triggers")
        changes.register_configured_wakers()
