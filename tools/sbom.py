#!/usr/bin/env python3
"""The bill of materials of a built program, as CycloneDX JSON: InfiniPipe itself, the wheels that
it is built with, and Debian's packages that it loads or was compiled with, in the versions installed
here. Licences are THIRD_PARTY.md's. The file is written only if it keeps CycloneDX's schema.

usage: sbom.py BUILD OUT    BUILD: a build folder with the program infinipipe; OUT: the file
"""
import importlib.metadata
import os
import pathlib
import platform
import re
import subprocess
import sys

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.contrib.this.builders import this_component
from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentScope, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

sys.dont_write_bytecode = True  # nothing beside the sources
import third_party  # noqa: E402

SOURCE = pathlib.Path(__file__).resolve().parents[1]
LICENCES = LicenseFactory()


def fail(line):
    sys.exit(f"error: sbom: {line}")


def output_of(*command):
    """What a command prints; empty where it fails."""
    done = subprocess.run([str(c) for c in command], text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, env={**os.environ, "LC_ALL": "C"})
    return done.stdout if done.returncode == 0 else ""


def component(name, version, licence, purl, **more):
    return Component(name=name, version=version, type=ComponentType.LIBRARY, bom_ref=str(purl),
                     purl=purl, licenses=[LICENCES.make_from_string(licence)], **more)


def needed(file):
    """The names of the libraries that an ELF file asks for."""
    return re.findall(r"\(NEEDED\).*\[(.*)\]", output_of("readelf", "-d", file))


def loaded(program):
    """Name -> file of every shared library that the loader finds for the program."""
    found = {}
    for line in output_of("ldd", program).splitlines():
        match = re.match(r"\s*(\S+) => (\S+)|\s*(/\S+) \(", line)
        if match and match.group(2) == "not":
            fail(f"{program}: the loader does not find {match.group(1)}; run tools/setup.sh")
        if match:
            path = match.group(2) or match.group(3)
            found[match.group(1) or os.path.basename(path)] = pathlib.Path(path)
    return found


class Wheels:
    """The wheels that a build of these uses is made with, and which of them has a file."""

    def __init__(self, uses, rows, site):
        self.site = site.resolve()
        self.components = {}
        self.owner = {}
        licences = {package: row.licence for row in rows for package in row.packages
                    if row.source == "PyPI"}
        pins = {pin.name: pin for use in uses
                for pin in third_party.pins_of(third_party.pin_file(SOURCE, use))}
        installed = {re.sub(r"[-_.]+", "-", wheel.metadata["Name"]).lower(): wheel
                     for wheel in importlib.metadata.distributions(path=[str(self.site)])}
        for name, pin in pins.items():
            if name not in installed or installed[name].version != pin.version:
                fail(f"{name} {pin.version} is pinned, and not installed; run tools/setup.sh")
            purl = PackageURL("pypi", name=name, version=pin.version)
            self.components[name] = component(
                name, pin.version, licences[name], purl,
                scope=ComponentScope.REQUIRED,
                hashes=[HashType(alg=HashAlgorithm.SHA_256, content=h) for h in pin.hashes])
            for file in installed[name].files or []:
                self.owner[os.path.normpath(self.site / file)] = name

    def of(self, file):
        return self.components.get(self.owner.get(os.path.normpath(file.resolve())))


class Packages:
    """Debian's packages that a row names, and those of the same source that the program loads."""

    def __init__(self, rows):
        release = platform.freedesktop_os_release()
        self.vendor = release["ID"]
        self.distribution = f"{release['ID']}-{release.get('VERSION_ID', 'unstable')}"
        self.components = {}
        self.row_of_source = {}
        self.compiled = []  # what the program was compiled with
        for row in rows:
            for package in row.packages if row.source == "Debian" else ():
                if facts := self.facts(package):  # an optional library may be absent
                    self.row_of_source[facts[1]] = row
                    made = self.add(package, row, facts)
                    if package.endswith("-dev") and not row.only:
                        self.compiled.append(made)

    @staticmethod
    def facts(package):
        """Version, source and architecture of an installed package; None where it is not."""
        text = output_of("dpkg-query", "-W", "-f=${db:Status-Status} ${Version} ${source:Package} "
                         "${Architecture}", package).split()
        return text[1:] if text[:1] == ["installed"] else None

    def add(self, package, row, facts):
        version, _, architecture = facts
        if package not in self.components:
            purl = PackageURL("deb", self.vendor, package, version,
                              {"arch": architecture, "distro": self.distribution})
            scope = ComponentScope.EXCLUDED if row.only else ComponentScope.REQUIRED
            self.components[package] = component(package, version, row.licence, purl, scope=scope)
        return self.components[package]

    def of(self, file):
        for path in {str(file), str(file.resolve())}:  # /lib and /usr/lib are one folder
            bare = path.removeprefix("/usr")
            owner = (output_of("dpkg-query", "-S", bare) or
                     output_of("dpkg-query", "-S", "/usr" + bare))
            if owner:
                package = owner.partition(":")[0]
                facts = self.facts(package)
                if facts[1] not in self.row_of_source:
                    fail(f"the program loads {file} of {package}, and no row of THIRD_PARTY.md names "
                         f"an installed package of the source {facts[1]}; add one")
                return self.add(package, self.row_of_source[facts[1]], facts)
        return None


def bill(build):
    program = build / "infinipipe"
    try:
        cache = dict(re.findall(r"^(\w+):\w+=(.*)$", (build / "CMakeCache.txt").read_text(), re.M))
    except OSError:
        cache = {}
    if not program.is_file() or "CMAKE_PROJECT_VERSION" not in cache:
        fail(f"{build} has no program; build it first: make program")
    uses = ["planning", "tokenizers", "parquet"] + [use for use in ("torch", "cuda")
                           if cache[f"INFINIPIPE_{use.upper()}"] == "ON"]
    rows = third_party.rows_of(SOURCE)
    wheels = Wheels(uses, rows, pathlib.Path(cache["INFINIPIPE_SITE"]))
    packages = Packages(rows)

    libraries = loaded(program)
    owners = {}
    for name, file in libraries.items():
        owners[name] = wheels.of(file) or packages.of(file)
        if not owners[name]:
            fail(f"the program loads {file}, which no pinned wheel and no Debian package has")

    version = cache["CMAKE_PROJECT_VERSION"]
    product = Component(name="infinipipe", version=version, type=ComponentType.APPLICATION,
                        bom_ref=f"infinipipe@{version}",
                        licenses=[LICENCES.make_from_string("Apache-2.0")])
    bom = Bom(components=[*wheels.components.values(), *packages.components.values()])
    bom.metadata.component = product
    bom.metadata.tools.components.add(this_component())
    # What needs what: the program what it was compiled with and asks the loader for, and so on.
    asked = {owners[name] for name in needed(program) if name in owners}
    bom.register_dependency(product, {*packages.compiled, *wheels.components.values(), *asked})
    edges = {}
    for name, file in libraries.items():
        edges.setdefault(owners[name], set()).update(
            owners[other] for other in needed(file) if other in owners)
    for owner, others in edges.items():
        bom.register_dependency(owner, others - {owner})
    return bom


def main(build, out):
    try:
        bom = bill(build)
    except ValueError as error:
        fail(error)
    output = JsonV1Dot6(bom)
    text = output.output_as_string(indent=2)
    if error := JsonStrictValidator(output.schema_version).validate_str(text):
        fail(f"not written: against the schema of CycloneDX: {str(error.data).splitlines()[0]}")
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(out.name + ".part")
    part.write_text(text + "\n")
    part.replace(out)
    print(f"{out}: {len(bom.components)} components")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
