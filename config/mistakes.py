"""What is wrong with the settings, in sentences that name the file, the line, the key, and what was meant."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError


def explained(
    error: ValidationError, whole: type[BaseModel], where: str, text: str | None, data: Mapping[str, Any]
) -> str:
    """All mistakes, each in a line with its place and what was meant.

    Args:
        whole: what the settings are.
        where: they come from, such as a file.
        text: that they were read from; None: from none.
        data: what was read there.
    """
    lines = []
    for item in error.errors(include_url=False):
        key = ".".join(str(part) for part in item["loc"])
        said = item["msg"].removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            said = f"there is no such key{_meant(whole, item['loc'])}"
        lines.append(f"{where}{_line(text, item['loc'], data)}: {key + ': ' if key else ''}{said}")
    return "\n".join(lines)


def _meant(whole: type[BaseModel], loc: tuple[int | str, ...]) -> str:
    """The known key that is nearest to a misspelt one."""
    section: Any = whole
    for part in loc[:-1]:
        if isinstance(part, int):
            continue
        field = section.model_fields.get(part)
        if field is None:
            return ""
        section = _model_of(field.annotation)
        if section is None:
            return ""
    near = difflib.get_close_matches(str(loc[-1]), list(section.model_fields), n=1)
    return f"; did you mean `{near[0]}`?" if near else f"; known keys: {', '.join(section.model_fields)}"


def _model_of(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_model_of, getattr(annotation, "__args__", ()))), None)


def _line(text: str | None, loc: tuple[int | str, ...], data: Mapping[str, Any]) -> str:
    """`:line` of the key in the text, else of the nearest thing around it."""
    if text is None or not loc:
        return ""
    section = str(loc[0])
    entry, way = (loc[1], loc[2:]) if len(loc) > 1 and isinstance(loc[1], int) else (None, loc[1:])
    tables = _tables(text, section)
    if (entry or 0) >= len(tables):
        return ""
    place, stop = tables[entry or 0]
    within = data.get(section) if entry is None else _inside(data.get(section), entry)
    before: list[Any] = []  # entries of a list that stand in front of the one that is meant
    for part in way:
        if isinstance(part, str):
            skipped = sum(isinstance(one, dict) and part in one for one in before)
            name = re.escape(part)
            key = rf'(?:^|[{{,])\s*("?{name}"?)\s*=|^[ \t]*\[\[?\s*({re.escape(section)}\.{name})\s*\]'
            found = [match.start(match.lastindex or 0) for match in re.compile(key, re.M).finditer(text, place, stop)]
            if len(found) <= skipped:
                break
            place = found[skipped]
        before = within[:part] if isinstance(within, list) and isinstance(part, int) else []
        within = _inside(within, part)
    return f":{text.count(chr(10), 0, place) + 1}"


def _tables(text: str, section: str) -> list[tuple[int, int]]:
    """Where the tables of one name begin and end in the text, their sub-tables included."""
    heads = [
        (match.start(1), match[1].split(".")[0] == section, "." in match[1])
        for match in re.finditer(r"^[ \t]*\[\[?\s*([\w.-]+)\s*\]\]?[ \t]*(?:#.*)?$", text, re.M)
    ]
    found: list[tuple[int, int]] = []
    for number, (start, ours, inner) in enumerate(heads):
        stop = heads[number + 1][0] if number + 1 < len(heads) else len(text)
        if ours and inner and found:
            found[-1] = found[-1][0], stop
        elif ours:
            found.append((start, stop))
    return found


def _inside(whole: Any, part: int | str) -> Any:
    try:
        return whole[part]
    except (LookupError, TypeError):
        return None
