"""The bill of materials of a wheel, in CycloneDX's JSON: what is in it, what it was built with, what it needs."""

import hashlib
import re
import time
import uuid
from collections.abc import Mapping
from typing import Any, NamedTuple

NAME = "pywg-tunnel"


class Library(NamedTuple):
    """A library of the system that is in the wheel."""

    package: str
    source: str
    version: str
    """of the package, as Debian numbers it"""
    system: str
    """such as debian-12"""
    processor: str
    licence: str
    copyright: bytes


def bill_of(
    version: str,
    *,
    epoch: int,
    libraries: Mapping[str, tuple[Library, bytes]],
    tools: Mapping[str, str],
    requires: list[str],
) -> dict[str, Any]:
    """`libraries`: by their paths in the wheel, with what is there. `tools`: versions by name. `requires`: as in
    metadata, `cryptography>=42`."""
    own = f"pkg:pypi/{NAME}@{version}"
    shipped = [_shipped(path, library, data) for path, (library, data) in libraries.items()]
    needed = [_needed(requirement) for requirement in requires]
    built = [_tool(name, number) for name, number in tools.items()]
    bill = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(epoch)),
            "tools": {"components": built},
            "component": {
                "type": "application",
                "bom-ref": own,
                "name": NAME,
                "version": version,
                "purl": own,
                "licenses": [{"license": {"id": "MIT"}}],
            },
        },
        "components": [*shipped, *needed],
        "dependencies": [
            {"ref": own, "dependsOn": sorted(one["bom-ref"] for one in (*shipped, *needed))},
            *({"ref": one["bom-ref"]} for one in (*shipped, *needed)),
        ],
    }
    return {"serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, repr(bill))}", **bill}


def _shipped(path: str, library: Library, data: bytes) -> dict[str, Any]:
    """In the wheel."""
    distribution = library.system.partition("-")[0]
    purl = (
        f"pkg:deb/{distribution}/{library.package}@{library.version}?arch={library.processor}&distro={library.system}"
    )
    return {
        "type": "library",
        "bom-ref": purl,
        "name": library.source,
        "version": library.version,
        "purl": purl,
        "hashes": [{"alg": "SHA-256", "content": hashlib.sha256(data).hexdigest()}],
        "licenses": [{"expression": library.licence}],
        "properties": [{"name": "pywg:file", "value": path}],
    }


def _needed(requirement: str) -> dict[str, Any]:
    """Installed beside the wheel, in a version that pip chooses."""
    name = re.split(r"[^\w.-]", requirement, maxsplit=1)[0]
    purl = f"pkg:pypi/{name}"
    return {
        "type": "library",
        "bom-ref": purl,
        "name": name,
        "purl": purl,
        "scope": "required",
        "properties": [{"name": "pywg:requires", "value": requirement}],
    }


def _tool(name: str, version: str) -> dict[str, Any]:
    return {"type": "application", "name": name, "version": version, "purl": f"pkg:pypi/{name.lower()}@{version}"}
