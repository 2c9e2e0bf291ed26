"""Delete flags for good once nobody can restore them any more."""

from datetime import datetime

from apps.audit.events import Action
from apps.flags.models import Flag
from apps.services.purging import purge_rows


def purge_entries(now: datetime) -> int:
    """Delete flags whose `purge_after` has passed; how many."""
    return purge_rows(Flag.objects.all(), action=Action.FLAG_PURGED, now=now)
