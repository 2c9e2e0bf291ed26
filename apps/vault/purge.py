"""Delete secrets and configs for good once nobody can restore them any more."""

from datetime import datetime

from apps.audit.events import Action
from apps.services.purging import purge_rows
from apps.vault.models import Config, Secret
from apps.vault.operations import forget_overwritten


def purge_entries(now: datetime) -> int:
    """Delete secrets and configs whose `purge_after` has passed, with all their versions; how many.

    On SQLite freed pages are overwritten (`secure_delete`), and the write-ahead log is emptied after
    each batch, as for destroyed versions.
    """
    secrets = purge_rows(
        Secret.objects.all(), action=Action.SECRET_PURGED, now=now, overwritten=forget_overwritten
    )
    configs = purge_rows(
        Config.objects.all(), action=Action.CONFIG_PURGED, now=now, overwritten=forget_overwritten
    )
    return secrets + configs
