"""How `palier.domain.beliefs` is learnt from recorded answers, and kept in a file."""
