"""What payment facts mean. Pure: facts, a policy and nothing else in; the same answer for every service."""
