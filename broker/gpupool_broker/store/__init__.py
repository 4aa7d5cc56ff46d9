"""Where the broker's facts, tokens and nodes' credentials are kept."""
