"""An experiment before it starts.

planning    a definition from a few words
plan_files  writes and signs it
power       how many units, how many weeks
"""
