"""README as the page of a package index shows it: there no link leads into the checkout.

The site of documents (`make docs`) has all that README leads to. Where its address is known, links and pictures are
those of the site; where it is not, a link is its text alone, and a picture is left out.
"""

import re

_PICTURE = re.compile(r"!\[([^\]]*)\]\(([^)\s]+)\)\n?")
_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)\s]+)\)")
_ABSOLUTE = re.compile(r"[a-z]+:", re.I)
DOCUMENTATION = "Documentation"


def package_page(readme: str, site: str = "") -> str:
    """The text, in Markdown. `site`: the address of the site's first page, such as https://example.org/pywg/."""
    base = site.rstrip("/")

    def picture(found: re.Match[str]) -> str:
        if _ABSOLUTE.match(found[2]):
            return found[0]
        return found[0].replace(f"]({found[2]})", f"]({base}/{found[2]})") if site else ""

    def link(found: re.Match[str]) -> str:
        if _ABSOLUTE.match(found[2]):
            return found[0]
        return f"[{found[1]}]({base}/{address(found[2])})" if site else found[1]

    return _LINK.sub(link, _PICTURE.sub(picture, readme))


def address(target: str) -> str:
    """Where the site has what README leads to: a page of Markdown is one of HTML there."""
    path, anchor, name = target.partition("#")
    if path.endswith(".md"):
        path = re.sub(r"(^|/)README$", r"\1index", path.removesuffix(".md")) + ".html"
    return f"{path}{anchor}{name}"


def with_page(metadata: str, site: str = "") -> str:
    """The metadata of a distribution (PKG-INFO, METADATA), whose body is README, with the page in its place.

    `site` becomes the URL "Documentation" of the project. By default it is that which the metadata have, if any.
    """
    head, separator, body = metadata.partition("\n\n")
    named = re.search(rf"^Project-URL: {DOCUMENTATION}, (\S+)$", head, re.M)
    if site and not named:
        head = f"{head}\nProject-URL: {DOCUMENTATION}, {site}"
    return head + separator + package_page(body, site or (named[1] if named else ""))
