"""ZAP (ZeroMQ RFC 27): the answer to "may this key come in?"."""

from __future__ import annotations

from collections.abc import Sequence

from streamproc.keys import Allowed
from streamproc.transport.curve import DOMAIN

VERSION = b"1.0"
_KEY_BYTES = 32
_Z85 = (
    b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}"
    b"@%$#"
)


def answer(request: Sequence[bytes], allowed: Allowed) -> tuple[list[bytes], str]:
    """The reply to a request, and the cause of a refusal, empty when let in.

    Let in is a key that is listed, over CURVE, at our very domain; nothing else,
    whatever the request is. A stranger's key gets 300, at which ZeroMQ clients try
    again later: it may be listed by then. After 400 they never would.
    """
    if len(request) < 6 or request[0] != VERSION:
        return _reply(request, b"500", "", ""), "handshake"
    domain, mechanism = request[2], request[5]
    if domain != DOMAIN.encode():
        return _reply(request, b"400", "no such domain", ""), "domain"
    if mechanism != b"CURVE" or len(request) != 7 or len(request[6]) != _KEY_BYTES:
        return _reply(request, b"400", "CURVE only", ""), "mechanism"
    name = allowed.name_of(z85(request[6]))
    if name is None:
        return _reply(request, b"300", "not let in yet", ""), "key"
    return _reply(request, b"200", "OK", name), ""


def _reply(request: Sequence[bytes], code: bytes, text: str, name: str) -> list[bytes]:
    number = request[1] if len(request) > 1 else b""
    return [VERSION, number, code, text.encode(), name.encode(), b""]


def z85(key: bytes) -> str:
    """Bytes, a multiple of 4, as Z85 (ZeroMQ RFC 32)."""
    digits = bytearray()
    for at in range(0, len(key), 4):
        value = int.from_bytes(key[at : at + 4], "big")
        digits += bytes(_Z85[value // 85**power % 85] for power in (4, 3, 2, 1, 0))
    return digits.decode()
