"""What can go wrong, as classes that carry their code and status, and their form on the wire.

Each class is raised by operations and turned into an answer by the doors; nothing else decides
which error becomes which status. The wire form is RFC 9457 `application/problem+json`.
"""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, ClassVar, Self

PROBLEM_CONTENT_TYPE = "application/problem+json"


class NexusError(Exception):
    """A refusal with a stable `code`. `detail` says what the caller can do about it."""

    code: ClassVar[str] = "internal_error"
    status: ClassVar[int] = 500
    default_detail: ClassVar[str] = "Something failed on our side. Try again later."

    def __init__(self, detail: str = "", **members: Any) -> None:
        self.detail = detail or self.default_detail
        self.members = members
        super().__init__(self.detail)


class MalformedRequest(NexusError):
    code, status = "malformed_request", 400
    default_detail = "The request could not be parsed."


class InvalidInput(NexusError):
    """Parsed, but wrong. `errors` maps the path of each wrong field to its messages."""

    code, status = "invalid_input", 422
    default_detail = "Some fields are wrong; `errors` names them."

    def __init__(self, errors: Mapping[str, Sequence[str]], detail: str = "") -> None:
        self.errors = {field: list(messages) for field, messages in errors.items()}
        # A single message is more useful on a command line than a pointer to it.
        if not detail and len(self.errors) == 1:
            ((field, messages),) = self.errors.items()
            detail = f"{field}: {' '.join(messages)}"
        super().__init__(detail, errors=self.errors)

    @classmethod
    def of(cls, field: str, message: str) -> Self:
        return cls({field: [message]})


class AuthenticationRequired(NexusError):
    code, status = "authentication_required", 401
    default_detail = "Send a credential: the header X-Nexus-API-Key, or Authorization: Bearer."


class InvalidCredential(NexusError):
    """One answer for everything that is wrong with a credential, so that guessing teaches nothing."""

    code, status = "invalid_credential", 401
    default_detail = (
        "The credential was not accepted. Send a current key once, in the header X-Nexus-API-Key."
    )


class PaymentRequired(NexusError):
    code, status = "payment_required", 402
    default_detail = "The tenant is suspended. Its owner can settle this with the operator of Nexus."


class NotPermitted(NexusError):
    code, status = "not_permitted", 403
    default_detail = "You may see this, but not do that with it."

    def __init__(self, detail: str = "", *, permission: str = "", target: object = None) -> None:
        self.permission = permission
        self.target = target
        super().__init__(detail)


class InsufficientScope(NotPermitted):
    code = "insufficient_scope"
    default_detail = "The credential lacks the scope for this. Issue one that carries it."


class ReauthenticationRequired(NexusError):
    """The session is good, but nobody proved lately to be sitting there (SPEC 5)."""

    code, status = "reauthentication_required", 403
    default_detail = "Prove that it is you: give your password or a code again, then repeat this."


class ServiceKindMismatch(NexusError):
    code, status = "service_kind_mismatch", 403
    default_detail = "A frontend service has no secrets. Use a backend service for them."


class NotFound(NexusError):
    """Also the answer for what exists but may not be seen: the bodies must not differ."""

    code, status = "not_found", 404
    default_detail = "There is nothing here."


class MethodNotAllowed(NexusError):
    code, status = "method_not_allowed", 405
    default_detail = "This address does not take that method; the Allow header names those it does."


class NotAcceptable(NexusError):
    code, status = "not_acceptable", 406
    default_detail = "This address answers in application/json only."


class Conflict(NexusError):
    code, status = "conflict", 409
    default_detail = "The present state does not allow this."


class AlreadyExists(Conflict):
    code = "already_exists"


class AlreadyUsed(Conflict):
    """What works once was used, or its time is over."""

    code = "already_used"


class SlotTaken(Conflict):
    code = "slot_taken"


class LastOwner(Conflict):
    code = "last_owner"
    default_detail = "This is the last owner. Make somebody else an owner first."


class UmbrellaHasNoKeys(Conflict):
    code = "umbrella_has_no_keys"
    default_detail = "An umbrella has no keys and no endpoint. Issue the key for one of its children."


class UmbrellaHasChildren(Conflict):
    code = "umbrella_has_children"


class TierForbids(Conflict):
    """The tier lacks an environment or an add-on."""

    code = "tier_forbids"


class DowngradeBlocked(Conflict):
    """`blockers` lists what is in the way of the smaller tier."""

    code = "downgrade_blocked"


class QuotaExceeded(Conflict):
    """A cap of the tier is reached. Members: `quota`, `cap`, `tier`."""

    code = "quota_exceeded"

    def __init__(self, *, quota: str, cap: int, tier: str) -> None:
        super().__init__(
            f"The tier {tier} allows {cap} {quota} in a project. Remove one, or change the tier.",
            quota=quota,
            cap=cap,
            tier=tier,
        )


class SnapshotTooLarge(Conflict):
    """What the service reads would outgrow its snapshot. Members: `limit_bytes`."""

    code = "snapshot_too_large"


class HasDependants(Conflict):
    """Templates refer to the entry. Member: `dependants`."""

    code = "has_dependants"


class IdempotencyKeyReused(NexusError):
    """The same Idempotency-Key came with another body."""

    code, status = "idempotency_key_reused", 422
    default_detail = "This Idempotency-Key was sent with another body. Send a new one with the new body."


class VersionConflict(NexusError):
    """Another write came first (If-Match, RFC 9110 section 13.1.1)."""

    code, status = "version_conflict", 412
    default_detail = "Somebody wrote in between. Read the present version and decide again."


class PayloadTooLarge(NexusError):
    code, status = "payload_too_large", 413
    default_detail = "The body is too large."


class UnsupportedMediaType(NexusError):
    code, status = "unsupported_media_type", 415
    default_detail = "Send application/json."


class Unavailable(NexusError):
    code, status = "unavailable", 503
    default_detail = "Nexus cannot answer right now. Try again shortly."


class Unreadable(NexusError):
    """A stored value does not open: it was moved, changed, or its key is gone."""

    code, status = "unreadable", 503
    default_detail = "The stored value does not open. The operator of Nexus can find out why: verify_vault."


class MissingRootKey(NexusError):
    """A key in the database is wrapped by a root key that this process was not given."""

    code, status = "missing_root_key", 503

    def __init__(self, root_key_ids: Sequence[str]) -> None:
        self.root_key_ids = sorted(root_key_ids)
        super().__init__(
            f"The root key {', '.join(self.root_key_ids)} is missing. Put it back into NEXUS_ROOT_KEY "
            "(or NEXUS_ROOT_KEY_FILE) beside the current one."
        )


def problem(error: NexusError, *, request_id: str) -> dict[str, Any]:
    """The problem document of `error` (RFC 9457 section 3), with the extension members of SPEC 8."""
    return {
        "type": f"urn:nexus:problem:{error.code}",
        "title": HTTPStatus(error.status).phrase,
        "status": error.status,
        "detail": error.detail,
        "code": error.code,
        "request_id": request_id,
        **error.members,
    }
