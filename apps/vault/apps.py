from django.apps import AppConfig


class VaultConfig(AppConfig):
    name = "apps.vault"
    label = "vault"

    def ready(self) -> None:
        from apps.projects import holdings
        from apps.services import entries
        from apps.services.inheritance import register_entry_keys
        from apps.services.models import EntryKind
        from apps.vault.dependants import keys_of
        from apps.vault.operations import count_configs, count_secrets
        from apps.vault.purge import purge_entries
        from apps.vault.resolution import config_keys, secret_keys

        entries.register_namer(keys_of)
        holdings.register_counter("secrets", count_secrets)
        holdings.register_counter("configs", count_configs)
        holdings.register_due_purger(purge_entries)
        register_entry_keys(EntryKind.SECRET, secret_keys)
        register_entry_keys(EntryKind.CONFIG, config_keys)
