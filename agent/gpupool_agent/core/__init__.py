"""The agent's decisions, without sockets, threads or clocks."""
