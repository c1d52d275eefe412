"""Training recipes behind the figures in docs: data, networks, schedules."""
