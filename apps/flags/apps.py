from django.apps import AppConfig


class FlagsConfig(AppConfig):
    name = "apps.flags"
    label = "flags"

    def ready(self) -> None:
        from apps.flags.operations import count_flags
        from apps.flags.purge import purge_entries
        from apps.projects import holdings

        holdings.register_counter("flags", count_flags)
        holdings.register_entry_purger(purge_entries)
