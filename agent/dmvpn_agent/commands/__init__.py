"""What the commands do that are more than a line: each prints for people, or JSON for programs."""
