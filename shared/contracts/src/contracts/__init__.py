"""The events of Bursar, and what payment facts mean. Pure: pydantic and nothing else."""
