"""Write events, and check what was written.

`record` runs inside the operation's transaction: if it fails, the change is undone. Its chain's
head is the last lock that an operation takes, so two writers of a chain wait for each other and
numbers have no gaps.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import Any

from django.db import transaction

from apps.audit.events import ACCESS_ACTIONS, Action, ChainKind, Outcome
from apps.audit.models import NAME_MAX_LENGTH, USER_AGENT_MAX_LENGTH, AuditChain, AuditEvent
from apps.audit.targets import Target
from apps.core import clock, crypto, keys
from apps.core.actor import Actor
from apps.core.ids import uuid7
from apps.core.models import Purpose

DIGEST_SCHEMA = 1
# SPEC 12: failures are recorded at most once in so long per actor, action and target.
COALESCED_FOR = timedelta(minutes=1)
# Targets whose repeats are counted in memory; beyond it the oldest count is written early.
COALESCED_MAX = 10_000


def printable(text: str, limit: int) -> str:
    """`text` with control characters and lone surrogates escaped, cut to `limit` characters.

    Names and user agents come from strangers; a log reader's terminal must survive them.
    """
    escaped = "".join(
        character
        if character.isprintable()
        else character.encode("unicode_escape", "surrogatepass").decode("ascii")
        for character in text[:limit]
    )
    return escaped[:limit]


def canonical(changes: Mapping[str, Any]) -> str:
    return json.dumps(changes, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def digest_of(event: AuditEvent) -> bytes:
    """SHA-256 over every field of the event, its number and its predecessor's digest."""
    fields = [
        DIGEST_SCHEMA,
        str(event.chain_id),
        event.sequence,
        str(event.id),
        event.time.astimezone(UTC).isoformat(timespec="microseconds"),
        str(event.tenant_id or ""),
        str(event.project_id or ""),
        str(event.service_id or ""),
        event.actor_type,
        event.actor_id,
        event.actor_name,
        event.action,
        event.object_type,
        event.object_id,
        event.object_key,
        event.address,
        event.user_agent,
        event.request_id,
        event.outcome,
        event.count,
        event.changes,
    ]
    text = json.dumps(fields, separators=(",", ":"), ensure_ascii=True)
    return crypto.sha256(bytes(event.previous_digest) + text.encode())


def mac_of(key: keys.Key, digest: bytes) -> bytes:
    return crypto.mac(key.secret, "nexus.audit-event.1", digest)


def _chain_scope(action: Action, target: Target) -> tuple[str, ChainKind]:
    if target.project_id is not None:
        kind = ChainKind.ACCESS if action in ACCESS_ACTIONS else ChainKind.CHANGES
        return f"project:{target.project_id}:{kind}", kind
    if target.tenant_id is not None:
        return f"tenant:{target.tenant_id}", ChainKind.TENANT
    return "installation", ChainKind.INSTALLATION


def _locked_chain(action: Action, target: Target) -> AuditChain:
    scope, kind = _chain_scope(action, target)
    chain = AuditChain.objects.select_for_update().filter(scope=scope).first()
    if chain is None:
        AuditChain.objects.get_or_create(
            scope=scope,
            defaults={"kind": kind, "tenant_id": target.tenant_id, "project_id": target.project_id},
        )
        chain = AuditChain.objects.select_for_update().get(scope=scope)
    return chain


def record(
    *,
    actor: Actor,
    action: Action,
    target: Target,
    changes: Mapping[str, Any] | None = None,
    outcome: Outcome = Outcome.SUCCESS,
    count: int = 1,
) -> AuditEvent:
    """Append an event to its chain, in the transaction of what it tells of.

    `changes` maps field names to `[old, new]`, or to what is; configs as templates, secrets as
    version numbers only. Raises TransactionManagementError outside a transaction.
    """
    if not transaction.get_connection().in_atomic_block:
        raise transaction.TransactionManagementError("An event is recorded in the transaction of its change.")
    mac_key = keys.server_key(Purpose.AUDIT_MAC)
    chain = _locked_chain(action, target)
    event = AuditEvent(
        id=uuid7(),
        chain=chain,
        sequence=chain.head_sequence + 1,
        time=clock.now(),
        tenant_id=target.tenant_id,
        project_id=target.project_id,
        service_id=target.service_id,
        actor_type=actor.type,
        actor_id=printable(actor.id, NAME_MAX_LENGTH),
        actor_name=printable(actor.name, NAME_MAX_LENGTH),
        action=action,
        object_type=target.type,
        object_id=target.id,
        object_key=printable(target.key, NAME_MAX_LENGTH),
        address=actor.origin.address,
        user_agent=printable(actor.origin.user_agent, USER_AGENT_MAX_LENGTH),
        request_id=printable(actor.origin.request_id, 64),
        outcome=outcome,
        count=count,
        changes=canonical(changes or {}),
        previous_digest=bytes(chain.head_digest),
        mac_key_id=mac_key.id,
    )
    event.digest = digest_of(event)
    event.mac = mac_of(mac_key, event.digest)
    event.save(force_insert=True)
    chain.head_sequence = event.sequence
    chain.head_digest = event.digest
    chain.save(update_fields=["head_sequence", "head_digest"])
    return event


