"""Builds the Cython data plane, on all processors; all metadata lives in pyproject.toml.

PYWG_DEBUG=1 turns on bounds checks, C assertions and debug symbols; PYWG_SANITIZE=address,undefined, or thread, the
sanitizers of the compiler, and C assertions; fuzzer-no-link, of clang's, is what libFuzzer is guided by.
PYWG_COVERAGE=1 counts how often each line of Cython ran. PYWG_NULL_CIPHER=1, for the bench alone, leaves out the
cipher: what such a build sends can be read. A `performance hint:` from Cython fails the build: in this code every hint
is a hidden GIL or a hidden Python object on the packet path.

One build serves every CPython from 3.11 on: it keeps to the limited API, where Cython and Python can.
"""

import contextlib
import io
import multiprocessing
import os
import shutil
import sys
import sysconfig
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import metadata
from multiprocessing.connection import Connection
from pathlib import Path

from Cython.Build import cythonize
from Cython.Build.Dependencies import create_dependency_tree
from setuptools import Extension, setup
from setuptools.command.build import build
from setuptools.command.build_ext import build_ext

DEBUG = os.environ.get("PYWG_DEBUG", "0") not in ("", "0")
SANITIZE = os.environ.get("PYWG_SANITIZE", "")
COVERAGE = os.environ.get("PYWG_COVERAGE", "0") not in ("", "0")
NULL_CIPHER = os.environ.get("PYWG_NULL_CIPHER", "0") not in ("", "0")
CYTHON = tuple(map(int, metadata.version("Cython").split(".")[:2]))
LIMITED = not sysconfig.get_config_var("Py_GIL_DISABLED") and CYTHON >= (3, 1)
"""Python without the GIL has no limited API yet, and Cython before 3.1 does not keep to it."""
OLDEST = (3, 11)
WARNINGS = ["-Wall", "-Wextra", "-Wno-unused-parameter", "-Wno-unused-function", "-Wno-unused-const-variable"]
PROCESSOR = sysconfig.get_platform().rpartition("-")[2]
HARDENED = ["-U_FORTIFY_SOURCE", "-D_FORTIFY_SOURCE=3", "-fstack-protector-strong"]
HARDENED += {"x86_64": ["-fcf-protection"], "aarch64": ["-mbranch-protection=standard"]}.get(PROCESSOR, [])
HARDENED_LINK = ["-Wl,-z,relro,-z,now,-z,noexecstack"]
LIBCRYPTO = ["-Wl,--as-needed", "-lcrypto"]
"""In this order: a module names the library only if it calls it."""


def compile_flags(*, debug: bool, sanitize: str) -> list[str]:
    """For the C compiler, of the package and of what tests build beside it. `sanitize`: as in PYWG_SANITIZE."""
    flags = ["-O1", "-g", "-UNDEBUG"] if debug else ["-O3", "-g1", "-fno-semantic-interposition", "-DNDEBUG"]
    if is_hardened(debug=debug, sanitize=sanitize):
        flags += HARDENED
    if sanitize:
        # A fault ends the process: a report alone would leave the test green, and unread.
        flags += ["-UNDEBUG", "-fno-omit-frame-pointer", f"-fsanitize={sanitize}", "-fno-sanitize-recover=all"]
        flags += ["-O2" if "fuzzer" in sanitize else "-O1"]
    if COVERAGE:
        flags += ["-UNDEBUG", "-O0", "--coverage"]
    return flags


def link_flags(*, sanitize: str) -> list[str]:
    """For the linker, likewise."""
    hardened = HARDENED_LINK if is_hardened(debug=DEBUG, sanitize=sanitize) else []
    return [*hardened, *[f"-fsanitize={sanitize}"] * (sanitize != ""), *["--coverage"] * COVERAGE]


def is_hardened(*, debug: bool, sanitize: str) -> bool:
    """Not where a sanitizer watches the same calls, nor where the compiler does not optimize."""
    return not (debug or sanitize or COVERAGE)


DIRECTIVES = {
    "language_level": "3",
    "boundscheck": DEBUG,
    "wraparound": False,
    "initializedcheck": False,
    "cdivision": True,
    "embedsignature": True,
    "auto_pickle": False,  # keys and threads are not to be copied
}
TRANSLATED = Path("build/cython-debug" if DEBUG else "build/cython-lines" if COVERAGE else "build/cython")
"""What becomes of Cython's is not the same in the three."""
UNFINISHED = TRANSLATED.with_name(f"{TRANSLATED.name}-unfinished")
"""Where Cython writes. A file whose writing was cut off is younger than its sources, and would pass for up to date."""
WITHOUT_CIPHER = Path("build/null-cipher")
TOLD_EVERY = 10
ASKED_FOR = "Use boundscheck(False)"
"""Cython's hint about what PYWG_DEBUG turns on."""


