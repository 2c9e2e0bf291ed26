"""Who works at Acme, what runs there, and what it reads when it is first rolled out.

In values `{env}` becomes the name of the environment. Every secret says of itself that it is none.
Addresses are those that documentation may use (RFC 5737, RFC 3849).
"""

from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from apps.core.actor import Origin
from apps.services.models import Kind
from apps.vault.models import SecretType

TENANT, TENANT_NAME = "acme", "Acme Incorporated"
OWNER: Final = "carol"

_FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
_SAFARI = (
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "Version/17.6 Safari/605.1.15"
)
_CHROME = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/128.0.0.0 Safari/537.36"
)
OFFICE, HOME, CLUSTER = "192.0.2.{}", "203.0.113.{}", "198.51.100.{}"
AGENT = "nexus-python/1.4"
A_STRANGERS = Origin("2001:db8:bad::1", "python-requests/2.32.3")


class Person(NamedTuple):
    name: str
    origin: Origin

    @property
    def email(self) -> str:
        return f"{self.name.split()[0].lower()}@acme.example"


PEOPLE = {
    "carol": Person("Carol Castle", Origin(OFFICE.format(10), _SAFARI)),
    "finn": Person("Finn Fischer", Origin(OFFICE.format(21), _CHROME)),
    "alice": Person("Alice Archer", Origin(OFFICE.format(34), _FIREFOX)),
    "mona": Person("Mona Miles", Origin(HOME.format(57), _FIREFOX)),
    "bob": Person("Bob Byrne", Origin("2001:db8:51::b0b", _FIREFOX)),
    "tess": Person("Tess Tanner", Origin(HOME.format(140), _CHROME)),
    "vic": Person("Vic Vogel", Origin(OFFICE.format(77), _SAFARI)),
}

UMBRELLA: Final = "*"
EVERYWHERE = ("develop", "staging", "production")
EU: Final = "eu-production"


class ServiceRow(NamedTuple):
    """`parent` is the umbrella's slug, UMBRELLA for one that is itself, or empty."""

    slug: str
    kind: Kind
    parent: str
    name: str
    environments: tuple[str, ...] = EVERYWHERE


# Umbrellas stand before their children.
SERVICES = {
    "shop": (
        ServiceRow("common", Kind.BACKEND, UMBRELLA, "What all backends share"),
        ServiceRow("checkout", Kind.BACKEND, "common", "Checkout"),
        ServiceRow("orders", Kind.BACKEND, "common", "Orders"),
        ServiceRow("storefront", Kind.FRONTEND, UMBRELLA, "What all pages share"),
        ServiceRow("web", Kind.FRONTEND, "storefront", "Shop on the web"),
    ),
    "warehouse": (
        ServiceRow("platform", Kind.BACKEND, UMBRELLA, "Platform", (*EVERYWHERE, EU)),
        ServiceRow("stock", Kind.BACKEND, "platform", "Stock levels", EVERYWHERE),
        # Linked to its umbrella later: the diary tells when.
        ServiceRow("stock", Kind.BACKEND, "", "Stock levels, Europe", (EU,)),
        ServiceRow("scanner", Kind.FRONTEND, "", "Hand scanners", EVERYWHERE),
        ServiceRow("legacy-import", Kind.BACKEND, "platform", "Nightly import", ("production",)),
    ),
}


@dataclass(frozen=True)
class Per:
    """A value that differs between environments. Where none is named, the entry is left out."""

    develop: Any = None
    staging: Any = None
    production: Any = None

    def at(self, environment: str) -> Any:
        return getattr(self, environment.removeprefix("eu-"))


class Row(NamedTuple):
    """An entry: whose, its key, its first value, and what `set_secret`, `set_config` take besides."""

    service: str
    key: str
    value: Any
    description: str = ""
    more: dict[str, Any] = {}


_CERTIFICATE = "-----BEGIN CERTIFICATE-----\nZGVtbw==\n-----END CERTIFICATE-----\n"
_AS_FILE = {"type": SecretType.FILE, "file_name": "ca.pem"}
_FINAL = {"is_final": True}

