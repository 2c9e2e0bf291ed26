from django.apps import AppConfig


class VaultConfig(AppConfig):
    name = "apps.vault"
    label = "vault"

    def ready(self) -> None:
        from apps.projects import holdings
        from apps.vault.operations import count_configs, count_secrets
        from apps.vault.purge import purge_entries

        holdings.register_counter("secrets", count_secrets)
        holdings.register_counter("configs", count_configs)
        holdings.register_entry_purger(purge_entries)
