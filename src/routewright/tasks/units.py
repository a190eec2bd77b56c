"""Units of measurement: name -> dimension and the size of one in the dimension's base unit.

A quantity's base value is number * factor + offset; the offset is 0 but for temperatures. Symbols are read with their
case, words without it. A modest table: SI with its common prefixes, imperial and US units, time, temperature, data.
"""

from __future__ import annotations

import re
from typing import NamedTuple


class Unit(NamedTuple):
    """A unit: its dimension, its size and its zero in the dimension's base unit."""

    dimension: str
    factor: float
    offset: float = 0.0


_SYMBOLS: dict[str, Unit] = {}
_WORDS: dict[str, Unit] = {}


def _add(dimension: str, factor: float, symbols: str, words: str, offset: float = 0.0) -> None:
    unit = Unit(dimension, factor, offset)
    _SYMBOLS.update(dict.fromkeys(symbols.split(), unit))
    for word in filter(None, words.split(",")):
        _WORDS[word.strip()] = _WORDS[word.strip() + "s"] = unit


_add("length", 1.0, "m", "meter,metre")
_add("length", 1e3, "km", "kilometer,kilometre")
_add("length", 1e-1, "dm", "decimeter,decimetre")
_add("length", 1e-2, "cm", "centimeter,centimetre")
_add("length", 1e-3, "mm", "millimeter,millimetre")
_add("length", 1e-6, "um μm µm", "micrometer,micrometre,micron")
_add("length", 1e-9, "nm", "nanometer,nanometre")
_add("length", 0.0254, "in", "inch,inche")  # "in" counts only where nothing follows: "5 in total"
_add("length", 0.3048, "ft", "foot,feet")
_add("length", 0.9144, "yd", "yard")
_add("length", 1609.344, "mi", "mile")
_add("mass", 1.0, "kg", "kilogram,kilogramme,kilo")
_add("mass", 1e-3, "g", "gram,gramme")
_add("mass", 1e-6, "mg", "milligram")
_add("mass", 1e-9, "ug μg µg", "microgram")
_add("mass", 1e3, "t", "tonne,metric ton")
_add("mass", 0.45359237, "lb lbs", "pound")
_add("mass", 0.028349523125, "oz", "ounce")
_add("mass", 907.18474, "", "ton,short ton")
_add("time", 1.0, "s sec secs", "second")
_add("time", 1e-3, "ms", "millisecond")
_add("time", 1e-6, "us μs µs", "microsecond")
_add("time", 1e-9, "ns", "nanosecond")
_add("time", 60.0, "min mins", "minute")
_add("time", 3600.0, "h hr hrs", "hour")
_add("time", 86400.0, "d", "day")
_add("time", 604800.0, "wk wks", "week")
_add("temperature", 1.0, "K", "kelvin")
_add("temperature", 1.0, "°C", "degrees celsius,degree celsius,celsius", 273.15)
_add("temperature", 5 / 9, "°F", "degrees fahrenheit,degree fahrenheit,fahrenheit", 459.67 * 5 / 9)
_add("data", 1.0, "bit", "bit")
_add("data", 8.0, "B", "byte")
for _name, _power in (("k", 1), ("M", 2), ("G", 3), ("T", 4), ("P", 5)):
    _word = {"k": "kilo", "M": "mega", "G": "giga", "T": "tera", "P": "peta"}[_name]
    _add("data", 8.0 * 1000**_power, f"{_name}B {_name.upper()}B", f"{_word}byte")
    _add("data", 8.0 * 1024**_power, f"{_name.upper()}iB", f"{_word[:2]}bibyte")
    _add("data", 1.0 * 1000**_power, f"{_name}bit {_name}b", f"{_word}bit")
_add("speed", 1.0, "m/s mps", "meters per second,metre per second,meter per second,metres per second")
_add("speed", 1 / 3.6, "km/h kph kmh", "kilometers per hour,kilometer per hour,kilometres per hour")
_add("speed", 0.44704, "mph mi/h", "miles per hour,mile per hour")
_add("speed", 0.3048, "ft/s", "feet per second,foot per second")
_add("area", 1.0, "m² m^2 m2", "square meter,square metre")
_add("area", 1e-4, "cm² cm^2 cm2", "square centimeter,square centimetre")
_add("area", 1e6, "km² km^2 km2", "square kilometer,square kilometre")
_add("area", 0.09290304, "ft² ft^2", "square foot,square feet")
_add("area", 0.00064516, "in² in^2", "square inch,square inche")
_add("area", 4046.8564224, "", "acre")
_add("area", 1e4, "ha", "hectare")
_add("volume", 1.0, "m³ m^3 m3", "cubic meter,cubic metre")
_add("volume", 1e-6, "cm³ cm^3 cm3 cc", "cubic centimeter,cubic centimetre")
_add("volume", 1e-3, "l L", "liter,litre")
_add("volume", 1e-6, "ml mL", "milliliter,millilitre")
_add("volume", 3.785411784e-3, "gal", "gallon")
_add("volume", 0.946352946e-3, "qt", "quart")
_add("volume", 0.473176473e-3, "pt", "pint")
_add("volume", 0.028316846592, "ft³ ft^3", "cubic foot,cubic feet")
_add("energy", 1.0, "J", "joule")
_add("energy", 1e3, "kJ", "kilojoule")
_add("energy", 4184.0, "kcal", "kilocalorie")
_add("energy", 3.6e6, "kWh", "kilowatt hour,kilowatt-hour")
_add("power", 1.0, "W", "watt")
_add("power", 1e3, "kW", "kilowatt")
_add("ratio", 0.01, "%", "percent,per cent")

_NAMES = sorted([*_SYMBOLS, *_WORDS], key=len, reverse=True)
_UNIT = re.compile(rf"[\s~]*({'|'.join(map(re.escape, _NAMES))})(?![\w/^²³°])", re.IGNORECASE)
_END = re.compile(r"\s*(?:$|[.,;)])")


def unit_at(text: str, at: int) -> tuple[Unit, int] | None:
    """The unit that stands at a position, and where it ends; None if no known one does."""
    match = _UNIT.match(text, at)
    if match is None:
        return None
    if match[1] == "in" and not _END.match(text, match.end()):
        return None
    unit = _SYMBOLS.get(match[1]) or _WORDS.get(match[1].lower())
    return None if unit is None else (unit, match.end())
