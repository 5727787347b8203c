"""AI instructors and the students they teach."""
