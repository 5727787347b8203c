"""Run by kit.migrate, which has configured the context."""
