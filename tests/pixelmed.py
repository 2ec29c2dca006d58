"""PixelMed's DicomSRValidator, the judge of the IHE Connectathons, as a program over many files in one Java process."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.conftest import find_program, lacking

PACKAGES = "apt-get install libpixelmed-java libsaxonhe-java default-jre-headless"
JARS = [
    Path("/usr/share/java") / name for name in ("pixelmed.jar", "slf4j-api.jar", "Saxon-HE.jar", "xml-resolver.jar")
]
FLAGS = [
    "-Xmx2g",
    "-Djava.awt.headless=true",
    "-XX:TieredStopAtLevel=1",
    # Java's own XSLT needs 40 s and 1.9 GB for a report, and stops at its limits before
    "-Djavax.xml.transform.TransformerFactory=net.sf.saxon.TransformerFactoryImpl",
    "-Djdk.xml.xpathTotalOpLimit=0",
    "-Djdk.xml.xpathExprOpLimit=0",
    "-Djdk.xml.xpathExprGrpLimit=0",
]
#: its own main takes one file; the templates are what takes the time
DRIVER = """
import com.pixelmed.validate.DicomSRValidator;

public class ValidateMany {
    public static void main(String[] files) throws Exception {
        DicomSRValidator validator = new DicomSRValidator();
        for (String file : files) {
            System.out.println("\\n==== " + file);
            System.out.println(validator.validate(file));
        }
    }
}
"""


def sr_errors(files: Sequence[Path], folder: Path) -> dict[str, list[str]]:
    """The errors of each file, by its name; skips where PixelMed is not installed, and fails where it must be.

    Args:
        folder: to write the driver to.
    """
    said = sr_validated(files, folder)
    return {name: [line for line in lines if line.startswith("Error")] for name, lines in said.items()}


def sr_validated(files: Sequence[Path], folder: Path) -> dict[str, list[str]]:
    """All that it says of each file, by line."""
    java = find_program("java", PACKAGES)
    if absent := [jar.name for jar in JARS if not jar.is_file()]:
        lacking(f"PixelMed ({', '.join(absent)})", PACKAGES)
    driver = folder / "ValidateMany.java"
    driver.write_text(DRIVER)
    command = [java, *FLAGS, "-cp", ":".join(str(jar) for jar in JARS), driver, *files]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    parts = [part.splitlines() for part in done.stdout.split("\n==== ")[1:]]
    assert [part[0] for part in parts] == [str(file) for file in files], done.stdout[-2000:] + done.stderr[-2000:]
    said = {Path(part[0]).name: part[1:] for part in parts}
    for name, lines in said.items():
        assert "IOD validation complete" in lines, f"{name}: PixelMed did not come to its end: {lines}"
    return said
