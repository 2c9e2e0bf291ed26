import pytest

from apps.core.actor import Actor
from tests.conftest import play_cast
from tests.console.test_routes import World, make_world
from tests.plugins.stage import Stage


@pytest.fixture
def world(request: pytest.FixtureRequest, db: None, stage: Stage, command: Actor) -> World:
    """The cast with entries of every kind; of a test that asks for the cast as well, around that one."""
    if "cast" in request.fixturenames:
        return make_world(request.getfixturevalue("cast"), command)
    return stage.play("world", lambda: make_world(play_cast(stage, command), command))
