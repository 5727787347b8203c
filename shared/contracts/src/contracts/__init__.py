"""The events of Bursar and their schemas. Pure: pydantic and nothing else."""
