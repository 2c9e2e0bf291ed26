"""What is not as it was written is refused before the first row, whoever changed it and however."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apps.core import keys
from apps.core.actor import Actor
from apps.core.errors import NexusError
from nexus.backup import container
from nexus.backup.container import ArchiveReader
from nexus.backup.errors import ArchiveIsDamaged, ArchiveIsOfAnotherRelease
from nexus.backup.making import make_backup
from nexus.backup.restoring import restore
from tests.backup.conftest import Document, count_rows, empty_database, forge, resigned
from tests.conftest import Cast

often = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), database=None)


@pytest.fixture
def small_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container, "FRAME_BYTES", 2000)


def refused(path: Path, actor: Actor) -> NexusError:
    """The refusal of `path`, into a database where it could go; no row was written."""
    before = count_rows()
    with pytest.raises(NexusError) as refusal:
        restore(actor=actor, path=path, trust_foreign=True)
    assert count_rows() == before
    return refusal.value


def test_no_byte_can_be_changed_and_nothing_cut_off_or_added(
    full_cast: Cast, command: Actor, tmp_path: Path
) -> None:
    make_backup(actor=command, path=tmp_path / "a", tenant=full_cast.tenant)
    data = (tmp_path / "a").read_bytes()
    keys.create_missing_server_keys()
    before = count_rows()
    changed = tmp_path / "changed"

    def refuse(damaged: bytes) -> None:
        changed.write_bytes(damaged)
        with pytest.raises((ArchiveIsDamaged, ArchiveIsOfAnotherRelease)):
            restore(actor=command, path=changed, trust_foreign=True)

    @often
    @given(st.integers(0, len(data) - 1), st.integers(1, 255))
    def flip(at: int, mask: int) -> None:
        refuse(data[:at] + bytes([data[at] ^ mask]) + data[at + 1 :])

    @often
    @given(st.integers(0, len(data) - 1))
    def cut(length: int) -> None:
        refuse(data[:length])

    flip()
    cut()
    refuse(data + b"\0")
    refuse(b"")

    assert count_rows() == before


def test_not_even_with_our_own_signature_can_a_byte_be_changed(
    full_cast: Cast, command: Actor, small_frames: None, tmp_path: Path
) -> None:
    make_backup(actor=command, path=tmp_path / "a", tenant=full_cast.tenant)
    data = (tmp_path / "a").read_bytes()
    before = count_rows()
    changed = tmp_path / "changed"

    @often
    @given(st.integers(0, len(data) - 97), st.integers(1, 255))
    def flip(at: int, mask: int) -> None:
        changed.write_bytes(resigned(data[:at] + bytes([data[at] ^ mask]) + data[at + 1 :]))
        # In the header it may be the id of the root key, or the word for a passphrase.
        with pytest.raises(NexusError):
            restore(actor=command, path=changed, trust_foreign=True)

    flip()

    assert count_rows() == before


def parts(path: Path) -> tuple[bytes, list[bytes]]:
    """The start with the header, and the frames with their lengths."""
    data = path.read_bytes()
    at = container._START.size + container._START.unpack_from(data)[2]
    start, frames = data[:at], []
    while at < len(data) - 96:
        end = at + container._FRAME.size + container._FRAME.unpack_from(data, at)[1]
        frames.append(data[at:end])
        at = end
    return start, frames


def test_frames_cannot_be_moved_left_out_repeated_or_taken_from_another_archive(
    full_cast: Cast, command: Actor, small_frames: None, tmp_path: Path
) -> None:
    make_backup(actor=command, path=tmp_path / "a", tenant=full_cast.tenant)
    make_backup(actor=command, path=tmp_path / "b", tenant=full_cast.tenant)
    start, frames = parts(tmp_path / "a")
    _, others = parts(tmp_path / "b")
    assert len(frames) > 4
    before = count_rows()
    swapped = [frames[0], frames[2], frames[1], *frames[3:]]
    last_as_more = b"\0" + frames[-1][1:]
    more_as_last = b"\1" + frames[-2][1:]
    lists = {
        "moved": swapped,
        "left out": frames[:2] + frames[3:],
        "repeated": [*frames[:2], *frames[1:]],
        "without the last": frames[:-1],
        "ended early": [*frames[:-2], more_as_last],
        "not ended": [*frames[:-1], last_as_more],
        "something after the end": [*frames, frames[-1]],
        "another's": [*frames[:2], others[2], *frames[3:]],
        "none": [],
    }

    for what, changed in lists.items():
        (tmp_path / "c").write_bytes(resigned(start + b"".join(changed) + bytes(96)))
        with pytest.raises(ArchiveIsDamaged):
            restore(actor=command, path=tmp_path / "c")
        assert count_rows() == before, what
    # What is put together as it was is good, so that the refusals above mean something.
    (tmp_path / "c").write_bytes(resigned(start + b"".join(frames) + bytes(96)))
    assert restore(actor=command, path=tmp_path / "c").tenant == "acme"


Lie = Callable[[Document], Any]

LIES: dict[str, tuple[Lie, type[NexusError]]] = {
    "more rows are announced": (lambda it: it.said.update({"vault.Secret": 9}), ArchiveIsDamaged),
    "fewer rows are announced": (lambda it: it.said.update({"vault.Secret": 1}), ArchiveIsDamaged),
    "another number stands at the end": (lambda it: setattr(it, "end", 1), ArchiveIsDamaged),
    "a row stands there twice": (
        lambda it: it.tables["vault.Secret"].append(it.tables["vault.Secret"][0]),
        ArchiveIsDamaged,
    ),
    "a version without its secret": (
        lambda it: it.tables["vault.Secret"].remove(it.row("vault.Secret", key="stripe")),
        ArchiveIsDamaged,
    ),
    "a service without its umbrella": (
        lambda it: it.row("services.Service", slug="checkout").update(
            umbrella_id="01900000-0000-7000-8000-000000000000"
        ),
        ArchiveIsDamaged,
    ),
    "a number as text": (
        lambda it: it.row("vault.Secret", key="stripe").update(active_version="3"),
        ArchiveIsDamaged,
    ),
    "a number that no column holds": (
        lambda it: it.row("vault.Secret", key="stripe").update(active_version=2**40),
        ArchiveIsDamaged,
    ),
    "nothing where something must be": (
        lambda it: it.row("vault.Secret", key="stripe").update(key=None),
        ArchiveIsDamaged,
    ),
    "a NUL in a text": (
        lambda it: it.row("projects.Project", slug="shop").update(name="a\0b"),
        ArchiveIsDamaged,
    ),
    "a text that is too long": (
        lambda it: it.row("projects.Project", slug="shop").update(slug="s" * 64),
        ArchiveIsDamaged,
    ),
    "a time without an offset": (
        lambda it: it.row("projects.Project", slug="shop").update(created_at="2026-01-01T00:00:00"),
        ArchiveIsDamaged,
    ),
    "an id in another form": (
        lambda it: [row.update(id=row["id"].upper()) for row in it.tables["services.ApiKey"]],
        ArchiveIsDamaged,
    ),
    "a permission that is none": (
        lambda it: it.tables["projects.ProjectGrant"][0].update(permission_id=["projects", "project", "all"]),
        ArchiveIsDamaged,
    ),
    "a row with one value more": (
        lambda it: it.row("vault.Secret", key="stripe").update(more=1),
        ArchiveIsDamaged,
    ),
    "a key that is not the row's": (
        lambda it: it.tables["core.DataKey"][0].update(wrapped_key="AAAA" * 20),
        ArchiveIsDamaged,
    ),
    "a project of another tenant": (
        lambda it: it.row("projects.Project", slug="shop").update(
            tenant_id="01900000-0000-7000-8000-000000000000"
        ),
        ArchiveIsDamaged,
    ),
    "a column that lets in": (
        lambda it: (
            next(each for each in it.contents["tables"] if each["table"] == "tenancy.User")["columns"].append(
                "is_superuser"
            ),
            [row.update(is_superuser=True) for row in it.tables["tenancy.User"]],
        ),
        ArchiveIsOfAnotherRelease,
    ),
    "a table that no tenant has": (
        lambda it: (
            it.contents["tables"].append({"table": "core.ServerKey", "columns": ["id"], "rows": 0}),
            it.tables.update({"core.ServerKey": []}),
        ),
        ArchiveIsOfAnotherRelease,
    ),
    "no contents": (lambda it: it.contents.pop("migrations"), ArchiveIsDamaged),
}


def test_a_liar_with_all_keys_is_refused_before_the_first_row(
    full_cast: Cast, command: Actor, tmp_path: Path
) -> None:
    make_backup(actor=command, path=tmp_path / "a", tenant=full_cast.tenant)
    forge(tmp_path / "a", tmp_path / "same", lambda it: None)
    empty_database()
    keys.create_missing_server_keys()

    for number, (what, (lie, error)) in enumerate(LIES.items()):
        found = refused(forge(tmp_path / "a", tmp_path / f"lie{number}", lie), command)
        assert type(found) is error, (what, found.detail)
    # What was only written anew is good, so that the refusals above mean something.
    assert restore(actor=command, path=tmp_path / "same").total("left_out") == 0


def test_what_is_no_archive_is_told_so(command: Actor, tmp_path: Path, db: None) -> None:
    other = tmp_path / "other"
    other.write_bytes(b"PK\x03\x04" + bytes(1000))

    with pytest.raises(ArchiveIsDamaged, match="no archive"), other.open("rb") as file:
        ArchiveReader(file)
    later = container._START.pack(container.MAGIC, 2, 10) + bytes(200)
    other.write_bytes(later)
    with pytest.raises(ArchiveIsOfAnotherRelease, match="format 2"), other.open("rb") as file:
        ArchiveReader(file)
