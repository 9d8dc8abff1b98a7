"""A new user's first ten minutes, played through in a minimal Debian root: docs/first-ten-minutes.md."""
