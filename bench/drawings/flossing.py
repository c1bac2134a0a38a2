def figures(result): return {}
