"""What happened at Acme in the thirty days before the demo is made, as a diary.

Days are counted back in working days, so that nobody works on a Sunday whenever the demo is made;
programs work every night. Times are UTC.
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import count, groupby
from random import Random
from typing import Any, NamedTuple

from django.conf import settings

from apps.core.access import ProjectRole, TenantRole
from apps.projects.tiers import AB_TESTING
from apps.services.models import Kind, Slot
from nexus.demo.acts import (
    HOST,
    STRANGER,
    Act,
    add_on,
    be_refused,
    config,
    delete,
    disable,
    drop_config,
    drop_flag,
    drop_secret,
    export,
    flag,
    found_company,
    issue_key,
    link,
    list_keys,
    log_in,
    member,
    mistype_password,
    project,
    read,
    remove_member,
    resume,
    revoke_key,
    secret,
    service,
    tenant_member,
    tier,
    toggle,
)
from nexus.demo.company import (
    CONFIGS,
    EU,
    FLAGS,
    PEOPLE,
    SECRETS,
    SERVICES,
    UMBRELLA,
    Per,
    Row,
    ServiceRow,
    choice,
    switch,
)

DAYS = 30
BEGIN = -1

SHOP, SHOP_DEV = "shop/production", "shop/develop"
DEV_CHECKOUT, DEV_COMMON = f"{SHOP_DEV}/checkout", f"{SHOP_DEV}/common"
STAGE_CHECKOUT, STAGE_COMMON = "shop/staging/checkout", "shop/staging/common"
WARE, WARE_DEV, STAGE_PLATFORM = "warehouse/production", "warehouse/develop", "warehouse/staging/platform"
CHECKOUT, ORDERS, WEB, COMMON = f"{SHOP}/checkout", f"{SHOP}/orders", f"{SHOP}/web", f"{SHOP}/common"
STOCK, EU_STOCK, IMPORT = f"{WARE}/stock", f"warehouse/{EU}/stock", f"{WARE}/legacy-import"
DEV_STOCK, SPIKE = f"{WARE_DEV}/stock", f"{WARE_DEV}/spike"
# A release pipeline writes with this key, which is about to expire.
PIPELINE, PARTNER = f"{CHECKOUT}#{Slot.SECONDARY}", f"{ORDERS}#{Slot.SECONDARY}"

BY_BIKE = {"classic": "post", "fast": "courier", "bike": "bicycle"}


class Rollout(NamedTuple):
    """A project's arrival in an environment: who makes services, issues keys and writes entries."""

    days_ago: int
    time: str
    project: str
    environment: str
    maker: str
    issuer: str
    writer: str


ROLLOUTS = (
    Rollout(BEGIN, "09:30", "shop", "develop", "alice", "mona", "bob"),
    Rollout(17, "09:10", "shop", "staging", "alice", "mona", "mona"),
    Rollout(12, "09:10", "shop", "production", "alice", "mona", "mona"),
    Rollout(8, "09:40", "warehouse", "develop", "mona", "alice", "tess"),
    Rollout(6, "10:15", "warehouse", "staging", "mona", "alice", "alice"),
    Rollout(4, "09:05", "warehouse", "production", "mona", "alice", "alice"),
    Rollout(2, "10:30", "warehouse", EU, "alice", "alice", "alice"),
)

