"""One `Idempotency-Key` makes one thing, however often it is sent (SPEC 10).

Follows draft-ietf-httpapi-idempotency-key-header-07: the first request does the work, a repeat gets
its answer, a repeat with another body is refused. The record is written in the transaction of the
work, so that a refused or failed request leaves the key unused. A repeat that arrives while the
first one works waits for it.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from django.db import IntegrityError, transaction

from apps.core import crypto, keys
from apps.core.actor import Actor
from apps.core.errors import IdempotencyKeyReused, InvalidInput
from apps.core.models import IdempotencyRecord, Purpose

# Longer than any client keeps repeating one request; the hourly purge removes what is older.
KEPT = timedelta(hours=24)
_KEY = re.compile(r"[\x21-\x7e]{1,255}\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a create is answered with. `shown_once` stands in the first answer alone."""

    document: Mapping[str, Any]
    etag: str = ""
    status: int = 201
    shown_once: Mapping[str, Any] = field(default_factory=dict)
    is_replay: bool = False

    @property
    def body(self) -> dict[str, Any]:
        return {**self.document, **self.shown_once}


def require_key(text: str) -> str:
    """`text` if it can be an Idempotency-Key, else raise InvalidInput."""
    text = text.strip()
    if not _KEY.match(text):
        raise InvalidInput.of("Idempotency-Key", "Send 1 to 255 visible ASCII characters, such as a UUID.")
    return text


def once(
    *,
    actor: Actor,
    method: str,
    path: str,
    key: str,
    body: object,
    ask_again: Callable[[], None],
    make: Callable[[], Answer],
) -> Answer:
    """The answer of `make`, run once for this actor, method, path and key.

    A repeat within 24 hours runs `ask_again`, which raises where the actor may no longer do it, and
    gets the stored answer; in place of members that are shown once stands `already_shown`. Raises
    IdempotencyKeyReused when the body differs, and what `make` raises, which leaves the key unused.
    """
    identity = ("nexus.idempotency-scope.1", actor.type.value, actor.id, method, path, require_key(key))
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":"))
    # Read from the database, and not the one that is remembered: a request that came before a
    # rotation of the key, and its repeat after it, must find each other.
    mac_key, *former = keys.server_keys(Purpose.IDEMPOTENCY) or [keys.server_key(Purpose.IDEMPOTENCY)]
    with transaction.atomic():
        record = IdempotencyRecord(
            scope_digest=crypto.mac(mac_key.secret, *identity),
            body_mac=_body_mac(mac_key, canonical),
            key_id=mac_key.id,
        )
        found = _under_former_keys(former, identity)
        if found is None:
            try:
                with transaction.atomic():
                    record.save(force_insert=True)
            except IntegrityError:
                found = IdempotencyRecord.objects.get(scope_digest=record.scope_digest)
        if found is not None:
            maker = keys.server_key_by_id(found.key_id)
            if not crypto.same(bytes(found.body_mac), _body_mac(maker, canonical)):
                raise IdempotencyKeyReused from None
            ask_again()
            already = {"already_shown": True} if found.omitted_members else {}
            return Answer({**found.document, **already}, found.etag, found.status, is_replay=True)
        answer = make()
        record.document = json.loads(json.dumps(answer.document, default=_text))
        record.status, record.etag = answer.status, answer.etag
        record.omitted_members = bool(answer.shown_once)
        record.save(update_fields=["document", "status", "etag", "omitted_members"])
        return answer


def _body_mac(key: keys.Key, canonical: str) -> bytes:
    return crypto.mac(key.secret, "nexus.idempotency-body.1", canonical)


def _under_former_keys(former: Sequence[keys.Key], identity: tuple[str, ...]) -> IdempotencyRecord | None:
    """What was answered before the key was rotated; records live a day, keys that made them longer."""
    digests = [crypto.mac(key.secret, *identity) for key in former]
    return IdempotencyRecord.objects.filter(scope_digest__in=digests).first() if digests else None


def _text(value: Any) -> str:
    """Ids and times as the API writes them."""
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
