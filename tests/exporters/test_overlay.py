"""What building and publishing learn of the overlay, from a real Redis and from none."""

from pathlib import Path

from deploy.triton.backends.line import Line
from deploy.triton.backends.overlay import write
from exporters.overlay import decided, overlay_position
from tests.ports import isolated_settings
from tests.redis_server import redis_server


def test_the_position_and_the_decided_items_are_read(tmp_path: Path) -> None:
    settings, said = isolated_settings(tmp_path), list[str]()
    with redis_server(settings.redis_port):
        assert overlay_position(settings, said.append) == 0
        assert len(decided(settings, said.append)) == 0
        line = Line(settings.redis_url)
        line.execute(write({"in_stock": {1: False, 2: True}, "is_safe": {2: False, 3: False}}))
        line.execute(write({"price": {4: 2.0}, "regions": {5: frozenset({83})}, "in_stock": {1: None}}))
        line.close()
        assert overlay_position(settings, said.append) == 2
        assert sorted(decided(settings, said.append).tolist()) == [2, 3, 5]
    assert said == []


def test_without_redis_a_build_goes_on_and_says_so(tmp_path: Path) -> None:
    settings, said = isolated_settings(tmp_path), list[str]()
    assert overlay_position(settings, said.append) is None
    assert len(decided(settings, said.append)) == 0
    assert [line.startswith("without the overlay: ") for line in said] == [True, True]