# How many working days ago, when, who, and what they did.
DIARY: tuple[tuple[int, str, str, Act], ...] = (
    (BEGIN, "08:30", HOST, found_company),
    (BEGIN, "08:52", "carol", tenant_member("finn", TenantRole.FINANCE)),
    (BEGIN, "08:58", "carol", member("shop", "alice", ProjectRole.OWNER)),
    (BEGIN, "09:05", "alice", member("shop", "mona", ProjectRole.MANAGER)),
    (BEGIN, "09:07", "alice", member("shop", "bob", ProjectRole.VIEWER)),
    (BEGIN, "09:08", "mona", member("shop", "bob", ProjectRole.DEVELOPER)),
    (BEGIN, "09:11", "mona", member("shop", "tess", ProjectRole.TESTER)),
    (BEGIN, "09:13", "mona", member("shop", "vic", ProjectRole.VIEWER)),
    (BEGIN, "14:40", "tess", be_refused(list_keys(DEV_CHECKOUT))),
    (20, "10:14", "bob", config(DEV_CHECKOUT, "basket.max_items", 30, "Try fewer")),
    (20, "15:31", "bob", config(f"{SHOP_DEV}/web", "theme", {"accent": "#b45309", "dark": True})),
    (19, "11:20", "bob", secret(DEV_COMMON, "mail.token", "demo-develop-mail-2", "An incident")),
    (19, "15:42", "bob", toggle(DEV_CHECKOUT, "new.checkout", False)),
    (18, "03:12", STRANGER, mistype_password(5)),
    (18, "03:14", STRANGER, mistype_password(3)),
    (18, "09:51", "bob", toggle(DEV_CHECKOUT, "new.checkout", True)),
    (18, "13:05", "bob", config(DEV_CHECKOUT, "basket.max_items", 50, "Fewer sold less")),
    (16, "10:02", "alice", add_on("shop", AB_TESTING)),
    (16, "13:37", "bob", be_refused(config(STAGE_COMMON, "log.level", "debug"))),
    (16, "13:52", "mona", config(STAGE_COMMON, "log.level", "debug", "Bob looks for something")),
    (15, "09:44", "mona", config(STAGE_COMMON, "log.level", "info", "Bob found it")),
    (15, "16:20", "vic", be_refused(toggle(f"{SHOP_DEV}/web", "banner", True))),
    (14, "11:08", "mona", secret(STAGE_CHECKOUT, "stripe.key", "demo-staging-stripe", "Rotated")),
    (14, "14:26", "bob", flag(DEV_CHECKOUT, "shipping.provider", choice("string", "fast", BY_BIKE))),
    (13, "10:33", "mona", disable(f"{SHOP_DEV}/web")),
    (13, "12:10", "mona", resume(f"{SHOP_DEV}/web")),
    (13, "15:00", "bob", secret(DEV_CHECKOUT, "stripe.key", "demo-develop-stripe", "Rotated")),
    (12, "15:12", "mona", config(COMMON, "database.pool", 30, "For the first day")),
    (11, "09:20", "mona", issue_key(CHECKOUT, Slot.SECONDARY, ["read", "write"], days=6)),
    (11, "10:05", PIPELINE, secret(CHECKOUT, "webhook.secret", "demo-production-webhook-1", "For 2.14.0")),
    (11, "11:47", ORDERS, be_refused(secret(ORDERS, "erp.password", "demo-production-erp-2"))),
    (11, "14:30", "mona", config(COMMON, "database.pool", 20, "The first day is over")),
    (10, "09:15", "mona", secret(CHECKOUT, "stripe.key", "demo-production-stripe", "Rotated")),
    (10, "10:40", "mona", issue_key(ORDERS, Slot.SECONDARY)),
    (10, "16:02", "bob", be_refused(list_keys(CHECKOUT))),
    (9, "09:30", "finn", be_refused(tenant_member("vic", TenantRole.FINANCE))),
    (9, "11:11", "bob", flag(f"{SHOP_DEV}/web", "dark.mode", switch(True), "As the theme asks")),
    (9, "15:45", "mona", config(WEB, "theme", {"accent": "#0f766e", "dark": False}, "Complaints at night")),
    (8, "09:03", "carol", member("warehouse", "mona", ProjectRole.OWNER)),
    (8, "09:20", "mona", member("warehouse", "alice", ProjectRole.MANAGER)),
    (8, "09:25", "alice", member("warehouse", "tess", ProjectRole.DEVELOPER)),
    (8, "09:27", "alice", member("warehouse", "bob", ProjectRole.TESTER)),
    (8, "09:29", "alice", member("warehouse", "vic", ProjectRole.VIEWER)),
    (8, "15:33", PIPELINE, secret(CHECKOUT, "webhook.secret", "demo-production-webhook-2", "For 2.15.0")),
    (7, "09:48", "mona", member("warehouse", "bob", ProjectRole.DEVELOPER)),
    (7, "10:20", "bob", config(DEV_STOCK, "reserve.minutes", 5, "To see it expire")),
    (7, "13:15", "tess", toggle(DEV_STOCK, "predict.demand", False)),
    (7, "16:40", "mona", config(COMMON, "log.level", "info", "To see the night's export")),
    (6, "09:12", "mona", config(COMMON, "log.level", "warning", "Seen")),
    (6, "14:50", "bob", flag(f"{SHOP_DEV}/orders", "export.parallel", switch(True), "The ERP's update came")),
    (5, "09:25", "alice", service(SPIKE, ServiceRow("spike", Kind.BACKEND, "", "An idea"))),
    (5, "09:40", "tess", config(SPIKE, "model", {"name": "moving-average", "weeks": 6})),
    (5, "11:30", "alice", secret(STAGE_PLATFORM, "broker.password", "demo-staging-broker-2", "A drill")),
    (5, "13:22", "tess", config(SPIKE, "model", {"name": "moving-average", "weeks": 12}, "Summers")),
    (5, "14:05", "tess", secret(DEV_STOCK, "supplier.token", "demo-develop-supplier-2", "Their sandbox")),
    (5, "16:18", "mona", toggle(CHECKOUT, "new.checkout", True)),
    (5, "17:02", "mona", toggle(CHECKOUT, "new.checkout", False)),
    (4, "13:40", PIPELINE, secret(CHECKOUT, "webhook.secret", "demo-production-webhook-3", "For 2.16.0")),
    (4, "15:10", "alice", config(STOCK, "reserve.minutes", 30, "Checkout takes its time")),
    (3, "02:00", IMPORT, read(IMPORT, "sftp.password")),
    (3, "08:55", "mona", secret(COMMON, "mail.token", "demo-production-mail-2", "An incident")),
    (3, "09:01", "mona", secret(STAGE_COMMON, "mail.token", "demo-staging-mail-2", "And here")),
    (3, "10:10", "mona", remove_member("warehouse", "vic")),
    (3, "11:35", "bob", config(DEV_CHECKOUT, "payment.methods", ["card", "invoice", "wallet"])),
    (3, "14:44", "alice", config(STOCK, "reorder.below", {"default": 15, "fragile": 40}, "For the holidays")),
    (3, "16:25", "tess", be_refused(toggle(f"{WARE}/scanner", "camera", True))),
    (2, "02:00", IMPORT, read(IMPORT, "sftp.password")),
    (2, "09:18", "mona", secret(COMMON, "database.password", "demo-production-db-2", "Quarterly")),
    (2, "09:24", "mona", secret(STAGE_COMMON, "database.password", "demo-staging-db-2", "Quarterly")),
    (2, "11:50", "bob", secret(DEV_COMMON, "database.password", "demo-develop-db-2", "Quarterly")),
    (2, "14:00", "alice", link(EU_STOCK, f"warehouse/{EU}/platform")),
    (2, "15:28", "mona", flag(CHECKOUT, "shipping.provider", choice("string", "fast", BY_BIKE), "Holidays")),
    (1, "02:00", IMPORT, be_refused(secret(IMPORT, "sftp.password", "demo-production-sftp-2"))),
    (1, "09:10", "bob", config(DEV_CHECKOUT, "basket.max_items", 80, "With the new page")),
    (1, "09:35", "mona", config(CHECKOUT, "basket.max_items", 60, "Asked by marketing")),
    (1, "10:20", "tess", config(DEV_STOCK, "reserve.minutes", 10)),
    (1, "11:12", "alice", secret(STOCK, "supplier.token", "demo-production-supplier-2", "Monthly")),
    (1, "13:30", PIPELINE, secret(CHECKOUT, "webhook.secret", "demo-production-webhook-4", "For 2.17.0")),
    (1, "14:15", "vic", be_refused(list_keys(CHECKOUT))),
    (1, "15:55", "alice", flag(f"{SHOP}/orders", "export.parallel", switch(True), "It holds in develop")),
    (1, "16:30", "bob", be_refused(toggle(CHECKOUT, "new.checkout", True))),
)  # fmt: skip

