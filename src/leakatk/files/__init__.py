"""Files: reading what a user gives, writing whole or not at all, checksums."""