def extensions() -> list[Extension]:
    """One extension per .pyx: the entry `pywg._fastpath`, and the stages below it."""
    sources = [Path("pywg/_fastpath.pyx"), *sorted(Path("pywg/dataplane").rglob("*.pyx"))]
    return [extension(source) for source in sources]


def extension(source: Path, *, limited: bool = LIMITED) -> Extension:
    """The one of a .pyx, whose path is relative to this directory."""
    macros = [("PYWG_NULL_CIPHER", "1")] if NULL_CIPHER else []
    if limited:
        macros.append(("Py_LIMITED_API", f"0x{OLDEST[0]:02x}{OLDEST[1]:02x}0000"))
    return Extension(
        ".".join(source.with_suffix("").parts),
        [str(source)],
        depends=["setup.py", *map(str, sorted(source.with_suffix("").glob("*.*")))],  # the latter: C of its own
        define_macros=macros,
        py_limited_api=limited,
        extra_link_args=[*link_flags(sanitize=SANITIZE), *LIBCRYPTO],
        extra_compile_args=[*compile_flags(debug=DEBUG, sanitize=SANITIZE), *WARNINGS],
    )


def tell(text: str) -> None:
    """A line of progress, also where setup.py is told to be quiet: a build without output looks like one that hangs."""
    print(f"setup.py: {text}", flush=True)


class BuildExt(build_ext):
    """Translates with Cython and compiles, each in parallel; -j N says how many at a time."""

    def finalize_options(self) -> None:
        """An editable installation builds where `setup.py build_ext` does, so that neither repeats the other."""
        super().finalize_options()
        self.parallel = self.parallel or len(os.sched_getaffinity(0))
        if self.editable_mode:
            usual = build(self.distribution)
            usual.ensure_finalized()
            self.build_lib, self.build_temp = usual.build_lib, usual.build_temp
        if NULL_CIPHER:  # where no wheel is made of it
            self.build_lib = self.build_temp = str(WITHOUT_CIPHER)

    def run(self) -> None:
        """Builds, and removes what Python would rather import than that."""
        super().run()
        for ext in self.extensions:
            if ext.py_limited_api:
                self._remove_others(Path(self.get_ext_filename(ext.name)))

    def _remove_others(self, built: Path) -> None:
        """Builds of the module that are for one version of Python alone."""
        for directory in (Path(self.build_lib), *[Path()] * bool(self.inplace)):
            for other in (directory / built).parent.glob(f"{built.name.partition('.')[0]}.cpython-*.so"):
                other.unlink()

    def build_extensions(self) -> None:
        """All of them; what is up to date is left as it is."""
        translate(self.extensions, self.parallel)
        self._waiting = {ext.name for ext in self.extensions if self._is_stale(ext)}
        self._stale = len(self._waiting)
        if self._waiting:
            tell(f"compiling {modules_in_words(self._stale)}, {self.parallel} at a time")
        self.compiler.link_shared_object = linked_whole(self.compiler.link_shared_object)
        super().build_extensions()

    def copy_file(self, infile: str, outfile: str, *options: object, **more: object) -> tuple[str, bool]:
        """To its place, whole or not at all."""
        if not self.force and os.path.exists(outfile) and not newest([infile]) > newest([outfile]):
            return outfile, False
        with whole(outfile) as partial:
            super().copy_file(infile, partial, *options, **more)
        return outfile, True

    def build_extension(self, ext: Extension) -> None:
        """One; called by several threads at a time."""
        super().build_extension(ext)
        if ext.name in self._waiting:
            self._waiting.remove(ext.name)
            if (left := len(self._waiting)) % TOLD_EVERY == 0 and left:
                tell(f"{left} of {self._stale} modules are left")

    def _is_stale(self, ext: Extension) -> bool:
        built = Path(self.get_ext_fullpath(ext.name))
        return self.force or not built.exists() or newest([*ext.sources, *ext.depends]) > built.stat().st_mtime


@contextmanager
def whole(target: str) -> Iterator[str]:
    """A name to write to, which becomes `target` when that is done: one cut off in the middle is never taken for it."""
    partial = f"{target}.partial"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(partial)
    yield partial
    os.replace(partial, target)


