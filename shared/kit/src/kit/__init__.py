"""Infrastructure of the services. It knows no student, course or payment."""
