"""A process that answers on a UAPI socket as the daemon does, to be searched for keys: `SOCKET [--leaky]`.

With `--leaky` it keeps what it should wipe, for the search to find.
"""

import asyncio
import contextlib
import socket
import sys

import uvloop

from pywg.runtime import uapi_server
from pywg.runtime.log import Level, Log
from tests.runtime.device_bed import Bed


async def serve(path: str) -> None:
    bed = Bed()
    bed.taken_ports.add(1)
    bed.device.up()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(path)
        listener.listen()
        listener.setblocking(False)
        server = uapi_server.UapiServer(listener, bed.device, Log("wg0", Level.DEBUG, stream=bed.text))
        server.start()
        print("ready", flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        await server.close()


if __name__ == "__main__":
    if "--leaky" in sys.argv:
        kept: list[bytes] = []
        uapi_server.wipe = lambda data: kept.append(bytes(data))
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(serve(sys.argv[1]))
