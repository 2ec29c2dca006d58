"""The way in for what we asked for: the same as for what is sent to us (promise 1)."""

from __future__ import annotations

import logging
from contextlib import suppress
from pathlib import Path

from pydicom.uid import UID

from ..audit.transfer import Transfer, unheard
from ..errors import Refused, Unavailable
from ..inbound.files import take_file
from ..inbound.inbox import Inbox, Source

logger = logging.getLogger(__name__)


class Door:
    """Takes in what one retrieval brings.

    Args:
        inbox: where it goes.
        source: whom it comes from.
        reserve_bytes: that stay free on the disk.
        transfer: what it belongs to, for the audit trail.

    Attributes:
        taken: objects that are here now, also those that were before.
        refused: why objects were kept out.
    """

    def __init__(self, inbox: Inbox, source: Source, reserve_bytes: int, transfer: Transfer | None = None) -> None:
        self._inbox, self._source, self._reserve = inbox, source, reserve_bytes
        self._transfer = transfer or unheard()
        self.taken = 0
        self.refused: list[Refused] = []

    @property
    def inbox(self) -> Inbox:
        return self._inbox

    def must_have_room(self) -> None:
        """Raises:
        Unavailable: `disk-reserve`: there is too little, or the disk does not say how much.
        """
        try:
            free = self._inbox.archive.free_bytes()
        except OSError as error:
            sentence = f"the disk of the home folder does not say how much is free: {error.strerror}"
            raise Unavailable("disk-reserve", sentence) from None
        if free < self._reserve:
            raise Unavailable(
                "disk-reserve", f"{free / 1e9:.1f} GB are free, the reserve is {self._reserve / 1e9:.1f} GB"
            )

    def take(self, spooled: Path, transfer_syntax: UID, command: tuple[str, str]) -> None:
        """Take in what came by C-STORE; durable when this returns. The file is gone from the spool in any case.

        Raises:
            Refused: it cannot be stored, and that is noted.
            Unavailable, DatabaseUnreachable, OSError: not now.
        """
        try:
            self.must_have_room()
            self._inbox.take(spooled, transfer_syntax, self._source, command, transfer=self._transfer)
        except Refused as refusal:
            self._note(command[1], refusal)
            raise
        finally:
            with suppress(FileNotFoundError):
                spooled.unlink()
        self.taken += 1

    def take_file(self, file: Path) -> None:
        """Take in a Part 10 file of the spool, or note why not; durable when this returns. The file is gone then.

        Raises:
            Unavailable, DatabaseUnreachable, OSError: not now.
        """
        try:
            self.must_have_room()
            take_file(self._inbox, file, self._source, self._transfer)
            self.taken += 1
        except Refused as refusal:
            self._note(file.stem, refusal)
        finally:
            with suppress(FileNotFoundError):
                file.unlink()

    def _note(self, subject: str, refusal: Refused) -> None:
        logger.info("instance refused: %s: %s", self._source.calling_ae, refusal.code)
        self.refused.append(refusal)
        self._transfer.failed += 1
        self._inbox.refuse(self._source, subject, refusal)
