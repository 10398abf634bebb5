"""The first steps: `doctor` looks at a workspace, and `init` writes a workflow as Coval's data suggest."""
