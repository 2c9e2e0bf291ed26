"""Replace the keys above the data keys: root keys and server keys. The data keys' own life is in
`apps.vault.reencryption`."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from django.db import transaction

from apps.audit.events import Action
from apps.audit.operations import record
from apps.audit.targets import Target
from apps.core import keys
from apps.core.access import require_here
from apps.core.actor import Actor
from apps.core.changes import ChangeEvent, announce
from apps.core.errors import InvalidInput, Unreadable
from apps.core.ids import uuid7
from apps.core.models import DataKey, KeyState, Purpose, ServerKey
from apps.core.progress import Progress

# One transaction and one event for so many; with a KMS some 100 ms each, asked before it begins.
BATCH = 100

_WRAPPED: tuple[type[ServerKey] | type[DataKey], ...] = (ServerKey, DataKey)


@dataclass(frozen=True, slots=True)
class Rewrapped:
    """`left` counts the keys that another root key still wraps, because they do not open."""

    rewrapped: int
    left: int


def count_under_other_root_keys() -> int:
    """How many live keys are wrapped by another root key than the current one."""
    return sum(len(_ids_under_other_root_keys(model)) for model in _WRAPPED)


def rotate_root_key(*, actor: Actor, progress: Progress | None = None) -> Rewrapped:
    """Wrap every live key by the current root key, the first of NEXUS_ROOT_KEY.

    Values are not touched. Each batch is a transaction with its event; killed in between, the next
    run goes on with what is left, and a run that finds nothing changes nothing. Afterwards no
    process needs the former root keys, once all were restarted with the new one as the first.

    Raises MissingRootKey while a key is wrapped by a root key that is not given, and KmsUnavailable.
    """
    require_here(actor, "key:rotate")
    keys.require_all_root_keys()
    done = 0
    for model in _WRAPPED:
        ids = _ids_under_other_root_keys(model)
        for start in range(0, len(ids), BATCH):
            count = _rewrap_batch(actor, list(model.objects.filter(pk__in=ids[start : start + BATCH])))
            done += count
            if progress is not None:
                progress(count)
    return Rewrapped(done, count_under_other_root_keys())


def _ids_under_other_root_keys(model: type[ServerKey] | type[DataKey]) -> list[UUID]:
    rows = model.objects.exclude(state=KeyState.DESTROYED).exclude(root_key_id=next(iter(keys.root_keys())))
    return list(rows.order_by("pk").values_list("pk", flat=True))


def _rewrap_batch(actor: Actor, rows: Sequence[ServerKey | DataKey]) -> int:
    ready = []
    for row in rows:
        try:
            ready.append((row, *keys.rewrap(row)))
        except Unreadable:
            continue  # Counted as left; `verify_vault` names it.
    with transaction.atomic():
        stored = [(row, root_id) for row, root_id, new in ready if keys.store_rewrapped(row, root_id, new)]
        if stored:
            former = sorted({row.root_key_id for row, _ in stored})
            current = stored[0][1]
            record(
                actor=actor,
                action=Action.ROOT_KEY_ROTATED,
                target=Target("root_key", current),
                changes={"root_key": [former, current], "kind": stored[0][0]._meta.model_name},
                count=len(stored),
            )
    return len(stored)


@transaction.atomic
def rotate_server_key(*, actor: Actor, purpose: str) -> ServerKey:
    """Make a new server key of `purpose` current. The former one retires.

    What the former made stays good: credentials under it are found, events and checkpoints under it
    verify, what it sealed opens. Delivery processes use the new one within 2 s, others within
    `keys.CURRENT_KEY_SECONDS`. Raises InvalidInput for a purpose that does not exist.
    """
    require_here(actor, "key:rotate")
    if purpose not in Purpose.values:
        raise InvalidInput.of("purpose", f"Choose one of {', '.join(Purpose.values)}.")
    former = keys.lock_server_keys(Purpose(purpose))
    key_id = uuid7()
    # Told before it is done: an event under an audit key that this very transaction makes would
    # leave that key remembered as current even if the transaction were rolled back.
    record(
        actor=actor,
        action=Action.SERVER_KEY_ROTATED,
        target=Target("server_key", str(key_id), purpose),
        changes={"id": [str(former.pk), str(key_id)], "version": [former.version, former.version + 1]},
    )
    new = keys.replace_server_key(former, key_id)
    announce(event=ChangeEvent.SERVER_KEY_ROTATED)
    return new
