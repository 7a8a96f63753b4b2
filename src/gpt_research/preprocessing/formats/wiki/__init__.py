"""Wikipedia's dump: its pages, and from their markup to the words that a reader sees."""
