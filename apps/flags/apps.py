from django.apps import AppConfig


class FlagsConfig(AppConfig):
    name = "apps.flags"
    label = "flags"

    def ready(self) -> None:
        from apps.flags.operations import count_flags, flag_keys
        from apps.flags.purge import purge_entries
        from apps.projects import holdings
        from apps.services.inheritance import register_entry_keys
        from apps.services.models import EntryKind

        holdings.register_counter("flags", count_flags)
        holdings.register_due_purger(purge_entries)
        register_entry_keys(EntryKind.FLAG, flag_keys)
