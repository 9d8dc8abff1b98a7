"""`pywg exec`: one command whose only network is a tunnel, without root.

Five processes, of which the last three are gone when the first is, however that ends:

- `outside`, which the operator has called, hears signals, and waits. It makes the user namespace;
- `reader`, with the secrets of the file, in the namespaces of the machine: reads, resolves, configures, and has ended
  before the command starts;
- the daemon, in the user namespace and in the network namespace of the machine, where its UDP sockets are;
- `inside`, the first process of a PID namespace, in network and mount namespaces of its own: makes the TUN, hands it
  to the daemon, and sets up what `pywg up` would;
- the command, in a user namespace below that one, and so without a capability over any of these.
"""
