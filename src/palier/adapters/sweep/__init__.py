"""What `sweep-retrieval` tries: temporary indexes, settings scored on them, rereadings, and readers' answers."""
