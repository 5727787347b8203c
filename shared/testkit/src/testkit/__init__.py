"""What tests and the dev stack start: servers, child processes, a mail catcher. No service imports this package."""
