"""The formats of a report: a module for each, whose `render` returns what its surface takes."""
