"""What is third-party here, read from the two places that say it: the requirement files of
tools/wheels/ (versions and hashes of wheels) and the table of THIRD_PARTY.md (licences)."""
import dataclasses
import pathlib
import re


@dataclasses.dataclass(frozen=True)
class Pin:
    """One wheel of a requirement file, as `name==version --hash=sha256:...`."""
    name: str
    version: str
    hashes: tuple  # sha256, of every file that may be installed


@dataclasses.dataclass(frozen=True)
class Row:
    """One row of the table."""
    software: str
    version: str
    licence: str    # an SPDX expression, or a name; a note may follow after a comma or in brackets
    source: str     # "PyPI" or "Debian"
    packages: tuple
    only: str       # tests or tool, as in "(tests only)": no part of the program


def pin_file(root, use):
    return pathlib.Path(root) / f"tools/wheels/{use}.txt"


def pins_of(file):
    """The wheels of a requirement file in its order. Raises ValueError with one line."""
    text = re.sub(r"\s*\\\n\s*", " ", file.read_text())
    found = []
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        wheel, *options = line.split()
        name, equal, version = wheel.partition("==")
        if not equal or not version:
            raise ValueError(f"{file}: '{wheel}' is not NAME==VERSION")
        hashes = [re.fullmatch(r"--hash=sha256:([0-9a-f]{64})", option) for option in options]
        if not hashes or not all(hashes):
            raise ValueError(f"{file}: {wheel} has no hash, or something that is not "
                             "--hash=sha256: and 64 hexadecimal digits")
        found.append(Pin(name, version, tuple(match.group(1) for match in hashes)))
    return found


def rows_of(root):
    """The rows of THIRD_PARTY.md's table. Raises ValueError with one line."""
    found = []
    for line in (pathlib.Path(root) / "THIRD_PARTY.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("|") or cells[0] in ("software", "-"):
            continue
        software, licence, source = (cells + ["", ""])[:3]
        version = re.search(r" (\d[\w.]*)", software)
        origin = re.match(r"(PyPI|Debian) `", source)
        licence = re.split(r",| \(", licence)[0]
        if not version or not origin or not licence:
            raise ValueError(f"THIRD_PARTY.md: the row of {software} lacks a version, a licence, "
                             "or PyPI or Debian with a package's name in backquotes")
        only = re.search(r"\((tests|tool) only\)", software)
        found.append(Row(software[:version.start()], version.group(1), licence, origin.group(1),
                         tuple(re.findall(r"`([^`]+)`", source)), only.group(1) if only else ""))
    return found
