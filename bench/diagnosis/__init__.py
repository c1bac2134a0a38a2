"""Diagnosis of a user's own network: what is measured, said, drawn and written.

diagnose: the door, from a model and a batch to a report
verdict: what was found, and the cause
report: the same as text, table, JSON and figure
words: the verdict in a sentence, for each cause
text: the report on one screen
figure: the report drawn over depth and time
"""
