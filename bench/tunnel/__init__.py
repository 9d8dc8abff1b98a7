"""The tunnel as a whole: two namespaces, real daemons, real tools."""
