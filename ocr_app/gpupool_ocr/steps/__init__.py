"""What the kinds of step do with a page: cut the work into calls, and put the answers together."""
