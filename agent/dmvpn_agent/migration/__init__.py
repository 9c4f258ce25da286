"""What other scripts would have decided, to compare before a migration."""
