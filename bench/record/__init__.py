"""What is kept and shown: verdicts, popular claims, the house style of figures, the report."""
