"""The command line, by room: stages, releases, services, and questions. Each command parses, calls, and prints."""
