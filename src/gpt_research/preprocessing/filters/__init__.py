"""Filters of texts, as people expect them of web text, and the words and sentences they count.

filter           the contract of a filter, and how rules are checked
catalogue        the filters by name, and how a user chooses them
chain            the documents of a corpus pass its filters
gopher_quality   Gopher's quality rules
gopher_repetition  Gopher's repetition rules
c4               C4's quality rules, which remove lines too
fineweb          FineWeb's quality rules
bad_words        C4's rule of bad words, with a list of the user's
language         language identification
words            words and sentences of a batch of texts
characters       classes of characters
english          contractions and abbreviations
compiled         loads the compiled loops below
word_kernels     splits texts into words and sentences
line_kernels     loops over lines
rule_kernels     finds what is repeated
"""
