"""What explains a result and decides nothing.

findings     all of it, for every treatment
triggers     those whose page could change
attribution  which channel the clicks came from
baskets      more orders, or larger ones
novelty      does the effect wear off
segments     the declared ones: is one different from the rest
mixed_pages  which of two interleaved rankings is preferred
clusters     by group of units (delta: the method behind it)
outlook      what more weeks would tell
bayes        the same estimate as a posterior
"""
