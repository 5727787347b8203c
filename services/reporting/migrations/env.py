"""Run by kit.db.migrate, which has configured the context."""
