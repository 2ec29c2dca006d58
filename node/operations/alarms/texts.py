"""What a message says: what happened, since when, what to do, where to look. Nothing of it names a patient."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from html import escape
from typing import Any

from .incidents import Incident

HEADINGS = {"opened": "", "grown": "More: ", "reminder": "Still: ", "closed": "Over: ", "test": "Test: "}


@dataclass(frozen=True)
class Text:
    """A message, in the forms in which it travels.

    Attributes:
        lines: the mail's: a name, empty for a sentence of its own, and what is said.
        values: what a webhook gets as JSON.
    """

    subject: str
    lines: tuple[tuple[str, str], ...]
    link: str
    values: Mapping[str, Any]

    @property
    def plain(self) -> str:
        """For a mail, as text."""
        said = [f"{name}: {text}" if name else text for name, text in self.lines]
        return "\n\n".join([*said, *([self.link] if self.link else [])]) + "\n"

    @property
    def html(self) -> str:
        """For a mail, as HTML without anything to load."""
        said = "".join(
            f"<p>{f'<b>{escape(name)}:</b> ' if name else ''}{escape(text)}</p>" for name, text in self.lines
        )
        link = f'<p><a href="{escape(self.link)}">{escape(self.link)}</a></p>' if self.link else ""
        return f"<!doctype html><html><body>{said}{link}</body></html>"


def of_incident(one: Incident, what: str, node: str, link: str) -> Text:
    """A message about an incident, as it stands when the message is sent.

    Args:
        what: "opened", "grown", "reminder" or "closed".
        node: what this node is called.
        link: where the pages are; empty: nowhere.
    """
    over = one.closed is not None
    heading = "Over: " if over else HEADINGS[what]
    about = f" ({one.subject})" if one.subject else ""
    lines = [("", f"{one.sentence[:1].upper()}{one.sentence[1:]}."), ("Since", _when(one.since))]
    if one.closed is not None:
        lines.append(("Until", _when(one.closed)))
    if one.count > 1:
        lines.append(("Number", str(one.count)))
    if one.times > 1:
        lines.append(("Came back", f"{one.times - 1} times"))
    lines.append(("", "It is over; nothing has to be done.") if over else ("What to do", one.to_do))
    where = f"{link}{one.page}" if link else ""
    values = {
        "node": node,
        "what": "closed" if over else what,
        "link": where,
        **{key: value for key, value in asdict(one).items() if key not in ("page", "acknowledged", "acknowledged_by")},
    }
    for key in ("since", "opened", "closed"):
        values[key] = None if values[key] is None else _stamp(values[key])
    return Text(_one_line(f"[{node}] {heading}{one.title}{about}"), tuple(lines), where, values)


def of_test(node: str, link: str) -> Text:
    """What `planimeter alarms test` sends."""
    said = "This is a test: alarms of this node would arrive here. Nothing has to be done."
    values = {"node": node, "what": "test", "link": f"{link}/alarms" if link else "", "sentence": said}
    return Text(_one_line(f"[{node}] Test of the alarms"), (("", said),), str(values["link"]), values)


def _one_line(text: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in text)


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")


def _stamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
