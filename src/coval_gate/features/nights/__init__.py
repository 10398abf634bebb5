"""The newest runs of each leg side by side (mode history). The page looks like the report of `files`."""