def linked_whole(link: Callable[..., None]) -> Callable[..., None]:
    """The compiler's `link_shared_object`, by way of `whole`."""

    def link_shared_object(objects: list[str], target: str, **options: object) -> None:
        with whole(target) as partial:
            link(objects, partial, **options)

    return link_shared_object


def modules_in_words(number: int) -> str:
    """A number of modules."""
    return f"{number} module{'s' if number != 1 else ''}"


def newest(paths: list[str]) -> float:
    """The latest time of change."""
    return max(Path(path).stat().st_mtime for path in paths)


def translate(modules: list[Extension], jobs: int) -> None:
    """Sets the sources of each module to C, which Cython makes where it is not there or out of date."""
    stale = sorted(stale_modules(modules), key=lambda ext: -Path(ext.sources[0]).stat().st_size)
    shutil.rmtree(UNFINISHED, ignore_errors=True)
    if stale:
        tell(f"translating {modules_in_words(len(stale))} with Cython, {jobs} at a time")
    said = in_processes([stale[part::jobs] for part in range(min(jobs, len(stale)))])
    shutil.rmtree(UNFINISHED, ignore_errors=True)
    sys.stderr.write(said)
    if any("performance hint:" in line and not (DEBUG and ASKED_FOR in line) for line in said.splitlines()):
        for translated in TRANSLATED.rglob("*.c"):
            translated.unlink()  # else the next build finds nothing to translate, and says nothing
        raise SystemExit("setup.py: Cython gave a performance hint (above); the data plane is built without any")
    for ext, translated in zip(modules, cython(modules), strict=True):
        assert ext.name == translated.name
        for found in ("sources", "depends", "include_dirs"):
            setattr(ext, found, getattr(translated, found))


def stale_modules(modules: list[Extension]) -> list[Extension]:
    """Those whose C is missing, or older than something that it is made of."""
    dependencies = create_dependency_tree(quiet=True)

    def is_stale(ext: Extension) -> bool:
        translated = (TRANSLATED / ext.sources[0]).with_suffix(".c")
        return not translated.exists() or translated.stat().st_mtime < dependencies.newest_dependency(ext.sources[0])[0]

    return [ext for ext in modules if is_stale(ext)]


def in_processes(parts: list[list[Extension]]) -> str:
    """Translates each part in a process of its own and returns what Cython said. SystemExit: it failed."""
    fork = multiprocessing.get_context("fork")
    running = []
    for part in parts:
        receiving, sending = fork.Pipe(duplex=False)
        process = fork.Process(target=translate_part, args=(part, sending))
        process.start()
        sending.close()
        running.append((process, receiving))
    said, failed = "", False
    for process, receiving in running:
        with contextlib.suppress(EOFError):
            said += receiving.recv()
        process.join()
        failed |= process.exitcode != 0
    if failed:
        raise SystemExit(f"{said}setup.py: Cython failed")
    return said


def translate_part(part: list[Extension], sending: Connection) -> None:
    """Runs Cython, and sends what it said."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            for module in part:
                (translated,) = cython([module], UNFINISHED)
                (written,) = translated.sources
                kept = TRANSLATED / Path(written).relative_to(UNFINISHED)
                kept.parent.mkdir(parents=True, exist_ok=True)
                os.replace(written, kept)
    except BaseException as error:
        said.write(f"{error}\n")
        raise SystemExit(1) from error
    finally:
        sending.send(said.getvalue())


def cython(modules: list[Extension], directory: Path = TRANSLATED) -> list[Extension]:
    """Translates what is out of date, and returns the modules with C for sources."""
    return cythonize(
        modules, compiler_directives=DIRECTIVES, build_dir=str(directory), emit_linenums=COVERAGE, quiet=True
    )


def refuse_release(arguments: list[str]) -> None:
    """SystemExit: without a cipher, and not built in place for the bench, but to be installed or handed on."""
    commands = [one for one in arguments if not one.startswith("-")]
    if NULL_CIPHER and (commands != ["build_ext"] or "--inplace" not in arguments):
        raise SystemExit(
            "setup.py: PYWG_NULL_CIPHER is set: a build that does not encrypt is for build_ext --inplace alone"
        )


if __name__ == "__main__":
    refuse_release(sys.argv[1:])
    tag = {"py_limited_api": "cp{}{}".format(*OLDEST)} if LIMITED else {}
    setup(ext_modules=extensions(), cmdclass={"build_ext": BuildExt}, options={"bdist_wheel": tag})
