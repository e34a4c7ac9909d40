"""Key folders that change, that belong to others, that cannot be read for a while."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import cast

import pytest
import zmq

from streamproc import keys
from streamproc.errors import PlacementError
from streamproc.keys import Allowed
from streamproc.transport.watch import Watch

from .strangers import (
    GOOD,
    HOST,
    OTHER,
    SERVER,
    key_folder,
    new_node,
    opened,
    packed,
    port_of,
    pusher,
    until,
)

NOBODY = 65534


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return key_folder(tmp_path / "keys", SERVER, bob=GOOD)


# What changes without its folder changing.


def test_a_key_file_edited_in_place_is_read_again(folder: Path) -> None:
    allowed = Allowed(folder)
    assert allowed.name_of(GOOD.public) == "bob"
    with open(folder / "allowed" / "bob", "r+") as file:
        file.write(OTHER.public)
    assert allowed.name_of(GOOD.public) is None
    assert allowed.name_of(OTHER.public) == "bob"


def test_a_key_file_opened_to_others_lets_nobody_in(folder: Path) -> None:
    allowed = Allowed(folder)
    assert allowed.name_of(GOOD.public) == "bob"
    (folder / "allowed" / "bob").chmod(0o666)
    assert allowed.name_of(GOOD.public) is None
    (folder / "allowed" / "bob").chmod(0o644)
    assert allowed.name_of(GOOD.public) == "bob"


def test_a_key_that_comes_and_goes_in_one_tick_of_the_clock_is_gone(
    folder: Path,
) -> None:
    allowed, path = Allowed(folder), folder / "allowed" / "carol"
    for _ in range(100):
        path.write_text(OTHER.public + "\n")
        assert allowed.name_of(OTHER.public) == "carol"
        path.unlink()
        assert allowed.name_of(OTHER.public) is None


# What belongs to somebody else.


@pytest.mark.skipif(
    os.geteuid() != 0, reason="OWNERS NOT TRIED: only root gives files away"
)
@pytest.mark.parametrize("part", ["", "secret", "allowed", "allowed/bob"])
def test_what_belongs_to_another_user_lets_nobody_in(folder: Path, part: str) -> None:
    allowed = Allowed(folder)
    assert allowed.name_of(GOOD.public) == "bob"
    os.chown(folder / part, NOBODY, NOBODY)
    with pytest.raises(PlacementError, match=f"got user {NOBODY}; `chown`"):
        keys.show(folder)
    assert allowed.name_of(GOOD.public) is None
    if part in ("", "secret"):
        with pytest.raises(PlacementError, match="belong"):
            keys.read_pair(folder)
    os.chown(folder / part, 0, 0)
    assert allowed.name_of(GOOD.public) == "bob"


@pytest.mark.skipif(
    os.geteuid() != 0, reason="OWNERS NOT TRIED: only root gives files away"
)
def test_a_public_key_may_be_handed_out_by_anybody(tmp_path: Path) -> None:
    (tmp_path / "bob.key").write_text(GOOD.public)
    os.chown(tmp_path / "bob.key", NOBODY, NOBODY)
    assert keys.read_public(tmp_path / "bob.key") == GOOD.public


# What cannot be read, here by decree: root may read everything.


def refuse(*_: object, **__: object) -> bool:
    raise PermissionError(13, "Permission denied")


def test_a_folder_that_may_not_be_searched_is_one_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    allowed = Allowed(folder)
    with monkeypatch.context() as shut:
        shut.setattr(Path, "exists", refuse)
        for ask in (keys.read_pair, keys.show):
            with pytest.raises(PlacementError, match="Permission denied"):
                ask(folder)
        with pytest.raises(PlacementError, match="Permission denied"):
            keys.withdraw(folder, "previous")
        assert allowed.name_of(GOOD.public) is None
    assert allowed.name_of(GOOD.public) == "bob", "nothing changed but that"


class Asked:
    """What a door hears and says, without the socket."""

    def __init__(self) -> None:
        self.said: list[bytes] = []

    def recv_multipart(self) -> list[bytes]:
        return [b"1.0", b"7", b"streamproc", HOST.encode(), b"", b"CURVE", bytes(32)]

    def send_multipart(self, parts: list[bytes]) -> None:
        self.said = parts


def test_a_door_whose_answer_fails_refuses(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Called here, as a thread that ends takes the closing of its socket along."""
    asked = Asked()
    with opened(endpoint="tcp://127.0.0.1:*", keys=str(folder)) as node:
        monkeypatch.setattr(Allowed, "name_of", refuse)
        assert node.door is not None
        node.door._answer(cast("zmq.Socket[bytes]", asked))
        assert node.report()["peers_key"] == 1
    assert asked.said == [b"1.0", b"7", b"300", b"later", b"", b""]


def test_a_door_outlives_a_folder_that_may_not_be_searched(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever comes meanwhile is refused, and let in when it is over."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    try:
        with opened(endpoint="tcp://127.0.0.1:*", keys=str(folder)) as node:
            with monkeypatch.context() as shut:
                shut.setattr(Path, "exists", refuse)
                client = pusher(context, port_of(node), GOOD)
                client.send_multipart(packed(0))
                until(lambda: node.report()["refused_peers"])
                assert node.process() is None
            until(lambda: node.process() is not None)
    finally:
        context.destroy(0)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("asked", [False, True])
def test_a_door_whose_thread_dies_is_said_and_can_be_closed(
    folder: Path, monkeypatch: pytest.MonkeyPatch, asked: bool
) -> None:
    """Bounded here: where it hangs, nothing but the end of the process ends it."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    node = new_node(endpoint="tcp://127.0.0.1:*", keys=str(folder))
    try:
        door = node.door
        assert door is not None
        with monkeypatch.context() as broken:
            broken.setattr(Watch, "look", refuse)
            until(lambda: not door._thread.is_alive())
        client = pusher(context, port_of(node), GOOD)
        client.send_multipart(packed(0))
        if asked:
            assert "has died; nobody new is let in" in door.news(time.monotonic())
            assert not door.news(time.monotonic() + 100)
        time.sleep(0.3)  # until libzmq has told its monitor of who came
        assert node.process() is None
        closing = threading.Thread(target=node.close, daemon=True)
        closing.start()
        closing.join(10)
        assert not closing.is_alive(), "it waits for ever"
    finally:
        context.destroy(linger=0)
