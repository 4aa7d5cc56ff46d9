"""REST: everything a page or script can do."""