SECRETS = {
    "shop": (
        Row("common", "database.password", "demo-{env}-db-1", "Rotated each quarter"),
        Row("common", "mail.token", "demo-{env}-mail-1"),
        Row("common", "ca.pem", _CERTIFICATE, "The internal authority", _AS_FILE),
        Row("checkout", "stripe.key", "demo-{env}-stripe-1", "Restricted to charges"),
        Row("checkout", "mail.token", "demo-{env}-mail-checkout", "Its own sender"),
        Row("orders", "erp.password", "demo-{env}-erp-1", "Until the ERP speaks OAuth"),
    ),
    "warehouse": (
        Row("platform", "database.password", "demo-{env}-warehouse-db", "", _FINAL),
        Row("platform", "broker.password", "demo-{env}-broker-1"),
        Row("stock", "supplier.token", "demo-{env}-supplier-1", "One a region"),
        Row("legacy-import", "sftp.password", "demo-{env}-sftp", "Nobody knows who else has it"),
    ),
}

CONFIGS = {
    "shop": (
        Row("common", "database.host", "db.{env}.internal"),
        Row("common", "database.pool", Per(5, 10, 20), "Connections a process"),
        Row("common", "log.level", Per("debug", "info", "warning")),
        Row("common", "tls.required", True, "Nobody turns this off", _FINAL),
        Row("checkout", "log.level", "info"),
        Row(
            "checkout",
            "payment.methods",
            Per(["card", "invoice", "test"], ["card", "invoice", "test"], ["card", "invoice"]),
        ),
        Row("checkout", "basket.max_items", 50),
        Row("orders", "export", {"format": "ubl", "hour": 3, "to": "sftp.{env}.internal"}, "Nightly"),
        Row("storefront", "cdn.url", "https://cdn.{env}.acme.example"),
        Row("web", "api.url", "https://api.{env}.acme.example"),
        Row("web", "theme", {"accent": "#0f766e", "dark": True}, "As the brand book has it"),
    ),
    "warehouse": (
        Row("platform", "broker.url", "amqps://broker.{env}.internal:5671"),
        Row("stock", "reserve.minutes", 20, "How long a basket holds its goods"),
        Row("stock", "reorder.below", {"default": 12, "fragile": 30}),
        Row("scanner", "beep", True),
    ),
}


def switch(enabled: bool, **more: Any) -> dict[str, Any]:
    """A boolean flag."""
    return {"type": "boolean", "enabled": enabled, **more}


def choice(type: str, default: str, variants: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A multivariate flag that serves `default`, and the first variant while it is off."""
    return {
        "type": type,
        "enabled": True,
        "variants": [{"key": key, "value": value} for key, value in variants.items()],
        "default": default,
        "off": next(iter(variants)),
        **more,
    }


@dataclass(frozen=True)
class Day:
    """Midnight in UTC, so many days after the demo is made; before, if negative."""

    offset: int = field(default=0)


_SHIPPING = {"classic": "post", "fast": "courier"}
_LIMITS = {"strict": 5, "usual": 30, "generous": 120}
_LAYOUTS = {"list": {"columns": 1, "images": False}, "grid": {"columns": 3, "images": True}}

FLAGS = {
    "shop": (
        Row("checkout", "new.checkout", Per(switch(True), switch(True), switch(False)), "One page"),
        Row("checkout", "shipping.provider", choice("string", "classic", _SHIPPING)),
        Row("orders", "export.parallel", switch(False), "Waits for the ERP's update"),
        Row("web", "banner", Per(switch(False), switch(True), switch(True))),
        Row("web", "search.layout", choice("json", "list", _LAYOUTS), "Grid or list"),
        Row(
            "web",
            "black.friday",
            Per(production=switch(True, starts_at=Day(9), ends_at=Day(13))),
            "Begins by itself",
        ),
    ),
    "warehouse": (
        Row("stock", "predict.demand", Per(switch(True), switch(False), switch(False))),
        Row("stock", "supplier.calls_per_minute", choice("number", "usual", _LIMITS)),
        Row(
            "scanner",
            "stocktaking",
            Per(production=switch(True, starts_at=Day(-6), ends_at=Day(-4))),
            "The count of this month",
        ),
        Row("scanner", "camera", Per(switch(True), switch(True), switch(False, ends_at=Day(60)))),
    ),
}
