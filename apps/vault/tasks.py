"""Scheduled jobs of the vault. A message only wakes them; the rows say what is due."""

from celery import shared_task

from apps.vault import reminding


@shared_task
def remind_of_secrets() -> int:
    return reminding.remind_of_secrets()
