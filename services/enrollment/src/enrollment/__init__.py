"""Who has a seat in which program, and how it stands."""
