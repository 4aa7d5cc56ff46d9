"""What the broker decides: pure, without sockets, threads, clock or store."""
