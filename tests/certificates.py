"""An authority of the tests, and certificates by it: good ones, and each kind of bad one."""

from __future__ import annotations

import socket
import ssl
import subprocess
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.conftest import find_program

CONFIG = """
[ca]
default_ca = here
[here]
dir = {folder}
database = $dir/index.txt
new_certs_dir = $dir
certificate = $dir/ca.pem
private_key = $dir/ca.key
rand_serial = yes
default_md = sha256
default_days = 2
default_crl_days = 2
policy = any
unique_subject = no
copy_extensions = copy
[any]
organizationName = optional
commonName = supplied
[req]
distinguished_name = names
[names]
[authority]
basicConstraints = critical, CA:true
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[leaf]
basicConstraints = CA:false
authorityKeyIdentifier = keyid
"""
KEY = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"


@dataclass(frozen=True)
class Issued:
    """A certificate and its key, as PEM files; the key is for its owner alone."""

    certificate: Path
    key: Path

    @property
    def sha256(self) -> str:
        """As `certificate_sha256` of the configuration has it."""
        said = _openssl("x509", "-in", self.certificate, "-noout", "-fingerprint", "-sha256")
        return said.split("=")[1].strip()


@dataclass
class Authority:
    """An authority in a folder of its own.

    Attributes:
        pem: its certificate.
    """

    folder: Path
    name: str = "Tests"
    pem: Path = field(init=False)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "index.txt").touch()
        (self.folder / "ca.cnf").write_text(CONFIG.format(folder=self.folder))
        self.pem = self.folder / "ca.pem"
        subject = f"/O={self.name}/CN={self.name} authority"
        made = ("-keyout", self.folder / "ca.key", "-out", self.pem, "-subj", subject, "-days", "2")
        self._run("req", "-x509", *KEY.split(), "-extensions", "authority", *made)

    def issue(
        self,
        name: str,
        *,
        names: str = "IP:127.0.0.1,DNS:localhost",
        use: str = "",
        days: tuple[float, float] = (-1, 2),
    ) -> Issued:
        """A certificate with a common name.

        Args:
            names: its subjectAltName, as OpenSSL writes it.
            use: its extended key usage, such as "serverAuth"; empty: any.
            days: from when until when, counted from now.
        """
        issued = Issued(self.folder / f"{name}.pem", self.folder / f"{name}.key")
        request = self.folder / f"{name}.csr"
        also = ["-addext", f"subjectAltName={names}"]
        also += ["-addext", f"extendedKeyUsage={use}"] if use else []
        self._run(
            "req", "-new", *KEY.split(), "-subj", f"/O=Tests/CN={name}", *also, "-keyout", issued.key, "-out", request
        )
        issued.key.chmod(0o600)
        begins, ends = (f"{datetime.now(UTC) + timedelta(days=many):%Y%m%d%H%M%SZ}" for many in days)
        until = ("-startdate", begins, "-enddate", ends)
        self._run("ca", "-batch", "-notext", "-extensions", "leaf", *until, "-in", request, "-out", issued.certificate)
        return issued

    def revoke(self, *issued: Issued) -> None:
        """Take certificates back; `crl` says so from then on."""
        for one in issued:
            self._run("ca", "-revoke", one.certificate)

    def crl(self, file: Path, *also: str) -> Path:
        """Write what is revoked."""
        self._run("ca", "-gencrl", *also, "-out", file)
        return file

    def _run(self, command: str, *arguments: str | Path) -> None:
        _openssl(command, "-config", self.folder / "ca.cnf", *arguments)


def self_signed(folder: Path, name: str) -> Issued:
    """A certificate that nobody else has signed, for this machine."""
    issued = Issued(folder / f"{name}.pem", folder / f"{name}.key")
    also = ("-days", "2", "-subj", f"/O=Tests/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1")
    _openssl("req", "-x509", *KEY.split(), *also, "-keyout", issued.key, "-out", issued.certificate)
    issued.key.chmod(0o600)
    return issued


def connected(port: int, trusted: Path, ours: Issued | None = None, seconds: float = 30.0) -> ssl.SSLSocket:
    """A connection over TLS to this machine, after the handshake: any bytes may follow.

    Raises:
        ssl.SSLError: there is none.
    """
    context = ssl.create_default_context(cafile=str(trusted))
    if ours is not None:
        context.load_cert_chain(ours.certificate, ours.key)
    plain = socket.create_connection(("127.0.0.1", port), timeout=seconds)
    try:
        return context.wrap_socket(plain, server_hostname="127.0.0.1")
    except BaseException:
        plain.close()
        raise


def _openssl(*arguments: str | Path) -> str:
    program = find_program("openssl", "apt-get install openssl")
    done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
