"""The configuration socket: its file, and the server that answers on it."""
