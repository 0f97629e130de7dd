"""The bench: plant, simulated devices behind real sockets, fake Pi, scenarios, reports."""