# Minutes before the demo is made. What an operation itself dates (revoked, disabled, deleted) stands
# here alone, where its date and its event's agree (docs/decisions/0007).
LAST_HOUR: tuple[tuple[int, str, Act], ...] = (
    (58, STRANGER, mistype_password()),
    (49, "tess", be_refused(toggle(WEB, "banner", False))),
    (44, "mona", revoke_key(ORDERS, Slot.SECONDARY)),
    (39, "alice", disable(IMPORT)),
    (37, "alice", delete(SPIKE)),
    (31, CHECKOUT, read(CHECKOUT, "stripe.key", 3)),
    (28, "mona", config(COMMON, "database.pool", 25, "More traffic than last year")),
    (22, "bob", drop_config(DEV_CHECKOUT, "log.level")),
    (21, "bob", drop_flag(f"{SHOP_DEV}/web", "dark.mode")),
    (20, "bob", drop_secret(f"{SHOP_DEV}/orders", "erp.password")),
    (14, ORDERS, list_keys(ORDERS)),
    (11, STOCK, export(STOCK)),
    (8, CHECKOUT, read(CHECKOUT, "stripe.key")),
    (4, "tess", toggle(DEV_STOCK, "predict.demand", True)),
)

# Who looks in on each how many working days, whether or not they change anything.
LOOKS_IN = {"alice": 1, "mona": 1, "bob": 1, "tess": 2, "vic": 3, "carol": 5, "finn": 7}

# Programs that read one secret at a time instead of the whole snapshot.
READERS = (
    (DEV_CHECKOUT, "stripe.key"),
    (STAGE_CHECKOUT, "stripe.key"),
    (CHECKOUT, "stripe.key"),
    (ORDERS, "database.password"),
    (CHECKOUT, "mail.token"),
    (STOCK, "supplier.token"),
)


class Moment(NamedTuple):
    at: datetime
    who: str
    act: Act


