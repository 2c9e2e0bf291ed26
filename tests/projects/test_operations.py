"""Tiers, add-ons and members."""

import pytest

from apps.audit.events import Action
from apps.audit.models import AuditEvent
from apps.core.access import ProjectRole
from apps.core.actor import Actor
from apps.core.errors import DowngradeBlocked, LastOwner, NotPermitted, TierForbids
from apps.projects.models import ProjectMember
from apps.projects.operations import (
    activate_add_on,
    change_tier,
    create_project,
    remove_project_member,
    set_project_member,
)
from apps.projects.tiers import TIERS
from tests.conftest import Cast


def test_the_tiers_are_those_of_the_contract() -> None:
    caps = {
        name: (tier.services, tier.secrets, tier.configs, tier.flags, tier.members, tier.audit_retention_days)
        for name, tier in TIERS.items()
    }

    assert caps == {
        "free": (3, 25, 100, 20, 3, 7),
        "xs": (10, 100, 500, 100, 10, 30),
        "s": (25, 500, 2500, 500, 25, 90),
        "m": (100, 2500, 10000, 2500, 100, 180),
        "l": (250, 10000, 50000, 10000, 500, 365),
        "xl": (None, None, None, None, None, 2555),
    }
    assert TIERS["free"].environments == ("develop",)
    assert TIERS["xs"].environments == ("develop", "production")
    assert not TIERS["xs"].add_ons
    assert TIERS["s"].add_ons == {"ab_testing"}


def test_a_downgrade_names_everything_in_the_way_and_changes_nothing(cast: Cast, command: Actor) -> None:
    activate_add_on(actor=command, project=cast.project, name="ab_testing")

    with pytest.raises(DowngradeBlocked) as refusal:
        change_tier(actor=cast.actor("alice"), project=cast.project, tier="free")

    blockers = " ".join(refusal.value.members["blockers"])
    assert "4 services" in blockers
    assert "ab_testing" in blockers
    assert "production/api" in blockers
    cast.project.refresh_from_db()
    assert cast.project.tier == "m"


def test_after_a_downgrade_the_longer_retention_is_remembered(cast: Cast) -> None:
    project = change_tier(actor=cast.actor("alice"), project=cast.project, tier="s")

    assert (project.tier, project.retention_days_before) == ("s", 180)
    assert project.retention_days_before_until is not None
    event = AuditEvent.objects.get(action=Action.PROJECT_TIER_CHANGED)
    assert event.changed == {"tier": ["m", "s"]}


def test_a_manager_changes_no_tier(cast: Cast) -> None:
    with pytest.raises(NotPermitted):
        change_tier(actor=cast.actor("mona"), project=cast.project, tier="l")


def test_an_add_on_needs_a_tier_that_has_it(cast: Cast, command: Actor) -> None:
    with pytest.raises(TierForbids):
        create_project(actor=command, tenant=cast.tenant, slug="small", add_ons=["ab_testing"])


def test_the_last_owner_of_a_project_stays(cast: Cast, command: Actor) -> None:
    with pytest.raises(LastOwner):
        remove_project_member(actor=command, project=cast.project, user=cast.users["alice"])
    with pytest.raises(LastOwner):
        set_project_member(
            actor=command, project=cast.project, user=cast.users["alice"], role=ProjectRole.VIEWER
        )

    assert ProjectMember.objects.get(user=cast.users["alice"]).role == "owner"


def test_a_manager_gives_roles_up_to_developer_and_takes_no_higher_one(cast: Cast) -> None:
    mona, vic = cast.actor("mona"), cast.users["vic"]

    set_project_member(actor=mona, project=cast.project, user=vic, role=ProjectRole.DEVELOPER)
    for role in (ProjectRole.MANAGER, ProjectRole.OWNER):
        with pytest.raises(NotPermitted):
            set_project_member(actor=mona, project=cast.project, user=vic, role=role)
    with pytest.raises(NotPermitted):
        remove_project_member(actor=mona, project=cast.project, user=cast.users["alice"])

    assert ProjectMember.objects.get(user=vic).role == "developer"


def test_nobody_changes_their_own_role(cast: Cast) -> None:
    with pytest.raises(NotPermitted):
        set_project_member(
            actor=cast.actor("mona"), project=cast.project, user=cast.users["mona"], role=ProjectRole.VIEWER
        )
