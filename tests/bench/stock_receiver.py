"""Stock pynetdicom as people use it first, without any sync.

python -P -m tests.bench.stock_receiver raw|dataset FOLDER PORT
"""

from __future__ import annotations

import sys
import uuid
from pathlib import Path
from typing import Any

from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE, evt


def main(how: str, folder: str, port: str) -> None:
    def store(event: Any) -> int:
        to = Path(folder) / f"{uuid.uuid4().hex}.dcm"
        if how == "raw":
            to.write_bytes(event.encoded_dataset())
        else:
            ds = event.dataset
            ds.file_meta = event.file_meta
            ds.save_as(to, enforce_file_format=True)
        return 0x0000

    ae = AE("STOCK")
    ae.add_supported_context(CTImageStorage, ExplicitVRLittleEndian)
    ae.start_server(("127.0.0.1", int(port)), evt_handlers=[(evt.EVT_C_STORE, store)])


if __name__ == "__main__":
    main(*sys.argv[1:])
