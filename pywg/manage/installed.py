"""Where the files are that come with pywg beside its code: of a wheel, of a distribution's package, in a checkout."""

import contextlib
from importlib import metadata
from pathlib import Path

DISTRIBUTION = "pywg-tunnel"
CHECKOUT = Path(__file__).resolve().parents[2]
PACKAGED = Path("/usr/share/doc/pywg")
_KNOWN_BY = "docs/security.md"


def of_installation(name: str) -> Path | None:
    """A file that pip has installed, by the end of its path; nothing where pip has not."""
    with contextlib.suppress(metadata.PackageNotFoundError):
        for file in metadata.files(DISTRIBUTION) or ():
            path = Path(str(file.locate()))
            if path.as_posix().endswith(f"/{name}") and path.exists():
                return path.resolve()
    return None


def documents() -> Path | None:
    """The directory of README.md and docs/; nothing where they were left out."""
    by_pip = of_installation(f"share/doc/pywg/{_KNOWN_BY}")
    places = (by_pip.parents[1] if by_pip else CHECKOUT, CHECKOUT, PACKAGED)
    return next((place for place in places if (place / _KNOWN_BY).is_file()), None)
