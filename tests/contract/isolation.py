"""What a stranger, a viewer, nobody and a workload's key get at every door of the management API.

Written out by hand from SPEC 3, one line an operation of the OpenAPI schema: an operation without a
line fails the suite. `mallory` owns another tenant, `vic` views the project.
"""

from dataclasses import dataclass, field
from typing import Any

# Ids in bodies, taken from the world of the test; in the second try, random ones.
TENANT, PROJECT, SERVICE, UMBRELLA = "$tenant", "$project", "$service", "$umbrella"
ACCOUNT, INVITATION = "$account", "$invitation"

KEY = "zyx.new"
ANYBODY = "somebody@example.org"


@dataclass(frozen=True)
class Line:
    """`mallory` and `vic` are the statuses that they get with the ids of what is not theirs.

    `optional`: nothing in the body has to be there.
    """

    mallory: int
    vic: int
    body: dict[str, Any] | None = field(default=None)
    optional: bool = False


def _read(vic: int) -> Line:
    return Line(404, vic)


SEEN, FORBIDDEN, UNSEEN = 200, 403, 404

# Own lists are there for everybody, and hold what one sees. What is in a collection that one may not
# read does not exist (404), the collection of a thing that one sees is refused (403).
_INSTALLATION = {
    "GET access-tokens": Line(200, 200),
    "POST access-tokens": Line(
        404,
        404,
        {
            "name": "mine",
            "scopes": ["config:read"],
            "expires_at": "2999-01-01T00:00:00Z",
            "service_account": ACCOUNT,
        },
    ),
    "GET access-tokens/{token_id}": Line(404, 404),
    "DELETE access-tokens/{token_id}": Line(404, 404),
    "POST invitations/accept": Line(404, 404, {"token": INVITATION}),
    # Accounts are the superusers' business.
    "GET operators": Line(403, 403),
    "POST operators": Line(403, 403, {"email": ANYBODY}),
    "GET operators/{operator_id}": Line(404, 404),
    "POST operators/{operator_id}/deactivate": Line(404, 404),
    "POST operators/{operator_id}/reactivate": Line(404, 404),
}

_TENANTS = {
    "GET tenants": Line(200, 200),
    "POST tenants": Line(403, 403, {"slug": "new", "owner": ANYBODY}),
    "GET tenants/{tenant_id}": _read(SEEN),
    "PATCH tenants/{tenant_id}": Line(404, 403, {"name": "Taken over"}),
    "DELETE tenants/{tenant_id}": Line(404, 403),
    "POST tenants/{tenant_id}/restore": Line(404, 403),
    "POST tenants/{tenant_id}/break-glass": Line(404, 403, {"role": "owner", "reason": "x"}),
    "GET tenants/{tenant_id}/usage": _read(FORBIDDEN),
    "GET tenants/{tenant_id}/audit-events": _read(FORBIDDEN),
    "GET tenants/{tenant_id}/audit-events/{event_id}": _read(UNSEEN),
    "GET tenants/{tenant_id}/invitations": _read(FORBIDDEN),
    "POST tenants/{tenant_id}/invitations": Line(404, 403, {"email": ANYBODY, "role": "owner"}),
    "GET tenants/{tenant_id}/invitations/{invitation_id}": _read(UNSEEN),
    "DELETE tenants/{tenant_id}/invitations/{invitation_id}": Line(404, 404),
    "GET tenants/{tenant_id}/members": _read(FORBIDDEN),
    "POST tenants/{tenant_id}/members": Line(404, 403, {"email": ANYBODY, "role": "owner"}),
    "GET tenants/{tenant_id}/members/{member_id}": _read(UNSEEN),
    "PATCH tenants/{tenant_id}/members/{member_id}": Line(404, 404, {"role": "member"}),
    "DELETE tenants/{tenant_id}/members/{member_id}": Line(404, 404),
    "GET tenants/{tenant_id}/service-accounts": _read(FORBIDDEN),
    "POST tenants/{tenant_id}/service-accounts": Line(404, 403, {"name": "robot"}),
    "GET tenants/{tenant_id}/service-accounts/{account_id}": _read(UNSEEN),
    "PATCH tenants/{tenant_id}/service-accounts/{account_id}": Line(404, 404, {"description": "x"}),
    "DELETE tenants/{tenant_id}/service-accounts/{account_id}": Line(404, 404),
}

