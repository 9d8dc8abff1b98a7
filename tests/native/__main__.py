"""python -m tests.native [SOURCE.pyx...]: builds extensions of the tests, beside their sources; without any, all here.

With the flags of setup.py, in parallel, and only what has changed. They may cimport the data plane's stages. What runs
under a sanitizer (tests/sanitizers.py) is built with the same one.
"""

import sys
from pathlib import Path

from setuptools import setup

from setup import BuildExt, extension

ROOT = Path(__file__).resolve().parents[2]
HERE = Path("tests/native")
KERNELS = Path("pywg/dataplane/crypto")

if __name__ == "__main__":
    sources = [Path(name) for name in sys.argv[1:]] or sorted(HERE.glob("*.pyx"))
    # They are for this Python alone, and may use all of its API.
    extensions = [extension(source, limited=False) for source in sources]
    for each, source in zip(extensions, sources, strict=True):
        each.include_dirs = [str(source.parent), str(KERNELS)]  # C of its own, and of the ciphers
    setup(script_args=["--quiet", "build_ext", "--inplace"], ext_modules=extensions, cmdclass={"build_ext": BuildExt})
