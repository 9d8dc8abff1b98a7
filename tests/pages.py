"""What a page of the documents shows to be typed, or to be put into a file."""

import re
import textwrap


def blocks_in(text: str) -> list[str]:
    """The indented blocks of a page, or of a part of it."""
    found = re.findall(r"(?:^(?:    .*)?\n)+", text, re.M)
    return [textwrap.dedent(block).strip("\n") for block in found if block.strip()]
