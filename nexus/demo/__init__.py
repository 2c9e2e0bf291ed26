"""A small believable company, made through the operations that people use."""

import json
from typing import Any

from django.conf import settings
from django.db import transaction

from apps.core.access import ProjectRole, TenantRole
from apps.core.actor import Actor
from apps.flags.operations import set_flag, set_flag_state
from apps.projects.operations import create_project, set_project_member
from apps.services.models import Kind, Service
from apps.services.operations import create_service, issue_api_key
from apps.tenancy.models import Tenant
from apps.tenancy.operations import create_operator, create_tenant, set_tenant_member
from apps.vault.models import ConfigType, SecretType
from apps.vault.operations import set_config, set_secret
from nexus.installation import write_private

OWNER = "carol@acme.example"
TENANT, PROJECT = "acme", "shop"
_PEOPLE = (
    ("alice@acme.example", "Alice Archer", ProjectRole.OWNER),
    ("mona@acme.example", "Mona Miles", ProjectRole.MANAGER),
    ("bob@acme.example", "Bob Byrne", ProjectRole.DEVELOPER),
    ("tess@acme.example", "Tess Tanner", ProjectRole.TESTER),
    ("vic@acme.example", "Vic Vogel", ProjectRole.VIEWER),
)


@transaction.atomic
def make_demo(actor: Actor, url: str) -> dict[str, Any] | None:
    """Make the demo tenant and write `demo.json`; None where the tenant is there already.

    `demo.json` is written before the transaction commits: keys that nobody was shown would be
    worth nothing.
    """
    if Tenant.objects.filter(slug=TENANT).exists():
        return None
    owner, password = create_operator(
        actor=actor, email=OWNER, name="Carol Castle", must_change_password=False
    )
    tenant = create_tenant(actor=actor, slug=TENANT, name="Acme Incorporated", owner=owner)
    finance, _ = create_operator(actor=actor, email="finn@acme.example", name="Finn Fischer")
    set_tenant_member(actor=actor, tenant=tenant, user=finance, role=TenantRole.FINANCE)
    project = create_project(actor=actor, tenant=tenant, slug=PROJECT, name="Web shop", tier="s")
    for email, name, role in _PEOPLE:
        person, _ = create_operator(actor=actor, email=email, name=name)
        set_project_member(actor=actor, project=project, user=person, role=role)

    services: dict[str, Any] = {}
    for environment in ("develop", "production"):
        common = _service(actor, project, environment, "common", Kind.BACKEND, is_umbrella=True)
        checkout = _service(actor, project, environment, "checkout", Kind.BACKEND, umbrella=common)
        web = _service(actor, project, environment, "web", Kind.FRONTEND)
        _fill(actor, environment, common, checkout, web)
        for service in (checkout, web):
            _, text = issue_api_key(actor=actor, service=service)
            services[str(service)] = {"id": str(service.pk), "kind": service.kind, "key": text}
    demo = {"url": url, "operator": {"email": OWNER, "password": password}, "services": services}
    write_private(settings.NEXUS_VAR / "demo.json", json.dumps(demo, indent=2) + "\n")
    return demo


def _service(actor: Actor, project: Any, environment: str, slug: str, kind: str, **more: Any) -> Service:
    return create_service(actor=actor, project=project, environment=environment, slug=slug, kind=kind, **more)


def _fill(actor: Actor, environment: str, common: Service, checkout: Service, web: Service) -> None:
    live = environment == "production"

    def secret(service: Service, key: str, value: str, **more: Any) -> None:
        set_secret(actor=actor, service=service, key=key, value=value.encode(), **more)

    def config(service: Service, key: str, value: Any, type: str = ConfigType.STRING, **more: Any) -> None:
        set_config(actor=actor, service=service, key=key, value=value, type=type, **more)

    secret(common, "database.password", f"demo-{environment}-db-9fK2", description="Rotated each quarter")
    secret(common, "mail.token", f"demo-{environment}-mail-1")
    secret(common, "mail.token", f"demo-{environment}-mail-2", description="After the provider's incident")
    secret(
        common,
        "ca.pem",
        "-----BEGIN CERTIFICATE-----\nZGVtbw==\n-----END CERTIFICATE-----\n",
        type=SecretType.FILE,
        file_name="ca.pem",
    )
    config(common, "database.host", f"db.{environment}.internal")
    config(common, "database.pool", 20 if live else 5, ConfigType.NUMBER)
    config(common, "log.level", "warning" if live else "debug")
    config(common, "tls.required", True, ConfigType.BOOLEAN, is_final=True)

    secret(checkout, "stripe.key", f"demo-{environment}-stripe")
    secret(checkout, "mail.token", f"demo-{environment}-mail-checkout", description="Its own sender")
    config(checkout, "log.level", "info")
    config(
        checkout,
        "payment.methods",
        ["card", "invoice"] if live else ["card", "invoice", "test"],
        ConfigType.JSON,
    )
    config(checkout, "basket.max_items", 50, ConfigType.NUMBER)
    set_flag_state(actor=actor, service=checkout, key="new.checkout", enabled=not live)
    set_flag(
        actor=actor,
        service=checkout,
        key="shipping.provider",
        definition={
            "type": "string",
            "enabled": True,
            "variants": [{"key": "classic", "value": "post"}, {"key": "fast", "value": "courier"}],
            "default": "classic",
            "off": "classic",
        },
    )

    config(web, "api.url", f"https://api.{environment}.acme.example")
    config(web, "theme", {"accent": "#0f766e", "dark": True}, ConfigType.JSON)
    set_flag_state(actor=actor, service=web, key="banner", enabled=live)
