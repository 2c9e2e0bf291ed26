"""What must happen after a commit: a row written with the change, delivered by a sweeper.

A Celery message only wakes the sweeper; the rows say what is due. Each delivery is at least once:
a handler must bear being called twice with the same payload.
"""

import logging
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from django.core.mail import send_mail
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from apps.core.models import OutboxMessage

logger = logging.getLogger(__name__)

# Longer than any delivery takes; a sweeper that died gives its messages back after it.
LEASE = timedelta(minutes=2)
BATCH = 50
# 1, 2, 4 … minutes: the last attempt comes some 17 hours after the first.
MAX_ATTEMPTS = 10

Handler = Callable[[Mapping[str, Any]], None]
_handlers: dict[str, Handler] = {}


def register_handler(topic: str, handler: Handler) -> None:
    _handlers[topic] = handler


def enqueue(topic: str, payload: Mapping[str, Any]) -> OutboxMessage:
    """Have `payload` delivered once the present transaction commits. Never put a value in it."""
    return OutboxMessage.objects.create(topic=topic, payload=dict(payload), due_at=timezone.now())


def _lease() -> list[OutboxMessage]:
    now = timezone.now()
    with transaction.atomic():
        due = (
            OutboxMessage.objects.select_for_update(skip_locked=True)
            .filter(delivered_at=None, dead_at=None, due_at__lte=now)
            .filter(Q(leased_until=None) | Q(leased_until__lt=now))
            .order_by("due_at")[:BATCH]
        )
        taken = list(due)
        for message in taken:
            message.attempts += 1
            message.leased_until = now + LEASE
            message.save(update_fields=["attempts", "leased_until"])
    return taken


def sweep() -> int:
    """Deliver what is due and return how many were delivered. A failed one is tried again later."""
    delivered = 0
    for message in _lease():
        handler = _handlers.get(message.topic)
        now = timezone.now()
        try:
            if handler is None:
                raise LookupError(f"nothing delivers {message.topic!r}")
            handler(message.payload)
        except (OSError, LookupError, ValueError) as error:
            # Names of errors only: their texts could quote an address or a payload.
            message.last_error = type(error).__name__
            message.due_at = now + timedelta(minutes=2 ** (message.attempts - 1))
            message.dead_at = now if message.attempts >= MAX_ATTEMPTS else None
            logger.warning("Outbox message %s (%s) failed: %s", message.id, message.topic, message.last_error)
        else:
            message.delivered_at = now
            delivered += 1
        message.leased_until = None
        message.save(update_fields=["last_error", "due_at", "dead_at", "delivered_at", "leased_until"])
    return delivered


def send_outbox_mail(payload: Mapping[str, Any]) -> None:
    send_mail(payload["subject"], payload["text"], None, [payload["to"]])


register_handler("mail", send_outbox_mail)
