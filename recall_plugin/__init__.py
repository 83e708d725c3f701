"""Add candidates to the search a shop already runs; never slow it, never break it.

query          what a shopper asks, what a channel is asked and answers
channels/      one way to find products each (an entry point group: third parties add theirs)
query_vectors  from a query to its vector, once
routing        which channels and which merge a variant means
deadline       join: what is ready when the base is ready
breaker        leave a failing channel alone for a while
workers        a few threads per channel, never more, never waited for
cleaning       what a channel says, reduced to what can be believed
panel          the channels, each behind its breaker and on its threads
merge          ranked lists into one (pure)
switches       kill switches, followed within a second
plugin         flag -> plan -> channels under the join -> merge -> answer + exposure
build          the one place that chooses implementations
sidecar/       the channels in a process of their own, behind a Unix socket
service/       the plugin over HTTP, for funnels in any language; web/ is its page
"""
