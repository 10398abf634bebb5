"""What inputs turn on: a folder for each feature, with all that is its own.

`step.py` is what it does in the step, `judge.py` what it judges, `words.py` its words. The core imports a feature only
where an input turns it on. A feature imports the core, and the features that the docstring of its folder names.
"""