def history(today: datetime) -> list[Moment]:
    """Everything that happened before `today`, in the order in which it happened."""
    days = _days(today.date())
    # The same history each time, but for its dates.
    random = Random(30)  # noqa: S311 - seconds of a clock, no secret

    def at(day: date, clock_time: str, minutes: int = 0) -> datetime:
        hour, minute = (int(part) for part in clock_time.split(":"))
        start = datetime(day.year, day.month, day.day, hour, minute, tzinfo=UTC)
        return start + timedelta(minutes=minutes, microseconds=random.randrange(60_000_000))

    found = [Moment(at(days[day], when), who, act) for day, when, who, act in (*DIARY, *_sizes())]
    for rollout in ROLLOUTS:
        steps = zip(count(step=3), _rolled_out(rollout), strict=False)
        found += [Moment(at(days[rollout.days_ago], rollout.time, m), who, act) for m, (who, act) in steps]
    for ago, who, act in LAST_HOUR:
        found.append(Moment(today - timedelta(minutes=ago, seconds=random.randrange(60)), who, act))
    for day, who, act in _reads(today.date(), days, random):
        found.append(Moment(at(day, f"{random.randrange(22)}:{random.randrange(60)}"), who, act))
    arrivals = [
        Moment(at(day, f"8:{random.randrange(2, 58)}"), who, log_in())
        for who, each in LOOKS_IN.items()
        for ago, day in days.items()
        if ago != BEGIN and ago % each == 0
    ]
    return sorted([*found, *_log_ins(found, arrivals)], key=lambda moment: moment.at)


def _days(today: date) -> dict[int, date]:
    """The date of BEGIN, and of so many working days ago, up to 20 or more."""
    begin = today - timedelta(days=DAYS)
    while begin.weekday() > 4:
        begin -= timedelta(days=1)
    between = [today - timedelta(days=ago) for ago in range(1, (today - begin).days)]
    working = [day for day in between if day.weekday() < 5]
    return {BEGIN: begin, **dict(enumerate(working, start=1))}


def _sizes() -> Iterator[tuple[int, str, str, Act]]:
    """What an owner may do only where tiers are theirs to choose; elsewhere the host does it."""
    who = "carol" if settings.NEXUS_SELF_SERVICE_TIERS else HOST
    yield BEGIN, "08:55", who, project("shop", "Web shop", "xs")
    yield 17, "08:50", who, tier("shop", "s")
    yield 8, "09:00", who, project("warehouse", "Warehouse", "m")


def _rolled_out(rollout: Rollout) -> Iterator[tuple[str, Act]]:
    project, environment = rollout.project, rollout.environment
    rows = [row for row in SERVICES[project] if environment in row.environments]
    addresses = {row.slug: f"{project}/{environment}/{row.slug}" for row in rows}
    for row in rows:
        yield rollout.maker, service(addresses[row.slug], row)
    for row in rows:
        if row.parent != UMBRELLA:
            yield rollout.issuer, issue_key(addresses[row.slug])
    tables: tuple[tuple[Any, dict[str, tuple[Row, ...]]], ...]
    tables = ((secret, SECRETS), (config, CONFIGS), (flag, FLAGS))
    for write, table in tables:
        for entry in table[project]:
            value = entry.value.at(environment) if isinstance(entry.value, Per) else entry.value
            if entry.service in addresses and value is not None:
                filled = _filled(value, environment)
                act = write(addresses[entry.service], entry.key, filled, entry.description, **entry.more)
                yield rollout.writer, act


def _filled(value: Any, environment: str) -> Any:
    match value:
        case str():
            return value.replace("{env}", environment)
        case dict():
            return {name: _filled(member, environment) for name, member in value.items()}
        case _:
            return value


def _reads(today: date, days: dict[int, date], random: Random) -> Iterator[tuple[date, str, Act]]:
    """More each week, at any hour, by programs that were rolled out on an earlier day."""
    since = {f"{each.project}/{each.environment}": days[each.days_ago] for each in ROLLOUTS}
    turn = count()
    for ago in range(DAYS - 2, 0, -1):
        day = today - timedelta(days=ago)
        running = [(place, key) for place, key in READERS if since[place.rpartition("/")[0]] < day]
        for _ in range(1 + (DAYS - ago) // 5):
            place, key = random.choice(running)
            match next(turn) % 12:
                case 5:
                    yield day, place, list_keys(place)
                case 11:
                    yield day, place, export(place)
                case _:
                    yield day, place, read(place, key, random.choice((1, 1, 1, 2)))


def _log_ins(acts: list[Moment], arrivals: list[Moment]) -> Iterator[Moment]:
    """One log-in a day and person, some minutes before the first thing that they do."""
    by_people = [moment for moment in (*acts, *arrivals) if moment.who in PEOPLE]
    by_people.sort(key=lambda moment: (moment.who, moment.at))
    for (who, _), of_day in groupby(by_people, key=lambda moment: (moment.who, moment.at.date())):
        first = next(of_day)
        yield Moment(first.at - timedelta(minutes=2), who, log_in())
