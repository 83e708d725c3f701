"""The evidence: who gets what, what was served, what it did, and whether to believe it.

plan/         an experiment before it starts
experiment    one experiment as written down before it starts
definition    the experiments that are defined, from files (signing: held against what was signed)
running       what is running moves nobody
assignment    the variant a unit always gets (pure)
targeting     who an experiment is for
growthbook    another vendor's buckets, for units it has seen
overrides     a tester's signed token
flags         OpenFeature in front of assignment
interleaving  the other design: one page from two rankings (credit: whose products were clicked)
exposure      the events: a unit was served; what it did next
events/       their road out of a request
scan/         the one scan of the logs, as queries
warehouse     runs it (DuckDB)
metrics       what is kept of the logs: moments and counts
inference     differences, intervals, p-values
sequential    how strict a look must be (anytime: at any look)
trust         may these numbers be believed at all (trust_cuts, trust_numbers; audit by bootstrap)
verdict       ship, hold, stop or broken
explaining/   what explains a result and decides nothing
analysis      all of it, as plain JSON (looks: how strict each is; describing: what stands beside the numbers)
report        the weekly page (plots, templates; report_text for Markdown and Slack)
weekly        from logs to the page, for a schedule or a command
tables/       the same for any table, without a definition
"""
