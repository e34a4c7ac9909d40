"""`streamproc keys`: who this host is, and who may come to it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streamproc.cli.command import add_command, counted, print_json
from streamproc.errors import PlacementError

if TYPE_CHECKING:
    from streamproc.cli.command import Subparsers

_ABOUT = """\
what to do:
  make FOLDER                   a new pair: FOLDER/secret (0600) stays here,
                                FOLDER/public is handed to others
  show FOLDER                   public keys: one's own and those let in
  allow FOLDER NAME PUBLIC      let a key in, beside those NAME has; PUBLIC is the
                                key, in single quotes, or a file that holds it
  withdraw FOLDER NAME [PUBLIC] let it in no more; NAME "previous" is one's own
                                pair before the last rotation
  rotate FOLDER                 a new pair; the one before is still let in

Who is let in is read again when the folder changes; connections that stand are not
cut. A run goes on with the pair that it began with, restarted workers included.

to rotate without an outage:
  1. here         streamproc keys rotate FOLDER         prints the new public key
  2. elsewhere    streamproc keys allow FOLDER NAME PUBLIC    both keys are let in
  3. here, then where they connect to here: stop the graph and start it again with the
     same --state. Edges lose nothing; those that connect use the newest key of NAME
  4. elsewhere    streamproc keys withdraw FOLDER NAME OLD-PUBLIC
     here         streamproc keys withdraw FOLDER previous

"""


def add_parser(subparsers: Subparsers) -> None:
    """Add `keys` to the command line."""
    parser = add_command(
        subparsers,
        "keys",
        run,
        "Make, show and exchange the CURVE keys without which nothing listens beyond "
        "this machine. Never prints a secret key.",
        "streamproc keys make keys",
    )
    parser.epilog = _ABOUT + (parser.epilog or "")
    parser.add_argument("action", choices=_ACTIONS, metavar="ACTION", help="see below")
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="where keys are")
    parser.add_argument("name", metavar="NAME", nargs="?", help="of whoever has a key")
    parser.add_argument("public", metavar="PUBLIC", nargs="?", help="a public key")


def run(args: argparse.Namespace) -> int:
    """Do it and say what came of it. PlacementError (exit 2) for what cannot be."""
    wants = {"allow": (2, 2), "withdraw": (1, 2)}.get(args.action, (0, 0))
    given = sum(word is not None for word in (args.name, args.public))
    if not wants[0] <= given <= wants[1]:
        raise PlacementError(
            f"keys {args.action}: see `streamproc keys --help` for what goes with it"
        )
    told, line = _ACTIONS[args.action](args)
    print_json(told) if args.json else print(line)
    return 0


_Told = tuple[dict[str, Any], str]


def _make(args: argparse.Namespace) -> _Told:
    from streamproc import keys
    from streamproc.transport.curve import new_pair

    pair = new_pair()
    keys.make(args.folder, pair)
    line = f"made {args.folder}; hand out {args.folder / keys.PUBLIC}: '{pair.public}'"
    return {"folder": str(args.folder), "public": pair.public}, line


def _show(args: argparse.Namespace) -> _Told:
    from streamproc import keys
    from streamproc.transport.curve import belongs

    told = keys.show(args.folder)
    if not belongs(keys.read_pair(args.folder)):
        raise PlacementError(
            f"{args.folder / keys.SECRET}: its keys do not belong together; make a "
            "new pair with `streamproc keys rotate`"
        )
    rows = [("own", told.public)]
    rows += [("previous", told.previous)] if told.previous else []
    rows += [(name, key) for name, own in told.allowed.items() for key in own]
    width = max(len(name) for name, _ in rows)
    lines = [f"{name:<{width}}  {key}" for name, key in rows]
    return {"folder": str(args.folder), **told._asdict()}, "\n".join(lines)


def _allow(args: argparse.Namespace) -> _Told:
    from streamproc import keys

    public = _key(args.public)
    keys.allow(args.folder, args.name, public)
    told = {"folder": str(args.folder), "name": args.name, "public": public}
    return told, f"{args.name} is let in with '{public}'"


def _key(given: str) -> str:
    """A key, or what a file of that name holds."""
    from streamproc import keys

    if not keys.KEY.fullmatch(given) and Path(given).is_file():
        return keys.read_public(Path(given))
    return given


def _withdraw(args: argparse.Namespace) -> _Told:
    from streamproc import keys

    public = _key(args.public) if args.public else ""
    gone = keys.withdraw(args.folder, args.name, public)
    told = {"folder": str(args.folder), "name": args.name, "withdrawn": gone}
    return told, f"{counted(gone, 'key')} of {args.name} withdrawn"


def _rotate(args: argparse.Namespace) -> _Told:
    from streamproc import keys
    from streamproc.transport.curve import new_pair

    pair = new_pair()
    before = keys.rotate(args.folder, pair)
    told = {"folder": str(args.folder), "public": pair.public, "previous": before}
    line = f"hand out '{pair.public}'; '{before}' is let in until it is withdrawn"
    return told, line


_ACTIONS = {
    "make": _make,
    "show": _show,
    "allow": _allow,
    "withdraw": _withdraw,
    "rotate": _rotate,
}
