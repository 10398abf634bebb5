"""The command `coval-gate`: the road of the action's step, on any CI system and on a laptop.

Its flags are the inputs. They become the environment of the step, so that only their origin differs from the action.
"""
