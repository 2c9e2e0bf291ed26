from django.apps import AppConfig


class VaultConfig(AppConfig):
    name = "apps.vault"
    label = "vault"

    def ready(self) -> None:
        from apps.projects import holdings
        from apps.services import entries
        from apps.vault.dependants import keys_of
        from apps.vault.operations import count_configs, count_secrets

        entries.register_namer(keys_of)
        holdings.register_counter("secrets", count_secrets)
        holdings.register_counter("configs", count_configs)
