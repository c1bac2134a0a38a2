"""What a JAX program computes and how its gradients flow, read off its equations; knows no framework.

flat: a traced program as one list of equations
blockfloat: arrays of any size, a mantissa and a power of two
chunks: the list cut into pieces, of which equal ones share a compiled program
gradients: forward and back through the pieces, scans step by step
reading: layers, activations and bottlenecks of a program
"""
