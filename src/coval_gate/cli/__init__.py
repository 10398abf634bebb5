"""The command `coval-gate`: the road of the action's step, on any CI system and on a laptop.

Its flags are the inputs. They become the environment of the step, beside what the environment and a file set, so that
nothing but their origin differs from the action.
"""
