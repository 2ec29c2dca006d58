"""A stock Orthanc that knows nothing of us: the PACS of the end-to-end tests."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import urllib.request
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pydicom.dataset import Dataset

from tests.ports import free_port
from tests.waiting import wait_until


class Orthanc:
    """Runs within a `with`; may be stopped and started in between, and keeps what it has.

    Args:
        environ: over the environment.
        settings: of its configuration file, over those below.
    """

    def __init__(self, program: str, *, environ: Mapping[str, str] | None = None, **settings: Any) -> None:
        self._program, self._settings = program, settings
        self._environ = os.environ | (environ or {})
        self.ae_title = "ORTHANC"
        self.port, self._http = free_port(), free_port()
        self._folder = Path(tempfile.mkdtemp(prefix="planimeter-orthanc-"))
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Orthanc:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def start(self) -> None:
        settings = {
            "Name": "PACS of the tests",
            "StorageDirectory": str(self._folder / "storage"),
            "IndexDirectory": str(self._folder / "storage"),
            "DicomAet": self.ae_title,
            "DicomPort": self.port,
            "HttpPort": self._http,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            **self._settings,
        }
        file = self._folder / "orthanc.json"
        file.write_text(json.dumps(settings))
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen([self._program, str(file)], stdout=log, stderr=log, env=self._environ)
        wait_until("Orthanc answers", self._answers)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _answers(self) -> bool:
        try:
            return bool(self._ask("GET", "/system"))
        except OSError:
            return False

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        with self._open(method, path, json.dumps(body).encode() if body is not None else None) as response:
            return json.loads(response.read() or b"null")

    def _open(self, method: str, path: str, body: bytes | None = None) -> Any:
        request = urllib.request.Request(f"{self.url}{path}", data=body, method=method)
        return urllib.request.urlopen(request, timeout=30)

    def files(self) -> list[bytes]:
        """Everything that it has; one entry per stored instance."""
        found = []
        for name in self._ask("GET", "/instances"):
            with self._open("GET", f"/instances/{name}/file") as response:
                found.append(response.read())
        return found

    def instances(self) -> list[Dataset]:
        """Everything that it has, read."""
        return [dcmread(BytesIO(file)) for file in self.files()]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http}"

    def take(self, file: bytes) -> None:
        """Have an object."""
        with self._open("POST", "/instances", file):
            pass

    def know(self, ae_title: str, port: int, *, over_tls: bool = False) -> None:
        """Have another node among its modalities."""
        node = {"AET": ae_title, "Host": "127.0.0.1", "Port": port, "UseDicomTls": over_tls}
        self._ask("PUT", "/modalities/node", node)

    def forget(self, sop_uid: str) -> None:
        """Delete an instance."""
        found = self._ask("POST", "/tools/find", {"Level": "Instance", "Query": {"SOPInstanceUID": sop_uid}})
        for name in found:
            self._ask("DELETE", f"/instances/{name}")

    def send_everything_to(self, ae_title: str, port: int) -> None:
        """C-STORE of all that it has to another node."""
        self.know(ae_title, port)
        self._ask("POST", "/modalities/node/store", {"Resources": self._ask("GET", "/instances"), "Synchronous": True})
