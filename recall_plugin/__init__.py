"""Add candidates to the search a shop already runs; never slow it, never break it.

query      what a shopper asks
channels/  one way to find products each (an entry point group: third parties add theirs)
routing    which channels and which merge a variant means
deadline   join: what is ready when the base is ready
breaker    leave a failing channel alone for a while
merge      ranked lists into one (pure)
plugin     flag -> plan -> channels under a deadline -> merge -> answer + exposure
build      the one place that chooses implementations
"""
