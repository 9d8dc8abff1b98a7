"""The process that runs a target: inside.py MODULE AEAD CPU_SECONDS ARGUMENT...

The arguments are libFuzzer's; those of a build without it are inputs, each of which is run once. CPU_SECONDS 0: until
libFuzzer ends.
"""

import ctypes
import os
import signal
import sys
import threading
import time
from pathlib import Path

from tests.native_build import load_module


def main(module: str, aead: str, cpu_seconds: float, arguments: list[str]) -> None:
    """Ends the process, if libFuzzer is there."""
    one = load_module(Path(module)).address(aead)
    driver = getattr(ctypes.CDLL(None), "LLVMFuzzerRunDriver", None)
    if driver is None:
        run = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t)(one)
        for name in arguments:
            data = Path(name).read_bytes()
            run(data, len(data))
        return
    if cpu_seconds:
        threading.Thread(target=end_after, args=(cpu_seconds,), daemon=True).start()
    # What libFuzzer runs anew when it merges.
    itself = f"{sys.executable} -P -m tests.fuzz.native.inside {module} {aead} 0"
    texts = [text.encode() for text in (itself, *arguments)]
    values = (ctypes.c_char_p * (len(texts) + 1))(*texts, None)
    count = ctypes.c_int(len(texts))
    pointer = ctypes.cast(values, ctypes.c_void_p)
    sys.exit(driver(ctypes.byref(count), ctypes.byref(pointer), ctypes.c_void_p(one)))


def end_after(cpu_seconds: float) -> None:
    """Of this process. libFuzzer ends at the signal, between two inputs, and says what there was."""
    while time.process_time() < cpu_seconds:
        time.sleep(0.05)
    os.kill(os.getpid(), signal.SIGUSR1)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]), sys.argv[4:])
