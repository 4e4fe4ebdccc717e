"""What a value is called and how much it is, for people. Imported with the page that shows values."""

from app.store import number

_WORDS = {"temp": "temperature", "hum": "humidity", "press": "pressure"}
_UNITS = {"c": " °C", "pct": " %", "hpa": " hPa", "pa": " Pa", "v": " V", "total": ""}


def reading(name: str, value: "Any") -> tuple:
    """(name, value with its unit) for people: the unit is the end of the field's name (docs/sensors.md)."""
    title, _, unit = name.rpartition("_")
    if unit not in _UNITS:
        title, unit = name, "total"
    title = " ".join([_WORDS.get(word, word) for word in title.split("_")])
    text = "no value" if isinstance(value, str) else number(value) + _UNITS[unit]
    return title[:1].upper() + title[1:], text
