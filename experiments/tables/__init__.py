"""Any table of units and numbers, without a definition.

formula        metrics written on one line
table          a table to moments per variant (table_input its door, scanned what comes out)
clean_scan     where no number is missing: one pass, sums to moments in clean_sums
table_moments  where some are: counted first, one more pass, in running variances if it must be (quantiles)
adjustment     CUPED: what was there before, taken out
exact          rare counts
table_trust    may these numbers be believed, as far as a table can answer
again          the same table split by chance, many times
pair           one metric in two variants: the test that fits it
table_verdict  what all of them say in a word
comparing      all of it, as plain JSON (comparison_text for a terminal)
"""
