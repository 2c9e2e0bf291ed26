"""What time goes on what is written: always the real one, except while the demo is made.

`now` dates audit events and the `created_at` and `updated_at` of rows. It decides nothing: who is
present, whether a key has expired, and whether a flag is on ask `django.utils.timezone`, which
nobody can set. `nexus.demo` alone sets this clock (tests/architecture/test_clock.py), and production
refuses it whoever asks (docs/decisions/0007).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import models
from django.utils import timezone

from apps.core.errors import NotPermitted

# Bound to the thread or task that set it: no request beside it is ever dated by it.
_demo_time: ContextVar[datetime | None] = ContextVar("nexus_demo_time", default=None)


def now() -> datetime:
    return _demo_time.get() or timezone.now()


@contextmanager
def demo_time(moment: datetime) -> Iterator[None]:
    """Date what is written in the block by `moment`, which must have passed.

    Raises NotPermitted in production, and ValueError for a time to come.
    """
    # Named are those that may, so that a new environment is refused until somebody thought of it.
    if settings.NEXUS_ENV not in ("embedded", "test"):
        raise NotPermitted("Only the demo of an embedded installation sets the clock.")
    if moment > timezone.now():
        raise ValueError("Nothing has happened in the future.")
    token = _demo_time.set(moment)
    try:
        yield
    finally:
        _demo_time.reset(token)


class StampField(models.DateTimeField):  # type: ignore[type-arg] # Django's class takes no arguments when it runs
    """A DateTimeField whose `auto_now_add` and `auto_now` ask this clock.

    To migrations it is the DateTimeField that it extends: the database does not know who dates a row.
    """

    def deconstruct(self) -> Any:
        name, _, args, kwargs = super().deconstruct()
        return name, "django.db.models.DateTimeField", args, kwargs

    def pre_save(self, model_instance: models.Model, add: bool) -> Any:
        if self.auto_now or (self.auto_now_add and add):
            setattr(model_instance, self.attname, now())
            return getattr(model_instance, self.attname)
        return super().pre_save(model_instance, add)
