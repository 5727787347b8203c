"""Which student is enrolled in which program, and the status of each enrollment."""
