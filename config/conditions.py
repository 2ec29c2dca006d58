"""What may be asked of images: the conditions of routes, and the series without which a study is not whole."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StringConstraints, ValidationInfo, field_validator, model_validator

from .hours import Hours
from .sections import AETitle, Section

#: of the context in which settings are validated: the keywords that a condition may name, and those of sequences
KEYWORDS, SEQUENCES = "keywords", "sequences"

Text = Annotated[str, StringConstraints(max_length=256)]


def _compiles(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"{pattern!r} is no regular expression: {error}") from None
    return pattern


def _in_order(value: tuple[float, float]) -> tuple[float, float]:
    if not value[0] <= value[1]:
        raise ValueError(f"a range is [least, most], not [{value[0]:g}, {value[1]:g}]")
    return value


Range = Annotated[tuple[float, float], AfterValidator(_in_order)]


class Condition(Section):
    """One condition of a route: what it looks at, and what is asked of that.

    Attributes:
        keyword: the DICOM keyword of an element (PS3.6), or the way to one inside of sequences, with dots; one of the
            next five says what is asked of it.
        equals, one_of: its value, whatever the case; of several values of an element, one of them.
        matches: a regular expression that is found in it, whatever the case.
        range: least and most, as numbers; an age (PS3.5 AS) is in years.
        exists: whether the element is there and not empty.
        modality: short for keyword "Modality" and `one_of`.
        calling_ae_title: who sent the images.
        time: of the day, when the study is chosen from.
        over: how many images of the series it has to hold for.
    """

    keyword: Annotated[str, StringConstraints(max_length=256)] | None = None
    equals: Text | None = None
    one_of: Annotated[list[Text], Field(min_length=1)] | None = None
    matches: Annotated[Text, AfterValidator(_compiles)] | None = None
    range: Range | None = None
    exists: bool | None = None
    modality: list[Annotated[str, StringConstraints(min_length=1, max_length=16)]] | None = None
    calling_ae_title: list[AETitle] | None = None
    time: Hours | None = None
    over: Literal["all", "any"] = "all"

    @field_validator("equals", mode="before")
    @classmethod
    def _as_text(cls, value: Any) -> Any:
        """A number means the text that an element has."""
        return f"{value:g}" if isinstance(value, int | float) and not isinstance(value, bool) else value

    @field_validator("one_of", mode="before")
    @classmethod
    def _as_texts(cls, value: Any) -> Any:
        return [cls._as_text(one) for one in value] if isinstance(value, list) else value

    @field_validator("modality", "calling_ae_title", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @field_validator("keyword")
    @classmethod
    def _known(cls, value: str | None, info: ValidationInfo) -> str | None:
        known: Collection[str] | None = (info.context or {}).get(KEYWORDS)
        if value is None or known is None:
            return value
        sequences: Collection[str] = (info.context or {}).get(SEQUENCES, ())
        *way, last = value.split(".")
        for part, among, what in (
            *((one, sequences, "sequence") for one in way),
            (last, known, "element that can be looked at"),
        ):
            if part not in among:
                near = difflib.get_close_matches(part, among, n=1)
                meant = f"; did you mean `{near[0]}`?" if near else ""
                raise ValueError(f"{part!r} is the DICOM keyword of no {what}{meant}")
        return value

    @model_validator(mode="after")
    def _exactly_one(self) -> Condition:
        looks_at = {"keyword", "modality", "calling_ae_title", "time"} & self.model_fields_set
        asks = {"equals", "one_of", "matches", "range", "exists"} & self.model_fields_set
        empty = any(getattr(self, name) in (None, [], "") for name in looks_at | asks)
        if len(looks_at) != 1 or empty:
            raise ValueError('a condition has exactly one kind, such as { modality = "CT" }')
        if len(asks) != (looks_at == {"keyword"}):
            raise ValueError(
                "a condition with `keyword` asks one thing: equals, one_of, matches, range or exists"
                if looks_at == {"keyword"}
                else f"`{asks.pop()}` belongs to a `keyword`"
            )
        return self


class Expected(Section):
    """A series that belongs to a study.

    Attributes:
        when: what holds for it.
        at_least: so many series of that kind.
    """

    when: Annotated[tuple[Condition, ...], Field(min_length=1)]
    at_least: Annotated[int, Field(ge=1, le=100)] = 1


class Expects(Section):
    """The series without which a study is not whole.

    Attributes:
        wait_minutes: after the last image of a study that lacks some.
        otherwise: what becomes of it then.
    """

    series: Annotated[tuple[Expected, ...], Field(min_length=1)]
    wait_minutes: Annotated[float, Field(gt=0, le=1440)] = 30
    otherwise: Literal["go-on", "hold"] = "go-on"
