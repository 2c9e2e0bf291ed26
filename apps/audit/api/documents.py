"""An event as the management API tells it: all of SPEC 12, and what proves its place in its chain."""

from typing import Any

from rest_framework import serializers
from rest_framework.request import Request

from apps.audit.api.filters import AuditEventFilters
from apps.audit.api.manage import page_of
from apps.audit.events import Outcome
from apps.audit.models import AuditEvent, AuditEventQuerySet
from apps.core.actor import ActorType
from apps.core.api.pages import list_parameters, paged

ORDERINGS = ("-time",)
ACTOR_TYPES = [(kind.value, kind.value) for kind in ActorType]
LIST_PARAMETERS = list_parameters(orderings=ORDERINGS, filters=AuditEventFilters, search=False)


class EventActorSerializer(serializers.Serializer[dict[str, Any]]):
    type = serializers.ChoiceField(choices=ACTOR_TYPES)
    id = serializers.CharField()
    name = serializers.CharField()


class EventObjectSerializer(serializers.Serializer[dict[str, Any]]):
    type = serializers.CharField()
    id = serializers.CharField()
    key = serializers.CharField()


class AuditEventSerializer(serializers.Serializer[dict[str, Any]]):
    id = serializers.UUIDField()
    time = serializers.DateTimeField()
    tenant = serializers.UUIDField(allow_null=True)
    project = serializers.UUIDField(allow_null=True)
    service = serializers.UUIDField(allow_null=True)
    actor = EventActorSerializer()
    action = serializers.CharField()
    object = EventObjectSerializer()
    address = serializers.CharField()
    user_agent = serializers.CharField()
    request_id = serializers.CharField()
    outcome = serializers.ChoiceField(choices=[(outcome.value, outcome.value) for outcome in Outcome])
    count = serializers.IntegerField(min_value=1)
    changes = serializers.DictField(
        help_text="Field → [old, new], or what is. Secrets as version numbers, configs as templates."
    )
    chain = serializers.UUIDField()
    sequence = serializers.IntegerField(min_value=1, help_text="Its number in the chain, without gaps.")
    previous_digest = serializers.CharField(help_text="SHA-256 in hex of the event before.")
    digest = serializers.CharField(help_text="SHA-256 in hex.")


EVENT_PAGE = page_of(AuditEventSerializer)


def show_event(event: AuditEvent) -> dict[str, Any]:
    return {
        "id": event.pk,
        "time": event.time,
        "tenant": event.tenant_id,
        "project": event.project_id,
        "service": event.service_id,
        "actor": {"type": event.actor_type, "id": event.actor_id, "name": event.actor_name},
        "action": event.action,
        "object": {"type": event.object_type, "id": event.object_id, "key": event.object_key},
        "address": event.address,
        "user_agent": event.user_agent,
        "request_id": event.request_id,
        "outcome": event.outcome,
        "count": event.count,
        "changes": event.changed,
        "chain": event.chain_id,
        "sequence": event.sequence,
        "previous_digest": bytes(event.previous_digest).hex(),
        "digest": bytes(event.digest).hex(),
    }


def event_page(request: Request, events: AuditEventQuerySet) -> dict[str, Any]:
    """One page of `events`, which were narrowed to what the actor may read."""
    return paged(request, events, show_event, orderings=ORDERINGS, filters=AuditEventFilters)
