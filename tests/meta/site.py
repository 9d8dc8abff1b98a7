"""python -m tests.meta.site: the documents as a site, in build/docs/site. Any warning is an error.

Pages are put below docs_dir (docs/mkdocs.yml) as they lie in the checkout, and with them what they show. The page of
commands is what each says of itself by `--help`.
"""

import contextlib
import io
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from pywg.cli.commands import COMMANDS
from pywg.cli.help import ENVIRONMENT, OVERVIEW
from pywg.cli.parser import parser_of

ROOT = Path(__file__).resolve().parents[2]
CONFIGURATION = "docs/mkdocs.yml"
PAGES = ("*.md", "docs/**/*.md", "bench/README.md")
SHOWN = ("docs/*.svg", "docs/systemd/*", "docs/metrics/*", "bench/results/*.svg", "bench/results/*.json", "LICENSE")


def build(folder: Path) -> None:
    """Makes folder/site. Raises CalledProcessError for a warning."""
    pages = folder / "pages"
    if pages.exists():
        shutil.rmtree(pages)
    for file in files():
        (pages / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, pages / file)
    (pages / "docs/commands.md").write_text(commands())
    shutil.copy(ROOT / CONFIGURATION, folder)
    argv = [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", str(folder / "mkdocs.yml")]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1", "NO_COLOR": "1"}
    subprocess.run(argv, check=True, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment)


def files() -> Iterator[Path]:
    """What the site has of the checkout, by its path in it."""
    for pattern in (*PAGES, *SHOWN):
        for path in sorted(ROOT.glob(pattern)):
            if path.is_file():
                yield path.relative_to(ROOT)


def commands() -> str:
    """A page with what each command says by `--help`."""
    parts = ["# Commands", "", _block(OVERVIEW)]
    for name in COMMANDS:
        parts += ["", f"## pywg {name}", "", _block(_help(name))]
    parts += ["", "## Environment variables", "", _block(ENVIRONMENT), ""]
    return "\n".join(parts)


def _help(name: str) -> str:
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        parser_of(name).print_help()
    return said.getvalue()


def _block(text: str) -> str:
    return f"```text\n{text.strip()}\n```"


if __name__ == "__main__":
    target = ROOT / "build/docs"
    target.mkdir(parents=True, exist_ok=True)
    try:
        build(target)
    except subprocess.CalledProcessError as error:
        sys.exit(error.stdout)
    print(f"written: {target.relative_to(ROOT)}/site/index.html")
