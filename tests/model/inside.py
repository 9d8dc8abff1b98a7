"""The process that explores: inside.py DRIVER PLAN OPTIONS, the latter two as JSON. What it found goes out as JSON."""

import importlib
import json
import sys
import time

if __name__ == "__main__":
    driver, plan, how = sys.argv[1:]
    explore = importlib.import_module(f"tests.model.{driver}").explore
    begin = time.process_time()
    found = explore(json.loads(plan), **json.loads(how))
    print(json.dumps({**found, "cpu_seconds": time.process_time() - begin}))
