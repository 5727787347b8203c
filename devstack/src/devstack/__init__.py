"""Starts all of Bursar on one machine, as its own operating system processes: `make demo`, `make serve`."""
