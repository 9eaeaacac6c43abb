"""Amounts as people write them: a number, the unit beside it, and how one below 0 is told."""

import re

import pandas as pd

_MONEY = (
    "(?:US|CA|AU|NZ|HK|[ACRS])?[$]|[\u20ac\u00a3\u00a5\u20b9\u20a9\u20bd\u20ba\u20aa]|Rs[.]?|kr[.]?|"
    "USD|EUR|GBP|CHF|JPY|CNY|INR|CAD|AUD|NZD|SEK|NOK|DKK|PLN|CZK|BRL|MXN|ZAR|KRW|SGD|HKD|TRY"
)
_WORD = "\u00b0?[^\\W\\d_]+(?:[\u00b2\u00b3]|(?<=[mM])[23])?[.]?"
BEFORE = rf"\s*(?P<sign>[-+]?)(?:(?P<before>{_MONEY}) ?)?"
BEHIND = rf"(?: ?(?P<after>[%\u2030\u00b0]|{_MONEY}|{_WORD}(?:[/ ]{_WORD})?))?\s*"
AMOUNT = re.compile(  # 12 kg, $ 5, .5 m2
    rf"{BEFORE}(?P<number>(?:\d|[.](?=\d))[\d.,'\u2019\u00a0\u202f ]*?){BEHIND}"
)
BRACKETS = re.compile(r"\s*\(([^()-]*\d[^()-]*)\)\s*")  # (5), as accounts have what is below 0
_BELOW = re.compile(rf"\s*(?:\u2212 ?(.*\d.*)|({_MONEY}) ?[-\u2212](\d.*))")
_OTHERWISE = frozenset("(-\u2212")  # of which one is in each of these
# Units of two letters that mean one thing in any case; mW and MW do not.
_ANY_CASE = {"kg", "lb", "oz", "cm", "km", "ft", "hr", "yr", "kr"}
_SEVERAL = 5  # units of one column at most; more of them are no units
_THOUSANDS = {"k", "K", "M"}  # and millions
_WORDS = 3  # letters of a unit from which case and a last s mean nothing
_PREFIXES = "mp"  # milli and mega, pico and peta, in units like mHz


def signed(value: object) -> object:
    """Return a number below 0 with a minus in front of it, where its sign is written otherwise."""
    if not isinstance(value, str) or not _OTHERWISE.intersection(value):
        return value  # as nearly all are
    if found := BRACKETS.fullmatch(value):
        return f"-{found[1].strip()}"
    if found := _BELOW.fullmatch(value):
        return "-" + "".join(found.groups(""))
    return value


def in_brackets(values: pd.Series) -> str | None:
    """Return the first of a column's numbers that stands in brackets, None where none does."""
    texts = (value for value in values.unique() if isinstance(value, str))
    return next(filter(BRACKETS.fullmatch, texts), None)


def amount_in(value: object) -> re.Match[str] | None:
    """Return the parts of an amount, None where a value is no text or none."""
    text = signed(value)
    return AMOUNT.fullmatch(text) if isinstance(text, str) else None


def unit_in(value: object) -> str:
    """Return what a number is counted in; "" where nothing is said, or where it is none."""
    found = amount_in(value)
    return "" if found is None else _unit_of(found)


def _unit_of(found: re.Match[str]) -> str:
    parts = (found["before"] or "").rstrip("."), _spelled(found["after"] or "")
    return " ".join(filter(None, parts))


def _spelled(unit: str) -> str:
    """Return a unit in one spelling: lbs. and LB are lb, and days are day."""
    unit = unit.rstrip(".")
    small = unit.casefold()
    if small in _ANY_CASE or (len(unit) >= _WORDS and small[0] not in _PREFIXES):
        unit = small
    return unit.removesuffix("s") if len(unit) >= _WORDS else unit


def in_several_units(values: pd.Series) -> list[str]:
    """Return an example of each unit, where all values are amounts, but not in one unit.

    Of units of one letter only thousands and millions are taken for such: 10A and 20B are seats.

    Args:
        values: of a column, none missing.

    """
    differing = pd.Series(values.unique())
    units = differing.map(unit_in)
    examples = differing.groupby(units, sort=False).first()
    plain = all(len(unit) != 1 or unit in _THOUSANDS or not unit.isalpha() for unit in units)
    if not (plain and 1 < len(examples) <= _SEVERAL and differing.map(amount_in).notna().all()):
        return []
    return [str(one) for one in examples]


def bare(values: pd.Series, unit: str) -> pd.Series:
    """Return numbers without the unit beside them; what is none in it stays as it is."""

    def number(value: object) -> object:
        found = amount_in(value)
        if found is None or _unit_of(found) != unit:
            return value
        return found["sign"] + found["number"]

    return values.astype(object).map(number)
