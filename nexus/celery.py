"""The worker and its schedule. Each job is idempotent, and a message only wakes it."""

import os

from celery import Celery

from nexus.environment import settings_module

os.environ.setdefault("DJANGO_SETTINGS_MODULE", settings_module())

app = Celery("nexus")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks(["apps.core", "apps.projects", "apps.vault"])
app.conf.beat_schedule = {
    "sweep-outbox": {"task": "apps.core.tasks.sweep_outbox", "schedule": 30.0},
    "prune-changes": {"task": "apps.core.tasks.prune_changes", "schedule": 3600.0},
    # Once a day a project: the job remembers. Hourly, so that no night without a worker loses a day.
    "remind-of-secrets": {"task": "apps.vault.tasks.remind_of_secrets", "schedule": 3600.0},
    "purge-deleted": {"task": "apps.projects.tasks.purge_deleted", "schedule": 3600.0},
}
