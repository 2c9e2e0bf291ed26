"""The tiers of SPEC 2. Nothing else knows a number of theirs."""

from dataclasses import dataclass

UNLIMITED: None = None
STANDARD_ENVIRONMENTS = ("develop", "staging", "production")
AB_TESTING = "ab_testing"


@dataclass(frozen=True, slots=True)
class Tier:
    """What a project of this tier may have. A cap of None is no cap; `environments` None is any name."""

    name: str
    environments: tuple[str, ...] | None
    services: int | None
    secrets: int | None
    configs: int | None
    flags: int | None
    members: int | None
    audit_retention_days: int
    add_ons: frozenset[str]

    def cap(self, quota: str) -> int | None:
        """The cap of `services`, `secrets`, `configs`, `flags` or `members` in one project."""
        caps = {
            "services": self.services,
            "secrets": self.secrets,
            "configs": self.configs,
            "flags": self.flags,
            "members": self.members,
        }
        return caps[quota]

    def has_environment(self, name: str) -> bool:
        return self.environments is None or name in self.environments


_NO_ADD_ONS: frozenset[str] = frozenset()
_ADD_ONS = frozenset({AB_TESTING})

# fmt: off
TIERS: dict[str, Tier] = {
    tier.name: tier
    for tier in (
        Tier("free", ("develop",), 3, 25, 100, 20, 3, 7, _NO_ADD_ONS),
        Tier("xs", ("develop", "production"), 10, 100, 500, 100, 10, 30, _NO_ADD_ONS),
        Tier("s", STANDARD_ENVIRONMENTS, 25, 500, 2_500, 500, 25, 90, _ADD_ONS),
        Tier("m", None, 100, 2_500, 10_000, 2_500, 100, 180, _ADD_ONS),
        Tier("l", None, 250, 10_000, 50_000, 10_000, 500, 365, _ADD_ONS),
        Tier("xl", None, UNLIMITED, UNLIMITED, UNLIMITED, UNLIMITED, UNLIMITED, 2_555, _ADD_ONS),
    )
}
# fmt: on
QUOTAS = ("services", "secrets", "configs", "flags", "members")
