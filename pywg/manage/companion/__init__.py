"""The companion of a daemon: endpoints that are resolved again and tried in turn, and hooks on events.

Two processes. The keeper has the daemon's socket and runs hooks, and hears nothing from the network. The worker, in a
sandbox and as another user, reads events and asks name servers, and has nothing but a channel to the keeper.
"""
