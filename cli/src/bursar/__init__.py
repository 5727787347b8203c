"""The operator's command. It talks to the services as any client does: their addresses and an admin's token."""
