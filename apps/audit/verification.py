"""Check that the audit log is what was written: every link, every number, every MAC.

Against heads that were signed and kept outside the database, truncation and roll-back show too;
without them nobody can tell, and the answer says so.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db.models import QuerySet
from django.utils import timezone

from apps.audit.models import AuditChain, AuditEvent
from apps.audit.operations import digest_of, mac_of
from apps.core import crypto, keys
from apps.core.models import KeyState, Purpose, ServerKey

BATCH = 1000


@dataclass(frozen=True, slots=True)
class BadEvent:
    """The first event of a chain that is not as it was written."""

    id: str
    chain: str
    number: int
    reason: str


@dataclass(frozen=True, slots=True)
class Verification:
    """`truncation` is `none` or `found` against the outside copy, `unknown` without one."""

    checked: int
    first_bad: BadEvent | None
    truncation: str

    @property
    def holds(self) -> bool:
        return self.first_bad is None and self.truncation != "found"


def _events(chain: AuditChain) -> Iterator[AuditEvent]:
    """The chain's events by number, in batches: a chain may be longer than memory."""
    last = chain.pruned_through
    while batch := list(chain.events.filter(sequence__gt=last).order_by("sequence")[:BATCH]):
        yield from batch
        last = batch[-1].sequence


def first_bad_event(chain: AuditChain, *, on_event: Callable[[], None]) -> BadEvent | None:
    """The first event of `chain` that was changed, removed, inserted or reordered."""
    macs = {row.id: keys.server_key_by_id(row.id) for row in _mac_keys()}
    previous, number = bytes(chain.pruned_digest), chain.pruned_through
    for event in _events(chain):
        number += 1
        reason = ""
        if event.sequence != number:
            reason = f"number {number} is missing"
        elif bytes(event.previous_digest) != previous:
            reason = "it does not follow its predecessor"
        elif digest_of(event) != bytes(event.digest):
            reason = "its fields are not those that were written"
        elif event.mac_key_id not in macs:
            reason = "its MAC names no audit key"
        elif not crypto.same(mac_of(macs[event.mac_key_id], bytes(event.digest)), bytes(event.mac)):
            reason = "its MAC was not made with the audit key"
        if reason:
            return BadEvent(str(event.id), chain.scope, number, reason)
        previous = bytes(event.digest)
        on_event()
    if number != chain.head_sequence or previous != bytes(chain.head_digest):
        return BadEvent("", chain.scope, number + 1, "the head says that more events were written")
    return None


def _mac_keys() -> QuerySet[ServerKey]:
    return ServerKey.objects.filter(purpose=Purpose.AUDIT_MAC).exclude(state=KeyState.DESTROYED)


def verify(chains: QuerySet[AuditChain], *, on_event: Callable[[], None] = lambda: None) -> Verification:
    """Check `chains` one after the other and stop at the first bad event."""
    checked = 0

    def count() -> None:
        nonlocal checked
        checked += 1
        on_event()

    first_bad = None
    ordered = chains.order_by("scope")
    for chain in ordered:
        first_bad = first_bad_event(chain, on_event=count)
        if first_bad is not None:
            break
    return Verification(checked, first_bad, _truncation(ordered))


def checkpoint_file() -> Path:
    return Path(settings.NEXUS_VAR) / "checkpoints.ndjson"


def sign_heads(chains: QuerySet[AuditChain]) -> int:
    """Sign the head of each chain (Ed25519) and append it to the file outside the database."""
    key = keys.server_key(Purpose.AUDIT_SIGNING)
    signed = 0
    with checkpoint_file().open("a", encoding="ascii") as file:
        for chain in chains.order_by("scope"):
            head = {
                "chain": chain.scope,
                "number": chain.head_sequence,
                "digest": bytes(chain.head_digest).hex(),
                "time": timezone.now().isoformat(timespec="microseconds"),
                "key": str(key.id),
                "public_key": crypto.public_key(key.secret).hex(),
            }
            head["signature"] = crypto.sign(key.secret, _signed_text(head)).hex()
            file.write(json.dumps(head, sort_keys=True) + "\n")
            signed += 1
    checkpoint_file().chmod(0o600)
    return signed


def _signed_text(head: dict[str, Any]) -> bytes:
    names = ("chain", "number", "digest", "time", "key", "public_key")
    return crypto.length_prefixed("nexus.audit-checkpoint.1", *(str(head[name]) for name in names))


def _checkpoints() -> Iterator[dict[str, Any]]:
    """The heads in the file whose signatures hold under keys of this installation."""
    public_keys: dict[str, str] = {}
    for row in ServerKey.objects.filter(purpose=Purpose.AUDIT_SIGNING).exclude(state=KeyState.DESTROYED):
        public_keys[str(row.id)] = crypto.public_key(keys.server_key_by_id(row.id).secret).hex()
    with checkpoint_file().open(encoding="ascii") as file:
        for line in file:
            try:
                head = json.loads(line)
                text, signature = _signed_text(head), bytes.fromhex(head["signature"])
                public = public_keys.get(head["key"], "")
            except (ValueError, KeyError, TypeError):
                continue  # A torn last line after a crash; what was signed before it still counts.
            if public and crypto.signature_holds(bytes.fromhex(public), signature, text):
                yield head


def _truncation(chains: QuerySet[AuditChain]) -> str:
    """Whether a signed head is missing from the database: `none`, `found`, or `unknown`."""
    if not checkpoint_file().is_file():
        return "unknown"
    known = {chain.scope: chain for chain in chains}
    existing = set(AuditChain.objects.values_list("scope", flat=True))
    compared = 0
    for head in _checkpoints():
        if head["chain"] not in existing:
            return "found"
        chain = known.get(head["chain"])
        if chain is None:
            continue  # It lies outside of what was asked for.
        compared += 1
        number, digest = int(head["number"]), bytes.fromhex(head["digest"])
        if number <= chain.pruned_through:
            continue
        if number > chain.head_sequence:
            return "found"
        event = chain.events.filter(sequence=number).first()
        if event is None or bytes(event.digest) != digest:
            return "found"
    return "none" if compared else "unknown"
