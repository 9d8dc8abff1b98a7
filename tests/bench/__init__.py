"""The bench's own arithmetic: what it parses, decides and reports, without a tunnel."""