@dataclass(slots=True)
class _Window:
    ends_at: datetime
    further: int
    actor: Actor
    action: Action
    target: Target
    outcome: Outcome


Identity = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Due:
    """What is to be written now: `count` of this event (0: it is only remembered), and what ended unsaid.

    `taken` are the windows whose counts are in it, by identity: they come back if the write fails.
    """

    identity: Identity
    count: int
    ended: list[_Window]
    taken: dict[Identity, _Window]


class _Coalescer:
    """Counts repeats within a minute, so that one event stands for many.

    A window opens when its first event is committed: until then nobody's read goes out on the strength of it,
    and whoever comes meanwhile writes an event of their own. The count of a window is carried by the
    next event of the same kind, or by one of its own when the window is swept: nothing that was counted
    goes unsaid while the process lives.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._windows: dict[Identity, _Window] = {}

    def forget(self) -> None:
        with self._lock:
            self._windows.clear()

    def take(self, identity: Identity) -> _Due:
        now = clock.now()
        with self._lock:
            window = self._windows.get(identity)
            if window is not None and window.ends_at > now:
                window.further += 1
                taken = self._over(now)
                count = 0
            else:
                taken = {} if window is None else {identity: self._windows.pop(identity)}
                taken |= self._over(now)
                count = 1 + (window.further if window is not None else 0)
            ended = [each for key, each in taken.items() if key != identity and each.further]
            return _Due(identity, count, ended, taken)

    def committed(self, due: _Due, window: _Window) -> None:
        with self._lock:
            self._windows.setdefault(due.identity, window)

    def failed(self, due: _Due) -> None:
        """Nothing was written: what had been counted is to be said another time."""
        with self._lock:
            for identity, window in due.taken.items():
                standing = self._windows.setdefault(identity, window)
                if standing is not window:
                    standing.further += window.further

    def _over(self, now: datetime) -> dict[Identity, _Window]:
        over = [key for key, window in self._windows.items() if window.ends_at <= now]
        if len(self._windows) >= COALESCED_MAX:
            over += [key for key in list(self._windows)[: COALESCED_MAX // 10] if key not in over]
        return {key: self._windows.pop(key) for key in over}


_coalescer = _Coalescer()
forget_coalesced = _coalescer.forget


def record_coalesced(
    *, actor: Actor, action: Action, target: Target, outcome: Outcome = Outcome.SUCCESS, subject: str = ""
) -> None:
    """Record an event at most once a minute per actor, action and subject, in its own transaction.

    The first is written and committed before this returns; what follows within the minute is
    added to the count of its successor. `subject` is what repeats are told apart by, by default
    the object.
    """
    by = actor.id or actor.origin.address
    due = _coalescer.take((actor.type, by, action, target.type, subject or target.id or target.key))
    if not due.count and not due.ended:
        return
    try:
        with transaction.atomic(durable=_durable()):
            for window in due.ended:
                record(
                    actor=window.actor,
                    action=window.action,
                    target=window.target,
                    outcome=window.outcome,
                    count=window.further,
                )
            if due.count:
                record(actor=actor, action=action, target=target, outcome=outcome, count=due.count)
    except BaseException:
        _coalescer.failed(due)
        raise
    if due.count:
        ends_at = clock.now() + COALESCED_FOR
        _coalescer.committed(due, _Window(ends_at, 0, actor, action, target, outcome))


def _durable() -> bool:
    # A test that runs inside a transaction of its own cannot commit; everything else must.
    return not transaction.get_connection().in_atomic_block


def record_denial(*, actor: Actor, permission: str, target: Target) -> None:
    """Tell that `actor` was refused, after the refused operation rolled back (SPEC 12)."""
    record_coalesced(
        actor=actor,
        action=Action.ACTION_DENIED,
        target=target,
        outcome=Outcome.DENIED,
        subject=f"{permission}:{target.id or target.key}",
    )