_PROJECTS = {
    "GET projects": Line(200, 200),
    "POST projects": Line(404, 403, {"tenant": TENANT, "slug": "new"}),
    "GET projects/{project_id}": _read(SEEN),
    "PATCH projects/{project_id}": Line(404, 403, {"name": "Taken over"}, optional=True),
    "DELETE projects/{project_id}": Line(404, 403),
    "POST projects/{project_id}/restore": Line(404, 403),
    "GET projects/{project_id}/usage": _read(SEEN),
    "GET projects/{project_id}/add-ons": _read(SEEN),
    "POST projects/{project_id}/add-ons": Line(404, 403, {"name": "ab_testing"}),
    "DELETE projects/{project_id}/add-ons/{name}": Line(404, 403),
    "GET projects/{project_id}/audit-events": _read(FORBIDDEN),
    "GET projects/{project_id}/audit-events/{event_id}": _read(UNSEEN),
    "GET projects/{project_id}/grants": _read(FORBIDDEN),
    "POST projects/{project_id}/grants": Line(
        404, 403, {"email": "bob@example.org", "permission": "config:write", "service": SERVICE}
    ),
    "DELETE projects/{project_id}/grants/{grant_id}": Line(404, 404),
    "GET projects/{project_id}/members": _read(FORBIDDEN),
    "POST projects/{project_id}/members": Line(404, 403, {"email": "finn@example.org", "role": "viewer"}),
    "GET projects/{project_id}/members/{member_id}": _read(UNSEEN),
    "PATCH projects/{project_id}/members/{member_id}": Line(404, 404, {"role": "viewer"}),
    "DELETE projects/{project_id}/members/{member_id}": Line(404, 404),
}

_SERVICES = {
    "GET services": Line(200, 200),
    "POST services": Line(
        404,
        403,
        {
            "project": PROJECT,
            "environment": "production",
            "slug": "new",
            "kind": "backend",
            "umbrella": UMBRELLA,
        },
    ),
    "GET services/{service_id}": _read(SEEN),
    "PATCH services/{service_id}": Line(404, 403, {"name": "Taken over"}),
    "DELETE services/{service_id}": Line(404, 403),
    "POST services/{service_id}/restore": Line(404, 403),
    "POST services/{service_id}/disable": Line(404, 403),
    "POST services/{service_id}/resume": Line(404, 403),
    "POST services/{service_id}/link": Line(404, 403, {"umbrella": UMBRELLA}),
    "POST services/{service_id}/unlink": Line(404, 403, {"dry_run": False}, optional=True),
    # Configs and flags of both are a viewer's to read.
    "POST services/{service_id}/compare": Line(404, 200, {"other": UMBRELLA}),
    # Results of templates, and secrets: that is a reveal.
    "POST services/{service_id}/export": Line(404, 403, {"format": "json", "reveal": True}),
    "POST services/{service_id}/import": Line(404, 403, {"format": "json", "content": '{"zyx.new": "x"}'}),
    "POST services/{service_id}/promote": Line(
        404, 403, {"target": UMBRELLA, "configs": ["zyx.production.host"]}
    ),
    "GET services/{service_id}/api-keys": _read(FORBIDDEN),
    "POST services/{service_id}/api-keys": Line(404, 403, {"slot": "secondary"}, optional=True),
    "GET services/{service_id}/api-keys/{key_id}": _read(UNSEEN),
    "PATCH services/{service_id}/api-keys/{key_id}": Line(404, 404, {"expires_at": None}, optional=True),
    "DELETE services/{service_id}/api-keys/{key_id}": Line(404, 404),
    "POST services/{service_id}/api-keys/{key_id}/rotate": Line(
        404, 404, {"overlap_seconds": 0}, optional=True
    ),
    "GET services/{service_id}/workload-identities": _read(FORBIDDEN),
    "GET services/{service_id}/workload-identities/{identity_id}": _read(UNSEEN),
    "DELETE services/{service_id}/workload-identities/{identity_id}": Line(404, 404),
}

