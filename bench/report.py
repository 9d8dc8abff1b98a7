"""Plain text for people: aligned columns, without a dependency."""

from collections.abc import Sequence


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lines of aligned columns; the first column to the left, the others to the right."""
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        first = cells[0].ljust(widths[0])
        return "  ".join(
            [first, *(cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True))]
        ).rstrip()

    return "\n".join([line(header), line(["-" * width for width in widths]), *(line(row) for row in rows)])


def gbit(bits_per_s: float) -> str:
    """Gigabits per second, two decimals."""
    return f"{bits_per_s / 1e9:.2f}"


def mebibytes(length: float) -> str:
    """MiB, one decimal."""
    return f"{length / (1 << 20):.1f}"


def percent(share: float) -> str:
    """A share of 0..1 as per cent."""
    return f"{share * 100:.2f}"
