"""The client's commands, one module each; they import what they need when they run."""