# A viewer reads configs and flags, so that what they may not change is refused; of secrets there are
# none for them, whatever the method.
_ENTRIES = {
    "GET services/{service_id}/configs": _read(SEEN),
    "POST services/{service_id}/configs": Line(404, 403, {"key": KEY, "value": "x"}),
    "PATCH services/{service_id}/configs": Line(
        404, 403, {"write": [{"key": KEY, "value": "x"}]}, optional=True
    ),
    "GET services/{service_id}/configs/{key}": _read(SEEN),
    "PUT services/{service_id}/configs/{key}": Line(404, 403, {"value": "x"}),
    "DELETE services/{service_id}/configs/{key}": Line(404, 403),
    "GET services/{service_id}/configs/{key}/diff": _read(SEEN),
    "GET services/{service_id}/configs/{key}/versions": _read(SEEN),
    "DELETE services/{service_id}/configs/{key}/versions/{version}": Line(404, 403),
    "POST services/{service_id}/configs/{key}/versions/{version}/restore": Line(404, 403),
    "POST services/{service_id}/configs/{key}/rename": Line(404, 403, {"new_key": KEY}),
    "POST services/{service_id}/configs/{key}/restore": Line(404, 403),
    "GET services/{service_id}/flags": _read(SEEN),
    "POST services/{service_id}/flags": Line(404, 403, {"key": KEY, "definition": {}}),
    "PATCH services/{service_id}/flags": Line(
        404, 403, {"write": [{"key": KEY, "definition": {}}]}, optional=True
    ),
    "GET services/{service_id}/flags/{key}": _read(SEEN),
    "PUT services/{service_id}/flags/{key}": Line(404, 403, {"definition": {}}),
    "PATCH services/{service_id}/flags/{key}": Line(404, 403, {"enabled": False}),
    "DELETE services/{service_id}/flags/{key}": Line(404, 403),
    "POST services/{service_id}/flags/{key}/restore": Line(404, 403),
    "GET services/{service_id}/secrets": _read(FORBIDDEN),
    "POST services/{service_id}/secrets": Line(404, 403, {"key": KEY, "value": "x"}),
    "PATCH services/{service_id}/secrets": Line(
        404, 403, {"write": [{"key": KEY, "value": "x"}]}, optional=True
    ),
    "GET services/{service_id}/secrets/{key}": _read(UNSEEN),
    "PUT services/{service_id}/secrets/{key}": Line(404, 404, {"value": "x"}),
    "DELETE services/{service_id}/secrets/{key}": Line(404, 404),
    "PATCH services/{service_id}/secrets/{key}": Line(404, 404, {"rotate_by": None}),
    "GET services/{service_id}/secrets/{key}/versions": _read(UNSEEN),
    "DELETE services/{service_id}/secrets/{key}/versions/{version}": Line(404, 404),
    "POST services/{service_id}/secrets/{key}/versions/{version}/restore": Line(404, 404),
    "POST services/{service_id}/secrets/{key}/diff": Line(404, 404, {"left": 1, "right": 1}),
    "POST services/{service_id}/secrets/{key}/rename": Line(404, 404, {"new_key": KEY}),
    "POST services/{service_id}/secrets/{key}/restore": Line(404, 404),
    "POST services/{service_id}/secrets/{key}/reveal": Line(404, 404, {}, optional=True),
}

MATRIX: dict[str, Line] = {**_INSTALLATION, **_TENANTS, **_PROJECTS, **_SERVICES, **_ENTRIES}
