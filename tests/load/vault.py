"""What sealing costs beside the bare cipher, and `rotate_data_keys` beside a plain UPDATE.

`python -m tests.load.vault [--backing postgresql] [--rows N] [--json FILE]` prints a table, and one
JSON object on its last line; exit 1 when a bar is missed. The two sides of a ratio take turns, and the
ratio is the median of the rounds' own: a shared machine drifts within seconds.
"""

import argparse
import json
import os
import secrets
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.load.report import Bar, table

SECRETS, VALUE_BYTES = 100, 200
# So much of one side in a round that a clock's grain does not show.
REPEATS = 50

OURS_TO_CIPHER, ROTATION_TO_UPDATE = 1.5, 0.5


def seconds_of(run: Callable[[], Any], clock: Callable[[], float] = time.perf_counter) -> float:
    began_at = clock()
    run()
    return clock() - began_at


def sealing(rounds: int) -> dict[str, list[float]]:
    """Seconds to seal and open SECRETS values: by us, by one AESGCM call each, by a cipher that is kept."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    from apps.core import crypto
    from apps.core.ids import uuid7
    from apps.core.keys import Key
    from apps.vault.envelope import secret_binding

    key = Key(uuid7(), crypto.new_key())
    tenant, project, service = uuid7(), uuid7(), uuid7()
    ids = [uuid7() for _ in range(SECRETS)]
    value = secrets.token_bytes(VALUE_BYTES)

    def binding(number: int) -> bytes:
        return secret_binding(
            key,
            tenant_id=tenant,
            project_id=project,
            service_id=service,
            secret_id=ids[number],
            secret_type="text",
            version=1,
        )

    bindings = [binding(number) for number in range(SECRETS)]
    kept = AESGCM(key.secret)

    def ours() -> None:
        sealed = [crypto.seal(key.secret, value, bound_to=binding(number)) for number in range(SECRETS)]
        for number, each in enumerate(sealed):
            crypto.unseal(key.secret, each, bound_to=binding(number))

    def bare() -> None:
        made = []
        for number in range(SECRETS):
            nonce = os.urandom(12)
            made.append((nonce, AESGCM(key.secret).encrypt(nonce, value, bindings[number])))
        for number, (nonce, each) in enumerate(made):
            AESGCM(key.secret).decrypt(nonce, each, bindings[number])

    def bare_kept() -> None:
        made = []
        for number in range(SECRETS):
            nonce = os.urandom(12)
            made.append((nonce, kept.encrypt(nonce, value, bindings[number])))
        for number, (nonce, each) in enumerate(made):
            kept.decrypt(nonce, each, bindings[number])

    sides = {"nexus": ours, "AESGCM": bare, "AESGCM, kept": bare_kept}
    found: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, run in sides.items():
            found[name].append(min(seconds_of(run) for _ in range(REPEATS)))
    return found


def fill(rows: int) -> Any:
    """A project with `rows` versions of secrets, sealed as set_secret seals them."""
    from apps.core import crypto, keys
    from apps.core.actor import Actor
    from apps.core.models import DataKey, Installation
    from apps.projects.operations import create_project
    from apps.services.models import Kind
    from apps.services.operations import create_service
    from apps.tenancy.operations import create_operator, create_tenant
    from apps.vault.envelope import secret_binding
    from apps.vault.models import Secret, SecretVersion

    Installation.current()
    keys.create_missing_server_keys()
    actor = Actor.command("bench")
    owner, _ = create_operator(actor=actor, email="bench@example.org")
    tenant = create_tenant(actor=actor, slug="acme", owner=owner)
    project = create_project(actor=actor, tenant=tenant, slug="bench", tier="xl")
    service = create_service(
        actor=actor, project=project, environment="production", slug="api", kind=Kind.BACKEND
    )
    row = DataKey.objects.get(project_id=project.pk)
    key = keys.opening_keys({row.pk})[row.pk]
    versions = 10
    names = [
        Secret(service=service, key=f"k{number}", active_version=versions)
        for number in range(rows // versions)
    ]
    Secret.objects.bulk_create(names, batch_size=500)
    made = []
    for secret in names:
        for number in range(1, versions + 1):
            bound_to = secret_binding(
                key,
                tenant_id=tenant.pk,
                project_id=project.pk,
                service_id=service.pk,
                secret_id=secret.pk,
                secret_type="text",
                version=number,
            )
            sealed = crypto.seal(key.secret, secrets.token_bytes(VALUE_BYTES), bound_to=bound_to)
            made.append(
                SecretVersion(
                    secret=secret,
                    version=number,
                    type="text",
                    sealed=sealed,
                    data_key=row,
                    size_bytes=VALUE_BYTES,
                )
            )
    SecretVersion.objects.bulk_create(made, batch_size=500)
    return project


def rotation(rows: int, rounds: int) -> dict[str, list[float]]:
    """Seconds of a rotation, of an UPDATE a row in batches as large, and of one UPDATE of all rows."""
    from django.db import connection, transaction

    from apps.core.actor import Actor
    from apps.core.models import DataKey, KeyState
    from apps.projects.models import Project
    from apps.vault.models import SecretVersion
    from apps.vault.reencryption import BATCH, rotate_data_keys

    project = fill(rows)
    projects = Project.objects.filter(pk=project.pk)
    ids = list(SecretVersion.objects.order_by("secret_id", "version").values_list("pk", flat=True))
    sealed = bytes(SecretVersion.objects.values_list("sealed", flat=True)[0])

    def stored(pk: Any) -> Any:
        return pk.hex if connection.vendor == "sqlite" else pk

    stored_ids = [stored(pk) for pk in ids]

    def rotate() -> None:
        found = rotate_data_keys(actor=Actor.command("bench"), projects=projects)
        assert (found.reencrypted, found.destroyed, found.failed) == (len(ids), 1, [])

    def under_its_key(update: Callable[[Any], None]) -> Callable[[], None]:
        def run() -> None:
            update(stored(DataKey.objects.get(project_id=project.pk, state=KeyState.CURRENT).pk))

        return run

    def by_row(key_id: Any) -> None:
        for start in range(0, len(stored_ids), BATCH):
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.executemany(
                    "UPDATE vault_secretversion SET sealed = %s, data_key_id = %s WHERE id = %s",
                    [(sealed, key_id, pk) for pk in stored_ids[start : start + BATCH]],
                )

    def at_once(key_id: Any) -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("UPDATE vault_secretversion SET sealed = %s, data_key_id = %s", [sealed, key_id])

    def settle() -> None:
        """Each side finds the tables as the other did: without what was overwritten before."""
        with connection.cursor() as cursor:
            if connection.vendor == "postgresql":
                cursor.execute("VACUUM (ANALYZE) vault_secretversion")
                cursor.execute("CHECKPOINT")
            else:
                cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    keep = dict(SecretVersion.objects.values_list("pk", "sealed"))

    def put_back() -> None:
        # All rows hold one ciphertext now, which is that of none.
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.executemany(
                "UPDATE vault_secretversion SET sealed = %s WHERE id = %s",
                [(bytes(each), stored(pk)) for pk, each in keep.items()],
            )

    sides: dict[str, Callable[[], None]] = {
        "rotate_data_keys": rotate,
        "UPDATE a row": under_its_key(by_row),
        "one UPDATE": under_its_key(at_once),
    }
    # SQLite works in this process: its processor time holds steadier on a machine that does other
    # things, and leaves out the pauses that a rotation makes for writers (an eighth of its time).
    clock = time.process_time if connection.vendor == "sqlite" else time.perf_counter
    found: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, run in sides.items():
            settle()
            found[name].append(seconds_of(run, clock))
            if name == "rotate_data_keys":
                keep = dict(SecretVersion.objects.values_list("pk", "sealed"))
            else:
                put_back()
    return found


def ratio(above: list[float], below: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(above, below, strict=True))


def report(backing: str, rows: int, rounds: int) -> tuple[list[Bar], dict[str, Any]]:
    sealed, rotated = sealing(rounds), rotation(rows, rounds)
    bars = [
        Bar(
            f"sealing and opening {SECRETS} secrets of {VALUE_BYTES} bytes, of bare AESGCM calls",
            ratio(sealed["nexus"], sealed["AESGCM"]),
            OURS_TO_CIPHER,
            False,
        ),
    ]
    rotation_bar = Bar(
        "rows a second of rotate_data_keys, of a plain UPDATE of as many rows",
        ratio(rotated["UPDATE a row"], rotated["rotate_data_keys"]),
        ROTATION_TO_UPDATE,
        True,
    )
    # SQLite updates a row in the time that two ciphers and a hash take: no promise there.
    if backing == "postgresql":
        bars.append(rotation_bar)
    lines = [
        (name, f"{statistics.median(each) * 1e6 / SECRETS:.2f} µs a secret") for name, each in sealed.items()
    ]
    lines += [(name, f"{rows / statistics.median(each):,.0f} rows/s") for name, each in rotated.items()]
    print(table(("side", "median"), lines))
    print(
        table(
            ("promise", "measured", "bar", ""),
            [(bar.name, f"{bar.measured:.2f}", bar.text, bar.verdict) for bar in bars],
        )
    )
    ratios = {
        "sealing_to_aesgcm": bars[0].measured,
        "sealing_to_kept_aesgcm": ratio(sealed["nexus"], sealed["AESGCM, kept"]),
        "rotation_to_update_a_row": rotation_bar.measured,
        "rotation_to_one_update": ratio(rotated["one UPDATE"], rotated["rotate_data_keys"]),
    }
    return bars, {"rows": rows, "rounds": rounds, "ratios": ratios, "seconds": sealed | rotated}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backing", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all rounds to FILE")
    chosen = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="nexus-bench-")))
        os.environ |= {
            "NEXUS_ENV": "test",
            "NEXUS_VAR": str(folder),
            "DATABASE_URL": f"sqlite:///{folder}/db",
        }
        if chosen.backing == "postgresql":
            from tests.plugins.servers import PostgresServer

            os.environ["DATABASE_URL"] = stack.enter_context(PostgresServer()).url
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "nexus.settings.test")
        import django
        from django.core.management import call_command
        from django.db import connections

        django.setup()
        call_command("migrate", verbosity=0)
        stack.callback(connections.close_all)
        bars, raw = report(chosen.backing, chosen.rows, chosen.rounds)
    raw["backing"] = chosen.backing
    if chosen.json:
        chosen.json.write_text(json.dumps(raw, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({"backing": chosen.backing, "rows": raw["rows"], "ratios": raw["ratios"]}))
    return 0 if all(bar.holds for bar in bars) else 1


if __name__ == "__main__":
    sys.exit(main())
