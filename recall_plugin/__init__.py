"""Add candidates to the search a shop already runs; never slow it, never break it.

query          what a shopper asks, what a channel is asked and answers
channels/      one way to find products each (an entry point group: third parties add theirs)
query_vectors  from a query to its vector, once
deciding       who gets what: switch, tester, experiment, or the host's own flag vendor
routing        which channels and which merge a variant means
deadline       join: what is ready when the base is ready
breaker        leave a failing channel alone for a while
workers        a few threads per channel, never more, never waited for
cleaning       what a channel says, reduced to what can be believed
panel          the channels, each behind its breaker and on its threads
merge          ranked lists into one (pure); rules are the orders
interleave     two rankings on one page, to compare them (pure)
switches       kill switches, followed within a second
counterfactual what the other arm would have seen, for a sample
telling        exposures, marks and outcomes, to the log; result is what the host gets
plugin         flag -> plan -> channels under the join -> merge -> answer + exposure
checking       what would run here, for a person and a monitor
build          the one place that chooses implementations
sidecar/       the channels in a process of their own, behind a Unix socket
service/       the plugin over HTTP, for funnels in any language; web/ is its page
"""
