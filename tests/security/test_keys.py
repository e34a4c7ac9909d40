"""Folders of keys and `streamproc keys`: modes, rotation, and nothing secret told."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from streamproc import keys
from streamproc.cli import main
from streamproc.errors import PlacementError
from streamproc.keys import Allowed, Pair
from streamproc.transport.zap import answer, z85

from .strangers import GOOD, OTHER, SERVER, key_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return key_folder(tmp_path / "keys", SERVER, bob=GOOD)


def mode(path: Path) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)


def test_the_secret_is_its_owners_alone(folder: Path) -> None:
    assert mode(folder) == 0o700
    assert mode(folder / "secret") == 0o600
    keys.rotate(folder, OTHER)
    assert mode(folder / "secret") == mode(folder / "previous") == 0o600
    assert SERVER.secret not in (folder / "public").read_text()


@pytest.mark.parametrize("bits", [0o640, 0o604, 0o620, 0o602])
def test_a_secret_that_others_may_reach_is_refused(folder: Path, bits: int) -> None:
    (folder / "secret").chmod(bits)
    with pytest.raises(PlacementError, match="chmod 600") as caught:
        keys.read_pair(folder)
    assert SERVER.secret not in str(caught.value)
    assert Allowed(folder).name_of(GOOD.public) is None, "let in from a bad folder"


@pytest.mark.parametrize("part", ["", "allowed", "allowed/bob"])
def test_what_others_may_write_lets_nobody_in(folder: Path, part: str) -> None:
    (folder / part).chmod(0o777)
    with pytest.raises(PlacementError, match="chmod go-w"):
        keys.show(folder)
    assert Allowed(folder).name_of(GOOD.public) is None


def test_a_link_in_the_place_of_a_secret_is_not_followed(folder: Path) -> None:
    (folder / "secret").rename(folder / "elsewhere")
    (folder / "secret").symlink_to(folder / "elsewhere")
    with pytest.raises(PlacementError):
        keys.read_pair(folder)


def test_keys_are_not_made_over_keys(folder: Path) -> None:
    with pytest.raises(PlacementError, match="holds keys already"):
        keys.make(folder, OTHER)
    assert keys.read_pair(folder).public == SERVER.public


def test_after_a_rotation_both_pairs_are_good_until_the_old_one_goes(
    folder: Path,
) -> None:
    allowed = Allowed(folder)
    assert allowed.name_of(SERVER.public) == "self"
    assert keys.rotate(folder, OTHER) == SERVER.public
    assert keys.read_pair(folder).public == OTHER.public
    assert keys.read_pair(folder, SERVER.public).secret == SERVER.secret
    assert allowed.name_of(SERVER.public) == allowed.name_of(OTHER.public) == "self"
    with pytest.raises(PlacementError, match="withdraw"):
        keys.rotate(folder, GOOD)
    keys.withdraw(folder, "previous")
    assert allowed.name_of(SERVER.public) is None
    with pytest.raises(PlacementError, match="is gone"):
        keys.read_pair(folder, SERVER.public)


def test_a_name_may_have_two_keys_and_the_newest_is_the_servers(folder: Path) -> None:
    allowed = Allowed(folder)
    keys.allow(folder, "bob", OTHER.public)
    assert allowed.name_of(GOOD.public) == allowed.name_of(OTHER.public) == "bob"
    assert keys.server_key(folder, "bob") == OTHER.public
    assert keys.withdraw(folder, "bob", GOOD.public) == 1
    assert allowed.name_of(GOOD.public) is None
    assert keys.withdraw(folder, "bob") == 1
    with pytest.raises(PlacementError, match="no key of 'bob'"):
        keys.server_key(folder, "bob")


@pytest.mark.parametrize(
    ("name", "public"),
    [
        ("../bob", OTHER.public),
        ("", OTHER.public),
        (".bob", OTHER.public),
        ("previous", OTHER.public),
        ("self", OTHER.public),
        ("a" * 65, OTHER.public),
        ("carol", OTHER.public[:-1]),
        ("carol", "'" * 40),
        ("carol", OTHER.public + "\n" + OTHER.public),
        ("carol", GOOD.public),  # which is bob's
    ],
)
def test_what_is_no_name_or_no_key_is_refused(
    folder: Path, name: str, public: str
) -> None:
    before = keys.show(folder)
    with pytest.raises(PlacementError):
        keys.allow(folder, name, public)
    assert keys.show(folder) == before


@pytest.mark.parametrize("text", ["", "x", "short\nshort\n", "\0" * 99, "é" * 40])
def test_a_damaged_secret_is_refused_and_not_shown(folder: Path, text: str) -> None:
    (folder / "secret").write_text(text)
    (folder / "secret").chmod(0o600)
    with pytest.raises(PlacementError) as caught:
        keys.read_pair(folder)
    assert len(text) < 2 or text[:20] not in str(caught.value)


# ZAP, without any socket.


def request(
    key: bytes = bytes(32), domain: bytes = b"streamproc", mechanism: bytes = b"CURVE"
) -> list[bytes]:
    return [b"1.0", b"7", domain, b"10.0.0.9", b"", mechanism, key]


@pytest.mark.parametrize(
    ("asked", "cause"),
    [
        (request(), "key"),
        (request(domain=b"*"), "domain"),
        (request(domain=b""), "domain"),
        (request(domain=b"streamproc2"), "domain"),
        (request(mechanism=b"NULL"), "mechanism"),
        (request(mechanism=b"PLAIN"), "mechanism"),
        (request()[:-1], "mechanism"),
        (request(key=bytes(31)), "mechanism"),
        ([*request(), b""], "mechanism"),
        ([], "handshake"),
        ([b"1.0"], "handshake"),
        ([b"2.0", *request()[1:]], "handshake"),
    ],
)
def test_zap_lets_nobody_in_by_default(
    folder: Path, asked: list[bytes], cause: str
) -> None:
    reply, why = answer(asked, Allowed(folder))
    assert why == cause
    assert reply[2] != b"200"


def test_zap_lets_in_who_is_listed(folder: Path) -> None:
    import zmq.utils.z85

    raw = zmq.utils.z85.decode(GOOD.public.encode())
    assert z85(raw) == GOOD.public
    reply, why = answer(request(raw), Allowed(folder))
    assert (why, reply[1], reply[2], reply[4]) == ("", b"7", b"200", b"bob")


# The command.


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    def run(*words: object) -> tuple[int, str]:
        code = main(["keys", *map(str, words)])
        said = capsys.readouterr()
        return code, said.out + said.err

    return run


def secrets_of(folder: Path) -> list[str]:
    found = [folder / name for name in ("secret", "previous")]
    return [path.read_text().split()[1] for path in found if path.exists()]


def test_no_command_ever_tells_a_secret(
    tmp_path: Path, told: Callable[..., tuple[int, str]]
) -> None:
    folder, said, hidden = tmp_path / "keys", "", set()
    (tmp_path / "bob.key").write_text(GOOD.public + "\n")
    steps = [
        ("make", folder),
        ("show", folder),
        ("allow", folder, "bob", tmp_path / "bob.key"),
        ("rotate", folder),
        ("show", folder, "--json"),
        ("withdraw", folder, "previous"),
        ("rotate", folder, "--json"),
        ("withdraw", folder, "bob", "--json"),
        ("allow", folder, "eve", folder / "secret"),  # two keys: refused
    ]
    for step in steps:
        code, text = told(*step)
        assert code == (2 if step[2:3] == ("eve",) else 0), text
        said += text
        hidden |= set(secrets_of(folder))
    assert len(hidden) == 3
    assert not [secret for secret in hidden if secret in said]
    assert GOOD.public in said
    assert "secret" not in repr(Pair("public", "secret"))


def test_a_made_folder_is_whole(
    tmp_path: Path, told: Callable[..., tuple[int, str]]
) -> None:
    code, text = told("make", tmp_path / "keys", "--json")
    assert code == 0
    public = json.loads(text)["public"]
    assert keys.show(tmp_path / "keys") == (public, "", {})
    assert public[0].isalnum(), "a command line would take it for an option"


def test_show_finds_keys_that_do_not_belong_together(
    folder: Path, told: Callable[..., tuple[int, str]]
) -> None:
    (folder / "secret").write_text(f"{SERVER.public}\n{OTHER.secret}\n")
    code, text = told("show", folder)
    assert code == 2
    assert "do not belong together" in text
    assert OTHER.secret not in text


@pytest.mark.parametrize(
    "words",
    [
        ["show", "nowhere"],
        ["rotate", "nowhere"],
        ["allow", "nowhere", "bob", GOOD.public],
        ["allow", "nowhere", "bob"],
        ["show", "nowhere", "bob"],
        ["withdraw", "nowhere"],
    ],
)
def test_what_cannot_be_done_exits_2_with_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    told: Callable[..., tuple[int, str]],
    words: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    code, text = told(*words)
    assert code == 2
    assert text.count("\n") == 1
