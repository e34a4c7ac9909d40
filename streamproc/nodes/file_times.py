"""Time stamps of text files, as ns since 1970 or since the recording began."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation

_DIGITS = {"s": 9, "ms": 6, "us": 3, "ns": 0}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_US = timedelta(microseconds=1)
_MOST = Decimal(2**63)


def check_format(form: str) -> None:
    """ValueError for what reader_of does not know."""
    if form != "iso" and form not in _DIGITS and "%" not in form:
        raise ValueError(
            f"time_format: expected {', '.join(_DIGITS)}, iso or a pattern such as "
            f"%d.%m.%Y %H:%M:%S, got {form!r}"
        )


def reader_of(form: str) -> Callable[[str], int]:
    """A function from text to ns, which raises ValueError for what is no time.

    form: s, ms, us or ns for a number in that unit, exact to the ns; iso for ISO 8601
    date and time; else a pattern of strptime. Times without a zone are UTC.
    """
    check_format(form)
    if form in _DIGITS:
        return lambda text: _scaled(text, _DIGITS[form])
    if form == "iso":
        return _iso
    return lambda text: _since_epoch(datetime.strptime(text, form))


def _iso(text: str) -> int:
    """Exact to the ns, of which datetime itself keeps the microseconds."""
    finer = re.search(r"[.,]\d{6}(\d{1,3})(?!\d)", text)
    below_us = int(finer[1].ljust(3, "0")) if finer else 0
    return _since_epoch(datetime.fromisoformat(text)) + below_us


def _scaled(text: str, digits: int) -> int:
    if "_" in text:  # which Decimal would take
        raise ValueError(f"no number: {text!r:.60}")
    try:
        value = Decimal(text)
    except InvalidOperation as error:
        raise ValueError(f"no number: {text!r:.60}") from error
    if not value.is_finite() or abs(value) >= _MOST:
        raise ValueError(f"no time: {text!r:.60}")
    return int(value.scaleb(digits).to_integral_value())


def _since_epoch(moment: datetime) -> int:
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // _US * 1000
