"""Real daemons in network namespaces, configured and looked at with the real tools. Needs root."""
