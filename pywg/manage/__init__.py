"""What the operator's commands do: everything about a tunnel but moving its packets. No daemon imports this."""
