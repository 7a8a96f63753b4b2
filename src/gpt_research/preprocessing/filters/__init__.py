"""Filters of texts, as people expect them of web text, and the words and sentences they count.

Choosing and applying:
    filter             the contract of a filter: texts with their words in, a verdict out
    catalogue          the filters by name, and how a user chooses them
    chain              the documents of a corpus pass its filters

The filters:
    gopher_quality     Gopher's quality rules
    gopher_repetition  Gopher's repetition rules
    c4                 C4's quality rules, which remove lines too
    fineweb            FineWeb's quality rules
    bad_words          C4's rule of bad words, with a list that the user names
    language           language identification

What they look at:
    characters         classes of characters
    english            contractions, abbreviations and units
    compiled           loads the compiled loops below
    word_kernels       splits texts into words and sentences
    line_kernels       loops over lines
    rule_kernels       finds what is repeated
    kernel_parts       compiled functions that several loops call
"""
