"""Scheduled jobs of the core. A message only wakes them; their tables say what is due."""

from datetime import timedelta

from celery import shared_task
from django.db import transaction
from django.db.models import Max
from django.utils import timezone

from apps.core import outbox
from apps.core.models import Change, Installation

# A tailer or stream that was away for longer starts anew (SPEC 8: `resync`).
CHANGES_KEPT = timedelta(hours=24)


@shared_task
def sweep_outbox() -> int:
    return outbox.sweep()


@shared_task
def prune_changes() -> int:
    """Delete changes older than a day, and say in the same transaction how far the gap reaches."""
    with transaction.atomic():
        old = Change.objects.filter(created_at__lt=timezone.now() - CHANGES_KEPT)
        through = old.aggregate(last=Max("sequence"))["last"]
        if through is None:
            return 0
        Installation.current()
        Installation.objects.filter(changes_pruned_through__lt=through).update(changes_pruned_through=through)
        deleted, _ = old.delete()
    return deleted
