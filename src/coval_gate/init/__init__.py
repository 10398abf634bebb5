"""The command `init`: writes a first workflow, with the ids and the thresholds that Coval's data suggest."""
