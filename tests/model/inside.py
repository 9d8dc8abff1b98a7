"""The process that explores: inside.py DRIVER PLAN OPTIONS, the latter two as JSON. What it found goes out as JSON."""

import ctypes
import importlib
import json
import sys
import time

from pywg.dataplane.crypto import secret


def replace_arena() -> None:
    """Before the modules that use it are imported: the arena's functions become the engine's."""
    engine, python = ctypes.CDLL(None), ctypes.pythonapi
    for name in ("secret_alloc", "secret_free"):
        address = ctypes.cast(getattr(engine, f"model_{name}"), ctypes.c_void_p)
        python.PyCapsule_SetPointer(ctypes.py_object(vars(secret)["__pyx_capi__"][name]), address)


if __name__ == "__main__":
    driver, plan, how = sys.argv[1:]
    replace_arena()
    explore = importlib.import_module(f"tests.model.{driver}").explore
    begin = time.process_time()
    found = explore(json.loads(plan), **json.loads(how))
    print(json.dumps({**found, "cpu_seconds": time.process_time() - begin}))
