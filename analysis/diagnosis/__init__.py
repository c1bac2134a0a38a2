"""What one network's numbers say about its gradients: measured beside predicted, and the cause in one word.

network: the program traced and read
recurrence: scans over layers and over time
measured: numbers of one layer, from its arrays
predicted: its gain by mean field, at the lengths that it has
sites: the arrays of every layer
segments: the way of the gradient in parts that add up
trials: what a scan would do with one thing changed
layers: all numbers of a network
rule: from them to a cause, in the order of the data flow
"""
