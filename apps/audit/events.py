"""Every action that the audit log can hold, and which of a project's two chains it goes to."""

from enum import StrEnum


class Action(StrEnum):
    # Accounts and log-ins
    OPERATOR_CREATED = "operator.created"
    OPERATOR_DEACTIVATED = "operator.deactivated"
    OPERATOR_REACTIVATED = "operator.reactivated"
    LOGIN_SUCCEEDED = "login.succeeded"
    LOGIN_FAILED = "login.failed"
    LOGOUT = "logout"
    MFA_ENABLED = "mfa.enabled"
    MFA_DISABLED = "mfa.disabled"
    RECOVERY_CODES_GENERATED = "recovery_codes.generated"
    PASSWORD_CHANGED = "password.changed"  # noqa: S105 - the name of an action
    PRESENCE_PROVED = "presence.proved"
    PRESENCE_FAILED = "presence.failed"
    ACCESS_TOKEN_ISSUED = "access_token.issued"  # noqa: S105 - the name of an action
    ACCESS_TOKEN_REVOKED = "access_token.revoked"  # noqa: S105 - the name of an action
    # Keys
    ROOT_KEY_ROTATED = "root_key.rotated"
    SERVER_KEY_ROTATED = "server_key.rotated"
    DATA_KEY_ROTATED = "data_key.rotated"
    DATA_KEY_DESTROYED = "data_key.destroyed"
    # Tenants
    TENANT_CREATED = "tenant.created"
    TENANT_UPDATED = "tenant.updated"
    TENANT_DELETED = "tenant.deleted"
    TENANT_RESTORED = "tenant.restored"
    TENANT_PURGED = "tenant.purged"
    TENANT_MEMBER_ADDED = "tenant_member.added"
    TENANT_MEMBER_ROLE_CHANGED = "tenant_member.role_changed"
    TENANT_MEMBER_REMOVED = "tenant_member.removed"
    BREAK_GLASS_OPENED = "break_glass.opened"
    INVITATION_CREATED = "invitation.created"
    INVITATION_ACCEPTED = "invitation.accepted"
    INVITATION_REVOKED = "invitation.revoked"
    SERVICE_ACCOUNT_CREATED = "service_account.created"
    SERVICE_ACCOUNT_UPDATED = "service_account.updated"
    SERVICE_ACCOUNT_DELETED = "service_account.deleted"
    # Projects
    PROJECT_CREATED = "project.created"
    PROJECT_UPDATED = "project.updated"
    PROJECT_DELETED = "project.deleted"
    PROJECT_RESTORED = "project.restored"
    PROJECT_PURGED = "project.purged"
    PROJECT_TIER_CHANGED = "project.tier_changed"
    PROJECT_MEMBER_ADDED = "project_member.added"
    PROJECT_MEMBER_ROLE_CHANGED = "project_member.role_changed"
    PROJECT_MEMBER_REMOVED = "project_member.removed"
    GRANT_GIVEN = "grant.given"
    GRANT_REVOKED = "grant.revoked"
    ADD_ON_ACTIVATED = "add_on.activated"
    ADD_ON_DEACTIVATED = "add_on.deactivated"
    # Services
    SERVICE_CREATED = "service.created"
    SERVICE_UPDATED = "service.updated"
    SERVICE_DISABLED = "service.disabled"
    SERVICE_RESUMED = "service.resumed"
    SERVICE_DELETED = "service.deleted"
    SERVICE_RESTORED = "service.restored"
    SERVICE_PURGED = "service.purged"
    SERVICE_UMBRELLA_CHANGED = "service.umbrella_changed"
    API_KEY_ISSUED = "api_key.issued"
    API_KEY_ROTATED = "api_key.rotated"
    API_KEY_UPDATED = "api_key.updated"
    API_KEY_REVOKED = "api_key.revoked"
    WORKLOAD_IDENTITY_DISTRUSTED = "workload_identity.distrusted"
    # Entries
    SECRET_CREATED = "secret.created"  # noqa: S105 - the name of an action
    SECRET_UPDATED = "secret.updated"  # noqa: S105 - the name of an action
    SECRET_DELETED = "secret.deleted"  # noqa: S105 - the name of an action
    SECRET_RESTORED = "secret.restored"  # noqa: S105 - the name of an action
    SECRET_RENAMED = "secret.renamed"  # noqa: S105 - the name of an action
    SECRET_REMINDERS_SET = "secret.reminders_set"  # noqa: S105 - the name of an action
    SECRET_COMPARED = "secret.compared"  # noqa: S105 - the name of an action
    SECRET_REENCRYPTED = "secret.reencrypted"  # noqa: S105 - the name of an action
    SECRET_PURGED = "secret.purged"  # noqa: S105 - the name of an action
    SECRET_VERSION_DESTROYED = "secret_version.destroyed"  # noqa: S105 - the name of an action
    SECRET_REVEAL = "secret.reveal"  # noqa: S105 - the name of an action
    SECRET_LIST = "secret.list"  # noqa: S105 - the name of an action
    SECRET_READ = "secret.read"  # noqa: S105 - the name of an action
    SECRET_EXPORTED = "secret.exported"  # noqa: S105 - the name of an action
    CONFIG_CREATED = "config.created"
    CONFIG_UPDATED = "config.updated"
    CONFIG_DELETED = "config.deleted"
    CONFIG_RESTORED = "config.restored"
    CONFIG_RENAMED = "config.renamed"
    CONFIG_VERSION_DESTROYED = "config_version.destroyed"
    CONFIG_PURGED = "config.purged"
    FLAG_CREATED = "flag.created"
    FLAG_UPDATED = "flag.updated"
    FLAG_DELETED = "flag.deleted"
    FLAG_RESTORED = "flag.restored"
    FLAG_PURGED = "flag.purged"
    # Archives
    BACKUP_MADE = "backup.made"
    BACKUP_RESTORED = "backup.restored"
    # Failures
    ACTION_DENIED = "action.denied"


class ChainKind(StrEnum):
    CHANGES = "changes"
    ACCESS = "access"
    TENANT = "tenant"
    INSTALLATION = "installation"


# Reads, lists and failures of a project stand apart from its changes, so that a busy reader or
# an attacker never makes those who change things wait.
ACCESS_ACTIONS = frozenset(
    {Action.SECRET_LIST, Action.SECRET_READ, Action.ACTION_DENIED, Action.LOGIN_FAILED}
)


class Outcome(StrEnum):
    SUCCESS = "success"
    DENIED = "denied"
    FAILED = "failed"
