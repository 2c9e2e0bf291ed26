"""Scheduled jobs of projects. A message only wakes them; the rows say what is due."""

from celery import shared_task

from apps.projects import purging


@shared_task
def purge_deleted() -> int:
    purged = purging.purge_deleted()
    return purged.rows + purged.projects + purged.tenants + purged.idempotency_records
