"""What is wired to what, and the command line."""
