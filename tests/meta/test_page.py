"""README on a package index: it renders there as it does there, and no link leads nowhere; classifiers exist."""

import re
import tomllib
from pathlib import Path

import pytest
from readme_renderer import markdown
from trove_classifiers import classifiers

from ship.page import address, package_page, with_page

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
SITE = "https://pywg.example/docs"
HEAD = "Metadata-Version: 2.4\nName: pywg-tunnel\nSummary: x"


def rendered(page: str) -> str:
    """As an index shows it."""
    html = markdown.render(page)
    assert html is not None
    return html


def leading_nowhere(page: str) -> list[str]:
    """What links and pictures of the page lead to, but for the web and the page's own headings."""
    found = re.findall(r' (?:href|src)="([^"]*)"', rendered(page))
    return [one for one in found if not re.match(r"https://|#", one)]


@pytest.mark.parametrize("site", ["", SITE, f"{SITE}/"])
def test_no_link_of_the_page_leads_nowhere(site: str) -> None:
    page = package_page(README, site)
    assert leading_nowhere(page) == []
    assert page.count(f"({SITE}/") == (README.count("](") if site else 0)


def test_links_that_lead_nowhere_are_found() -> None:
    """README as it is; and what looks like an address of mail."""
    assert {"docs/two-sites.md", "docs/status.svg"} <= set(leading_nowhere(README))
    assert leading_nowhere("the unit pywg@.service") == ["mailto:pywg@.service"]


def test_the_page_has_all_of_readme() -> None:
    html = rendered(package_page(README, SITE))
    assert html.count("<table>") == len(re.findall(r"^\|(?:-+\|)+$", README, re.M)) > 3
    assert html.count("<img ") == README.count("![") > 3
    assert html.count("<h2") == len(re.findall(r"^## ", README, re.M))
    assert html.count("<pre>") > 10


def test_links_to_the_web_stay() -> None:
    text = "[the paper](https://www.wireguard.com/papers/wireguard.pdf), ![a picture](https://pywg.example/a.svg)\n"
    assert package_page(text) == package_page(text, SITE) == text


@pytest.mark.parametrize(
    ("target", "wanted"),
    [
        ("docs/json.md", "docs/json.html"),
        ("docs/systemd/README.md", "docs/systemd/index.html"),
        ("README.md", "index.html"),
        ("bench/README.md#floods", "bench/index.html#floods"),
        ("docs/top.svg", "docs/top.svg"),
    ],
)
def test_the_address_of_a_file_on_the_site(target: str, wanted: str) -> None:
    assert address(target) == wanted


def test_metadata_have_the_page_and_the_address() -> None:
    body = "\n\n# pywg\n\n[this](docs/json.md)\n"
    named = f"{HEAD}\nProject-URL: Documentation, {SITE}"
    assert with_page(HEAD + body) == f"{HEAD}\n\n# pywg\n\nthis\n"
    assert with_page(HEAD + body, SITE) == with_page(named + body) == with_page(named + body, SITE)
    assert with_page(HEAD + body, SITE) == f"{named}\n\n# pywg\n\n[this]({SITE}/docs/json.html)\n"


def test_classifiers_exist() -> None:
    mine = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["classifiers"]
    assert sorted(set(mine) - classifiers) == []
