"""What a step found, as one model: the JSON report, and the only thing that formats see.

A minor version may add fields, and words to a field whose description says so. Each schema allows what a later minor
version may add, so readers may validate with an older schema.
"""
