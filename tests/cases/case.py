"""What a worked case is made of, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image
from pydicom.dataset import Dataset


@dataclass(frozen=True)
class Place:
    """Where a run of a case happens.

    Attributes:
        data: the unpacked imaging data; a case without real images does not look there.
        work: a folder of this run's own, for what the case makes.
        run: which of the case's runs it is.
        short: the form for the tests: less of everything, the same way.
        train: make weights anew, though some are kept beside the case.
    """

    data: Path
    work: Path
    run: str
    short: bool = False
    train: bool = False


@dataclass(frozen=True)
class Brought:
    """A network before it is installed.

    Attributes:
        bundle: its folder, without a card.
        card: the card, filled in.
        made: how its weights came about, in sentences.
    """

    bundle: Path
    card: Path
    made: str


@dataclass(frozen=True)
class Returned:
    """What the toy PACS has.

    Attributes:
        images: the folder that was sent.
        objects: what came back, in the order in which it came.
        status: `planimeter status --json` at the end.
        seconds: what took how long.
        commands: of `planimeter`, in order, as a person would type them.
    """

    images: Path
    objects: tuple[Dataset, ...]
    status: Mapping[str, list[dict[str, object]]]
    seconds: Mapping[str, float]
    commands: tuple[str, ...]

    def of_modality(self, modality: str) -> list[Dataset]:
        """What came back of a modality."""
        return [ds for ds in self.objects if ds.Modality == modality]


@dataclass(frozen=True)
class Picture:
    """A picture of the page.

    Attributes:
        name: of its file, after the name of the case.
        caption: what is seen on it.
    """

    name: str
    caption: str
    image: Image.Image


@dataclass(frozen=True)
class Judged:
    """What came back, beside the truth.

    Attributes:
        sent: what was sent, in a sentence.
        head, rows: a table.
        said: paragraphs below it.
        figures: for the test of the case.
    """

    sent: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    said: str = ""
    pictures: tuple[Picture, ...] = ()
    figures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Case:
    """A worked case.

    Attributes:
        name: of the page, and of the make target.
        title: of the page.
        about: paragraphs: what is shown.
        is_not: paragraphs: what it must not be taken for.
        images: writes the DICOM files of a run; their folder.
        network: makes the bundle and its card.
        judge: holds what came back against the truth.
        real_images: whether it needs the imaging data.
        runs: names; each is run in a fresh home, with a network of its own.
        objects: modalities of what comes back of every study.
    """

    name: str
    title: str
    about: str
    is_not: str
    images: Callable[[Place], Path]
    network: Callable[[Place], Brought]
    judge: Callable[[Place, Returned], Judged]
    runs: tuple[str, ...] = ("",)
    objects: tuple[str, ...] = ("SEG", "SR")
    real_images: bool = True

    @property
    def command(self) -> str:
        return f"make case-{self.name}" + (" DATA=folder" if self.real_images else "")


@dataclass(frozen=True)
class Went:
    """One run of a case, gone to its end."""

    run: str
    brought: Brought
    returned: Returned
    judged: Judged
