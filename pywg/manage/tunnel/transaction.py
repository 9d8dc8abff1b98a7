"""Steps carried out as a whole: when one fails, or a signal comes, those before it are undone in reverse order."""

from types import TracebackType

from pywg.errors import DeviceError, PywgError
from pywg.manage.tunnel import state as states
from pywg.manage.tunnel.interrupt import Interrupted
from pywg.manage.tunnel.machine import Machine
from pywg.manage.tunnel.state import State
from pywg.manage.tunnel.steps import Step


class StepError(DeviceError):
    """A step that failed, and what became of the others."""


class Undo(Step):
    """A step that takes another back."""

    remembered = False

    def __init__(self, step: Step) -> None:
        self.step = step

    def command(self, interface: str) -> str:
        return self.step.undo_command(interface)

    def undo_command(self, interface: str) -> str:
        return self.step.command(interface)

    def name(self, interface: str) -> str:
        return f"the undo of {self.step.name(interface)}"

    def do(self, machine: Machine) -> None:
        self.step.undo(machine)

    def undo(self, machine: Machine) -> None:
        self.step.do(machine)


class Replace(Undo):
    """A step in place of another, which gives way to it."""

    def __init__(self, step: Step, by: Step) -> None:
        super().__init__(step)
        self.by = by

    def command(self, interface: str) -> str:
        return self.by.command(interface)

    def name(self, interface: str) -> str:
        return self.by.name(interface)

    def do(self, machine: Machine) -> None:
        self.by.do(machine)


class Transaction:
    """In the body of a `with`, steps are done by `run`. When it ends with an error, they are undone, and the error is
    raised as a StepError; when it ends well, the state file says what stands."""

    def __init__(self, machine: Machine, state: State, *, left: str, keep: bool = False) -> None:
        """`state` is what stands; its steps change with those that are done. `left`: what an error leaves, in words.
        `keep`: a state file was there before, and is there again then."""
        self._keep = keep
        self._machine = machine
        self._state = state
        self._left = left
        self._done: list[Step] = []
        self._before = list(state.steps)
        self._failing = ""

    def run(self, step: Step) -> None:
        """Raises what the step raises."""
        machine, steps = self._machine, self._state.steps
        machine.interrupts.check()
        machine.show(step.command(machine.interface))
        before = list(steps)
        if isinstance(step, Replace):
            steps[steps.index(step.step)] = step.by
        elif isinstance(step, Undo):
            steps.remove(step.step)
        elif step.remembered:
            steps[:] = [one for one in steps if not step.supersedes(one)]
            steps.append(step)
            if step.outlives:
                states.rewrite(self._state)  # before it is done: a command that is killed leaves what can be undone
        self._failing = step.name(machine.interface)
        try:
            step.do(machine)
        except BaseException:
            steps[:] = before
            raise
        self._failing = ""
        self._done.append(step)
        machine.interrupts.check()

    def __enter__(self) -> "Transaction":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            states.rewrite(self._state)
            return
        with self._machine.interrupts.undoing():
            stays = self._undo()
        if isinstance(error, Interrupted):
            raise Interrupted(error.number, self._told(stays)) from None
        if stays or isinstance(error, PywgError | OSError):
            code = error.errno if isinstance(error, OSError) and error.errno else 5
            where = f"{self._failing}: " if self._failing else ""
            raise StepError(code, f"{where}{_why(error)}; {self._told(stays)}") from error

    def _undo(self) -> list[str]:
        """Returns what could not be undone, in words."""
        machine, stays = self._machine, []
        for step in reversed(self._done):
            command = step.undo_command(machine.interface)
            try:
                machine.show(command)
                step.undo(machine)
            except OSError as error:
                stays.append(f"{step.name(machine.interface)} ({_why(error)})")
        self._state.steps[:] = self._before
        if self._keep:
            states.rewrite(self._state)
        else:
            states.forget(machine.interface)
        return stays

    def _told(self, stays: list[str]) -> str:
        return f"{self._left}, but this could not be undone: {', '.join(stays)}" if stays else self._left


def _why(error: BaseException) -> str:
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return str(error)
