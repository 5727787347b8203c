"""What happens when money moves or time passes; the API, the pages and the operator all end up here."""
