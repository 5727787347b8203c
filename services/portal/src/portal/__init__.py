"""The pages of the school for students and staff, and one address for all APIs. Owns no data."""
