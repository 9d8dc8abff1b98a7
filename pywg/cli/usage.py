"""Readers of arguments, and the error of a wrong command line, for the command line's modules."""

from collections.abc import Iterator, Sequence

from pywg.config.interface import interface_name_fault

HELP_OPTIONS = ("-h", "--help")


class UsageError(Exception):
    """A command line that means nothing; its text is the one line to show."""

    def __init__(self, text: str, *, see: str = "pywg --help") -> None:
        super().__init__(f"{text} (see {see})" if see else text)


def check_interface_name(name: str) -> str:
    """The name, when the kernel would take it for an interface. Raises UsageError otherwise."""
    if not name:
        raise UsageError("an interface needs a name")
    if fault := interface_name_fault(name):
        raise UsageError(f"an interface's name {fault}")
    return name


def only_interface(names: Sequence[str]) -> str:
    """The one name in `names`. Raises UsageError for none, for more, and for one that the kernel wouldn't take."""
    if not names:
        raise UsageError("which interface?")
    if len(names) > 1:
        raise UsageError("one interface at a time")
    return check_interface_name(names[0])


def several_interfaces(names: Sequence[str]) -> list[str]:
    """The names, at least one. Raises UsageError as `only_interface`, and for one that comes twice."""
    if not names:
        raise UsageError("which interface?")
    for number, name in enumerate(names):
        if check_interface_name(name) in names[:number]:
            raise UsageError(f"{name} is named twice")
    return list(names)


def option_value(argument: str, rest: Iterator[str]) -> str:
    """The value in --name=value, or the argument after --name. Raises UsageError when there is none."""
    name, equals, value = argument.partition("=")
    if not equals:
        value = next(rest, "")
    if not value:
        raise UsageError(f"{name} needs a value")
    return value


def option_number(option: str, text: str, *, or_word: str = "") -> str:
    """The number as written. The daemon's options check how large it may be. Raises UsageError for no number."""
    if text != (or_word or None) and not (text.isascii() and text.isdigit()):
        raise UsageError(f"{option} takes a number{' or ' if or_word else ''}{or_word}, not {text!a}")
    return text


def unknown_option(argument: str, known: Sequence[str], *, see: str = "pywg --help") -> UsageError:
    """The error for an option that doesn't exist, with the option that it resembles."""
    from difflib import get_close_matches

    name = argument.partition("=")[0]
    meant = get_close_matches(name, [option for option in known if option.startswith("--")], n=1, cutoff=0.75)
    return UsageError(f"unknown option {argument!a}{f': did you mean {meant[0]}?' if meant else ''}", see=see)
