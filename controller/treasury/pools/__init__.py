"""What pools say of themselves: one reader a kind, and the book that holds it against the chain."""
