"""What is handed on, installed in Debian roots as an operator would: the package, and the wheel. By hand: minutes."""
