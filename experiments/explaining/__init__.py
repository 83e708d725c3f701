"""What explains a result and decides nothing.

findings     all of it, for every treatment
triggers     those whose page could change
attribution  which channel the clicks came from
novelty      does the effect wear off
clusters     by group of units (delta: the method behind it)
outlook      what more weeks would tell
bayes        the same estimate as a posterior
"""
