"""Who has an enrollment in which program, and how it stands."""
