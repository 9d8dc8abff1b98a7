from typing import Final

COUNTER_NAMES: Final[tuple[str, ...]]
