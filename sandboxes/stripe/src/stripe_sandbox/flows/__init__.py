"""State changes shared by the API, the pages, the operator and the clock."""
